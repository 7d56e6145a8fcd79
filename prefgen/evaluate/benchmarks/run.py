"""Benchmarks of a model, or of answers that are there already: answers, scores, the files of both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from prefgen import durable, seeds
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
from prefgen.evaluate.benchmarks.options import BenchmarkOptions
from prefgen.image_names import Match
from prefgen.images import ImageRoot, load_images
from prefgen.methods import prompts
from prefgen.records import Dropped, ImageRef, Sample
from prefgen.requests import Chat, Generate
from prefgen.signals import Interrupts


@dataclass(frozen=True)
class Answering:
    """Source of the answers to a benchmark's questions, and output of answers and scores.

    Attributes:
        output: folder.
        model: that is asked; empty where there are answers already.
        engine: makes its configuration.
        answers: files of the answers that are there, one for all questions or one for each file of them.
        image_root: folder of the pictures; None for the one of the questions.
        limit: first questions of a file that are used.
        max_new_tokens: of an answer.
        suffix: added to every question.
        seed: of the bootstrap.
    """

    output: Path
    model: str
    engine: Callable[[], EngineConfig]
    answers: Sequence[Path]
    image_root: Path | None
    limit: int | None
    max_new_tokens: int
    seed: int
    console: Console
    suffix: str = ""
    image_match: Match = "exact"
    follow_links: bool = False

    @classmethod
    def of(
        cls,
        options: BenchmarkOptions,
        engine: Callable[[], EngineConfig],
        answers: Sequence[Path],
        console: Console,
        **more: Any,
    ) -> Self:
        """The source that options name; `more` are further attributes."""
        named = ("output", "model", "image_root", "limit", "max_new_tokens", "seed")
        taken = {name: getattr(options, name) for name in named}
        return cls(engine=engine, answers=answers, console=console, **taken, **more)


@dataclass(frozen=True)
class Judging:
    """The judge of answers and its settings.

    Attributes:
        prompt: a file; None for the benchmark's own.
        max_tokens: of a reply.
    """

    judge: Callable[[], JudgeConfig]
    name: str
    prompt: Path | None
    max_tokens: int


@dataclass(frozen=True)
class BenchmarkScores:
    """Scores of a benchmark.

    Attributes:
        scores: as they are written.
        rows: of the table, by name. figures: its columns.
    """

    scores: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]
    figures: Sequence[str]


def pope(at: Answering, questions: Sequence[Path], parser: pope_.Parser) -> BenchmarkScores:
    """Answer and score POPE's questions."""
    asked = _limited(files.questions(questions, needs=("image", "text", "label")), at.limit)
    for question in asked:
        pope_.label_of(question)  # before anything is generated
    texts, told = _answers(at, questions, asked, "pope")
    found = [pope_.judge(question, texts[question.key], parser) for question in asked if question.key in texts]
    scores = pope_.score(found, parser, at.seed)
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
    _write(at.output, {**scores, **told}, items)
    rows = dict(scores["files"])
    return BenchmarkScores({**scores, **told}, {**rows, "mean": scores} if len(rows) > 1 else rows, pope_.FIGURES)


def chair(
    at: Answering,
    instances: Sequence[Path],
    captions: Sequence[Path],
    synonyms: Path | None,
    question: str,
    sample: int | None,
) -> BenchmarkScores:
    """Caption pictures and score the captions."""
    words = coco_objects.read(synonyms) if synonyms else coco_objects.own()
    known = chair_.truth(instances, captions, words)
    if at.answers:
        if at.model:
            raise UsageError("--answers scores answers that are there; --model is asked for new ones: give one of them")
        texts, foreign = chair_.captions_of(at.answers[0], known)
        told: dict[str, Any] = {"answers": str(at.answers[0]), "foreign_answers": foreign, "unanswered": {}}
        with asking.held(at.output, {"benchmark": "chair", "answers": _digest(at.answers)}):
            pass
    else:
        shown = sorted(picture for picture, objects in known.objects.items() if objects and picture in known.names)
        if sample:
            shown.sort(key=lambda picture: seeds.derive(at.seed, str(picture), 0, "chair"))
            shown = sorted(shown[:sample])
        file = instances[0].name
        asked = [Question(file, str(picture), known.names[picture], question, {}) for picture in shown[: at.limit]]
        answered, told = _answers(at, instances, asked, "chair")
        texts = {int(key[1]): text for key, text in answered.items()}
    found = [chair_.judge(picture, text, known.objects[picture], words) for picture, text in texts.items()]
    scores = {**chair_.score(found, words, at.seed), **told}
    _write(at.output, scores, chair_.items(found))
    return BenchmarkScores(scores, {"captions": scores}, chair_.FIGURES)


def mmhal(at: Answering, judging: Judging, questions: Path, *, with_image: bool) -> BenchmarkScores:
    """Answer MMHAL-Bench's questions and have the answers judged."""
    rows = files.rows_of(questions)[: at.limit]
    name = questions.name
    asked = [Question(name, str(n), _picture(row), str(row.get("question", "")), row) for n, row in enumerate(rows)]
    judged.mmhal_cases(rows, dict.fromkeys(map(str, range(len(rows))), "-"), name)  # before anything is generated
    prompt = prompts.load("mmhal", judging.prompt)
    prompt.check(judged.MMHAL_PLACES, {"fence"})
    own = {q.key: str(row["model_answer"]) for q, row in zip(asked, rows, strict=True) if row.get("model_answer")}
    if at.model or at.answers or not own:
        texts, told = _answers(at, [questions], asked, "mmhal")
    else:
        texts, told = own, {"answers": str(questions), "foreign_answers": 0, "unanswered": {}}
        with asking.held(at.output, {"benchmark": "mmhal", "answers": _digest([questions])}):
            pass
    cases = judged.mmhal_cases(rows, {key[1]: text for key, text in texts.items()}, name)
    if with_image:
        root = ImageRoot((at.image_root or questions.parent,))
        cases = [_with_image(case, question, root) for case, question in zip(cases, asked, strict=True)]
    verdicts = _judged(at, judging, cases, prompt, judged.ratings, temperature=0.0)
    scores = judged.score("mmhal", verdicts, judged.mmhal_counts, judged.mmhal_figures, at.seed)
    scores |= {**told, "judge": judging.name, "prompt": str(prompt), "with_image": with_image}
    _write(at.output, scores, judged.items(verdicts, judged.mmhal_counts))
    figures = ("score", "score_read", "hallucination_rate", "unparsed")
    return BenchmarkScores(scores, {**scores["kinds"], "all": scores}, figures)


def llava_bench(
    at: Answering, judging: Judging, questions: Path, context_file: Path, reference_file: Path
) -> BenchmarkScores:
    """Answer LLaVA-Bench's questions and have the answers judged."""
    asked = _limited(files.questions([questions]), at.limit)
    reference = files.answers([reference_file], asked).texts
    context = {str(row.get("image")): str(row.get("caption", "")) for row in files.rows_of(context_file)}
    for question in asked:
        if question.image not in context or question.key not in reference:
            lacks = "a caption" if question.image not in context else "a reference answer"
            raise UsageError(f"{questions}: question {question.id} about {question.image} has not {lacks}")
    prompt = prompts.load("llava-bench", judging.prompt)
    prompt.check(judged.BENCH_PLACES, {"fence"})
    texts, told = _answers(at, [questions], asked, "llava-bench")
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
    verdicts = _judged(at, judging, cases, prompt, judged.both_scores, temperature=0.2)
    scores = judged.score("llava-bench", verdicts, judged.bench_counts, judged.bench_figures, at.seed)
    scores |= {**told, "judge": judging.name, "prompt": str(prompt)}
    _write(at.output, scores, judged.items(verdicts, judged.bench_counts))
    figures = ("relative_score", "relative_score_read", "unparsed")
    return BenchmarkScores(scores, {**scores["kinds"], "all": scores}, figures)


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
    at: Answering, questions: Sequence[Path], asked: Sequence[Question], benchmark: str
) -> tuple[dict[tuple[str, str], str], dict[str, Any]]:
    """Answers by question, and their origin."""
    if bool(at.answers) == bool(at.model):
        raise UsageError("give --model, which is asked, or --answers, which are there already")
    output, answers, console = at.output, at.answers, at.console
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
    root = at.image_root or questions[0].parent
    if not root.is_dir():
        raise UsageError(f"--image-root {root} is not a folder")
    config = at.engine()
    build.hush(config, (Generate,))
    config, why = build.resolve(config, (Generate,))
    if why:
        console.print(f"engine auto   {config.engine}: {why}", markup=False)
    places = ImageRoot((root,), at.image_match, at.follow_links)
    task = Task(config, output, places, at.suffix, at.max_new_tokens)
    settings = asking.settings(task, asked, benchmark)
    with asking.held(output, settings), Interrupts() as interrupts:
        before = len(asking.answered(output))
        if before:
            console.print(f"{before:,} of {len(asked):,} questions are answered already")
        failed = asking.answer(
            task, asked, lambda done: console.print(f"{done:,} of {len(asked):,} answered"), interrupts.check
        )
    found = files.answers([output / asking.ANSWERS], asked).texts
    return dict(found), {"model": at.model, "revision": settings["model_revision"], "unanswered": failed}


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


def _with_image(case: judged.Case, question: Question, root: ImageRoot) -> judged.Case:
    loaded = load_images(Sample(case.id, (), (ImageRef(path=question.image),), None, "", case.id), root, None)
    if isinstance(loaded, Dropped):
        raise UsageError(f"--with-image: question {case.id}: {loaded.reason} {loaded.detail}")
    return dataclasses.replace(case, image=loaded.loaded_images[0])


def _judged(
    at: Answering,
    judging: Judging,
    cases: Sequence[judged.Case],
    prompt: prompts.Template,
    read: Any,
    *,
    temperature: float,
) -> list[judged.Verdict]:
    with _judge(at, judging) as engine, Interrupts() as interrupts:
        return judged.ask(
            cases,
            prompt,
            read,
            {Chat: engine},
            temperature=temperature,
            max_new_tokens=judging.max_tokens,
            check=interrupts.check,
        )


@contextmanager
def _judge(at: Answering, judging: Judging) -> Iterator[Any]:
    """The judge, with its ledger in the output folder."""
    from prefgen.engines.chat.engine import ChatEngine
    from prefgen.engines.chat.ledger import Ledger
    from prefgen.estimate import costs

    config, console = judging.judge(), at.console
    with closing(Ledger(at.output / "judge.sqlite")) as ledger:
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
