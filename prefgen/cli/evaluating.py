"""The work of `prefgen eval`: answers, scores, a table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from prefgen import durable, seeds
from prefgen.cli.options import build as build_options
from prefgen.console import Console
from prefgen.engines import build
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks import asking, coco_objects, files, judged
from prefgen.evaluate.benchmarks import chair as chair_
from prefgen.evaluate.benchmarks import compare as compare_
from prefgen.evaluate.benchmarks import pope as pope_
from prefgen.evaluate.benchmarks.asking import Task
from prefgen.evaluate.benchmarks.files import Question
from prefgen.images import ImageRoot, load_images
from prefgen.methods import prompts
from prefgen.records import Dropped, ImageRef, Sample
from prefgen.requests import Chat, Generate
from prefgen.signals import Interrupts

Options = Mapping[str, Any]


def pope(options: Options) -> None:
    """Answer and score POPE's questions."""
    asked = _limited(files.questions(options["questions"], needs=("image", "text", "label")), options["limit"])
    for question in asked:
        pope_.label_of(question)  # before anything is generated
    texts, told = _answers(options, asked, "pope", options["answers"])
    found = [
        pope_.judge(question, texts[question.key], options["parser"]) for question in asked if question.key in texts
    ]
    scores = pope_.score(found, options["parser"], options["seed"])
    items = [
        {
            "id": " ".join(one.question.key),
            "picture": one.question.image,
            "counts": one.counts,
            "right": one.right,
            "said": one.said,
        }
        for one in found
    ]
    _write(options["output"], {**scores, **told}, items)
    rows = dict(scores["files"])
    _show({**rows, "mean": scores} if len(rows) > 1 else rows, pope_.FIGURES, {**scores, **told}, options)


def chair(options: Options) -> None:
    """Caption pictures and score the captions."""
    words = coco_objects.read(options["synonyms"]) if options["synonyms"] else coco_objects.own()
    known = chair_.truth(options["instances"], options["captions"] or [], words)
    if options["answers"]:
        if options["model"]:
            raise UsageError("--answers scores answers that are there; --model is asked for new ones: give one of them")
        texts, foreign = chair_.captions_of(options["answers"], known)
        told: dict[str, Any] = {"answers": str(options["answers"]), "foreign_answers": foreign, "unanswered": {}}
        with asking.held(options["output"], {"benchmark": "chair", "answers": _digest([options["answers"]])}):
            pass
    else:
        shown = sorted(picture for picture, objects in known.objects.items() if objects and picture in known.names)
        if options["sample"]:
            shown.sort(key=lambda picture: seeds.derive(options["seed"], str(picture), 0, "chair"))
            shown = sorted(shown[: options["sample"]])
        file = options["instances"][0].name
        asked = [
            Question(file, str(picture), known.names[picture], options["question"], {})
            for picture in shown[: options["limit"]]
        ]
        answered, told = _answers({**options, "questions": options["instances"], "suffix": ""}, asked, "chair", None)
        texts = {int(key[1]): text for key, text in answered.items()}
    captions = [chair_.judge(picture, text, known.objects[picture], words) for picture, text in texts.items()]
    scores = {**chair_.score(captions, words, options["seed"]), **told}
    _write(options["output"], scores, chair_.items(captions))
    _show({"captions": scores}, chair_.FIGURES, scores, options)


def mmhal(options: Options) -> None:
    """Answer MMHAL-Bench's questions and have the answers judged."""
    rows = files.rows_of(options["questions"])[: options["limit"]]
    name = options["questions"].name
    asked = [Question(name, str(n), _picture(row), str(row.get("question", "")), row) for n, row in enumerate(rows)]
    judged.mmhal_cases(rows, dict.fromkeys(map(str, range(len(rows))), "-"), name)  # before anything is generated
    prompt = prompts.load("mmhal", options["judge_prompt"])
    prompt.check(judged.MMHAL_PLACES, {"fence"})
    own = {q.key: str(row["model_answer"]) for q, row in zip(asked, rows, strict=True) if row.get("model_answer")}
    if options["model"] or options["answers"] or not own:
        answers = [options["answers"]] if options["answers"] else None
        texts, told = _answers({**options, "suffix": "", "questions": [options["questions"]]}, asked, "mmhal", answers)
    else:
        texts, told = own, {"answers": str(options["questions"]), "foreign_answers": 0, "unanswered": {}}
        with asking.held(options["output"], {"benchmark": "mmhal", "answers": _digest([options["questions"]])}):
            pass
    cases = judged.mmhal_cases(rows, {key[1]: text for key, text in texts.items()}, name)
    if options["with_image"]:
        cases = [_with_image(case, question, options) for case, question in zip(cases, asked, strict=True)]
    verdicts = _judged(options, cases, prompt, judged.ratings, temperature=0.0)
    scores = judged.score("mmhal", verdicts, judged.mmhal_counts, judged.mmhal_figures, options["seed"])
    scores |= {**told, "judge": options["judge"], "prompt": str(prompt), "with_image": options["with_image"]}
    _write(options["output"], scores, judged.items(verdicts, judged.mmhal_counts))
    figures = ("score", "score_read", "hallucination_rate", "unparsed")
    _show({**scores["kinds"], "all": scores}, figures, scores, options)


def llava_bench(options: Options) -> None:
    """Answer LLaVA-Bench's questions and have the answers judged."""
    asked = _limited(files.questions([options["questions"]]), options["limit"])
    reference = files.answers([options["reference"]], asked).texts
    context = {str(row.get("image")): str(row.get("caption", "")) for row in files.rows_of(options["context"])}
    for question in asked:
        if question.image not in context or question.key not in reference:
            lacks = "a caption" if question.image not in context else "a reference answer"
            raise UsageError(f"{options['questions']}: question {question.id} about {question.image} has not {lacks}")
    prompt = prompts.load("llava-bench", options["judge_prompt"])
    prompt.check(judged.BENCH_PLACES, {"fence"})
    answers = [options["answers"]] if options["answers"] else None
    texts, told = _answers(
        {**options, "suffix": "", "questions": [options["questions"]]}, asked, "llava-bench", answers
    )
    cases = [
        judged.Case(
            question.id,
            str(question.row.get("category") or "all"),
            question.image,
            {
                "question": question.text,
                "context": context[question.image],
                "reference": reference[question.key],
                "answer": texts[question.key],
            },
        )
        for question in asked
        if question.key in texts
    ]
    verdicts = _judged(options, cases, prompt, judged.both_scores, temperature=0.2)
    scores = judged.score("llava-bench", verdicts, judged.bench_counts, judged.bench_figures, options["seed"])
    scores |= {**told, "judge": options["judge"], "prompt": str(prompt)}
    _write(options["output"], scores, judged.items(verdicts, judged.bench_counts))
    figures = ("relative_score", "relative_score_read", "unparsed")
    _show({**scores["kinds"], "all": scores}, figures, scores, options)


def compare(one: Path, other: Path, seed: int, *, json: bool) -> None:
    """Print two evaluations side by side."""
    found = compare_.compare(one, other, seed)
    if json:
        Console().print_json(_text(found))
        return
    table = Table("figure", str(one), str(other), "difference", "95% interval", box=None)
    for name, difference in found["differences"].items():
        values = [_cell(found[f"{side}_figures"][name]) for side in ("one", "other")]
        told = ("–", "–")
        if difference is not None:
            low, high = difference["interval"]
            told = f"{difference['value']:+.4f}", f"{low:+.4f} to {high:+.4f}"
        table.add_row(name, *values, *told)
    Console().print(table)
    typer.echo(
        f"{found['items']:,} items in both; right in one alone: {found['right_only_in_one']:,} and "
        f"{found['right_only_in_other']:,}, McNemar's p {found['mcnemar_p']:.3g}"
    )
    if found["only_in_one"] or found["only_in_other"]:
        typer.echo(f"left out, in one alone: {found['only_in_one']:,} and {found['only_in_other']:,} items", err=True)


def scenes(config: EngineConfig, limit: int, batch_size: int, seed: int, *, json: bool) -> None:
    """Measure a model on the held-out scenes."""
    from prefgen.engines.hf.loading import load
    from prefgen.evaluate.scenes import measure
    from prefgen.evaluate.scenes.heldout import HELDOUT_SCENES, heldout

    if not 1 <= limit <= HELDOUT_SCENES:
        raise UsageError(f"--limit {limit} must be between 1 and {HELDOUT_SCENES}")
    build.hush(config, (Generate,))
    loaded = load(config)
    figures = measure.evaluate(measure.responder(loaded.model, loaded.processor, batch_size), heldout(limit), seed)
    if json:
        typer.echo(measure.as_json(figures))
        return
    Console().print(measure.as_table({name: figures[name] for name in measure.SHOWN}, f"{limit} scenes"))


def _limited(asked: Sequence[Question], limit: int | None) -> list[Question]:
    """The first questions of every file."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} must be at least 1")
    seen: dict[str, int] = {}
    found = []
    for question in asked:
        seen[question.file] = seen.get(question.file, 0) + 1
        if limit is None or seen[question.file] <= limit:
            found.append(question)
    return found


def _answers(
    options: Options, asked: Sequence[Question], benchmark: str, answers: Sequence[Path] | None
) -> tuple[dict[tuple[str, str], str], dict[str, Any]]:
    """Answers by question, and their origin."""
    if bool(answers) == bool(options["model"]):
        raise UsageError("give --model, which is asked, or --answers, which are there already")
    output = options["output"]
    if answers:
        with asking.held(output, {"benchmark": benchmark, "answers": _digest(answers)}):
            read = files.answers(answers, asked)
        missing = len(asked) - len(read.texts)
        told = {
            "answers": ", ".join(map(str, answers)),
            "foreign_answers": read.foreign,
            "unanswered": {"ANSWER_MISSING": missing} if missing else {},
        }
        return dict(read.texts), told
    console = Console(stderr=True, quiet=options["quiet"], highlight=False)
    root = options["image_root"] or options["questions"][0].parent
    if not root.is_dir():
        raise UsageError(f"--image-root {root} is not a folder")
    config = build_options(EngineConfig, options)
    build.hush(config, (Generate,))
    config, why = build.resolve(config, (Generate,))
    if why:
        console.print(f"engine auto   {config.engine}: {why}", markup=False)
    match, links = options.get("image_match", "exact"), options.get("follow_links", False)
    task = Task(config, output, ImageRoot((root,), match, links), options["suffix"], options["max_new_tokens"])
    settings = asking.settings(task, asked, benchmark)
    with asking.held(output, settings), Interrupts() as interrupts:
        before = len(asking.answered(output))
        if before:
            console.print(f"{before:,} of {len(asked):,} questions are answered already")
        failed = asking.answer(
            task, asked, lambda done: console.print(f"{done:,} of {len(asked):,} answered"), interrupts.check
        )
    found = files.answers([output / asking.ANSWERS], asked).texts
    return dict(found), {"model": options["model"], "revision": settings["model_revision"], "unanswered": failed}


def _digest(paths: Sequence[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        try:
            whole.update(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
    return f"sha256:{whole.hexdigest()}"


def _picture(row: Mapping[str, Any]) -> str:
    """File name of a row's picture in MMHAL."""
    named = str(row.get("image_src") or row.get("image") or row.get("image_id") or "")
    return named.rsplit("/", 1)[-1]


def _with_image(case: judged.Case, question: Question, options: Options) -> judged.Case:
    root = ImageRoot((options["image_root"] or options["questions"].parent,))
    loaded = load_images(Sample(case.id, (), (ImageRef(path=question.image),), None, "", case.id), root, None)
    if isinstance(loaded, Dropped):
        raise UsageError(f"--with-image: question {case.id}: {loaded.reason} {loaded.detail}")
    return dataclasses.replace(case, image=loaded.loaded_images[0])


def _judged(
    options: Options, cases: Sequence[judged.Case], prompt: prompts.Template, read: Any, *, temperature: float
) -> list[judged.Verdict]:
    with _judge(options) as engine, Interrupts() as interrupts:
        return judged.ask(
            cases,
            prompt,
            read,
            {Chat: engine},
            temperature=temperature,
            max_new_tokens=options["judge_tokens"],
            check=interrupts.check,
        )


def rewards(options: Options, engine: EngineConfig) -> None:
    """Compute and print the matrix of reward models and runs."""
    from prefgen.evaluate import rewards as rewards_
    from prefgen.training import reward

    build.hush(engine, (Generate,))
    models = [place for place in options["places"] if reward.is_reward_model(place)]
    runs = [place for place in options["places"] if place not in models]
    implicit = [(policy, rewards_.reference_of(policy, options["reference"])) for policy in options["implicit"] or ()]
    if not runs or not (models or implicit):
        raise UsageError("give reward models, as `prefgen train rm` makes them, or --implicit, and runs to try them on")
    found = rewards_.matrix(models, runs, implicit, engine, options["limit"], options["seed"])
    if options["json"]:
        Console().print_json(json.dumps(dataclasses.asdict(found)))
        return
    console = Console(stderr=True, quiet=options["quiet"], highlight=False)
    for name in found.unrecorded:
        console.print(f"{name} has no record of its training pictures, which may be among these", style="yellow")
    for name, count in found.seen.items():
        console.print(f"{name}: {found.rows[name]:,} pairs; {count:,} rows have a picture that a model was trained on")
    for reason, count in found.dropped.items():
        console.print(f"{count:,} pairs could not be read: {reason}", style="yellow")
    table = Table("reward", *found.seen, box=None)
    for name, cells in found.cells.items():
        table.add_row(name, *(f"{_cell(cell.accuracy)}{_bounds(cell.interval)}" for cell in cells.values()))
    Console().print(table)


def _bounds(interval: tuple[float, float] | None) -> str:
    return f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""


@contextmanager
def _judge(options: Options) -> Iterator[Any]:
    """The judge, with its ledger in the output folder."""
    from prefgen.engines.chat.engine import ChatEngine
    from prefgen.engines.chat.ledger import Ledger
    from prefgen.estimate import costs

    config = build_options(JudgeConfig, options)
    console = Console(stderr=True, quiet=options["quiet"], highlight=False)
    with closing(Ledger(options["output"] / "judge.sqlite")) as ledger:
        try:
            with closing(ChatEngine(config, ledger, say=lambda words: console.print(words, markup=False))) as engine:
                yield engine
        finally:
            console.print(costs.describe(ledger.bill(), config))


def _write(output: Path, scores: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
    """Write scores and items; without scores, only the answers."""
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    with durable.environment(output), durable.hold(output / asking.LOCK, output):
        (output / compare_.SCORES).unlink(missing_ok=True)
        durable.replace(output / compare_.ITEMS, durable.json_bytes(lines))
        durable.replace_json(output / compare_.SCORES, scores)


def _text(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False)


def _show(
    rows: Mapping[str, Mapping[str, Any]], figures: Sequence[str], scores: Mapping[str, Any], options: Options
) -> None:
    """Print the table and what was left out."""
    console = Console(stderr=True, quiet=options["quiet"], highlight=False)
    for reason, count in scores["unanswered"].items():
        console.print(f"{count:,} questions have no answer and are left out: {reason}", style="yellow")
    if scores.get("foreign_answers"):
        console.print(f"{scores['foreign_answers']:,} answers have no question and are left out", style="yellow")
    if options["json"]:
        Console().print_json(_text(scores))
        return
    table = Table("", *figures, box=None)
    for name, row in rows.items():
        bounds = row.get("intervals", {})
        cells = []
        for figure in figures:
            interval = bounds.get(figure)
            cells.append(_cell(row[figure]) + _bounds(interval))
        table.add_row(name, *cells)
    Console().print(table)
    typer.echo(f"scores in {options['output'] / compare_.SCORES}")


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
