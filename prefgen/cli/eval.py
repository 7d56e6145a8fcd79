"""`prefgen eval`: benchmarks of a model or of given answers, and comparisons of two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks.options import (
    BenchmarkOptions,
    ChairOptions,
    JudgingOptions,
    LlavaBenchOptions,
    LmmsOptions,
    MmhalOptions,
    PopeOptions,
    QuestionFile,
    QuestionFiles,
    RewardOptions,
    ScenesOptions,
)
from prefgen.sources.options import SourceOptions

if TYPE_CHECKING:
    from prefgen.evaluate.benchmarks.run import Answering, BenchmarkScores, Judging

evaluations = typer.Typer(help="Measure a model, or answers that are there already.", no_args_is_help=True)


_OF_ENGINE = (
    *("revision", "base_model", "chat_template", "engine", "base_url", "engine_key_env", "engine_args", "device"),
    *("dtype", "batch_size"),
)
Engine = Annotated[Draft[EngineConfig], only(*_OF_ENGINE, "batch_tokens", "trust_remote_code")]
JudgedEngine = Annotated[Draft[EngineConfig], only(*_OF_ENGINE)]
Asked = Annotated[
    Draft[JudgeConfig],
    only("judge", "judge_url", "api_key_env", "concurrency", "max_cost", "price_in", "price_out", "reasoning_effort"),
]
Result = Annotated[
    o.RunOptions, only("seed", json={"help": "Print all figures as JSON."}, seed={"help": "Seeds the bootstrap."})
]
Found = Annotated[SourceOptions, only("image_match", "follow_links")]


@evaluations.command()
@command
def pope(
    ctx: typer.Context,
    options: Annotated[BenchmarkOptions, without(max_new_tokens={"default": 64})],
    found: Found,
    engine: Engine,
    given: QuestionFiles,
    form: PopeOptions,
) -> None:
    """POPE: accuracy, precision, recall, F1 and share of yes about objects in pictures.

    Questions are POPE's JSON lines. Answers are kept; the same command continues, and scores anew with another
    --parser.

    Example: prefgen eval pope --questions coco_pope_random.json --image-root coco/val2014 -m aligned -o pope
    """
    from prefgen.evaluate.benchmarks import run

    at = _answering(
        options,
        engine,
        given.answers,
        suffix=form.suffix,
        image_match=found.image_match,
        follow_links=found.follow_links,
    )
    _show(run.pope(at, given.questions, form.parser), options)


@evaluations.command()
@command
def chair(
    ctx: typer.Context,
    options: Annotated[
        BenchmarkOptions,
        without(limit={"help": "Use the first N pictures."}, seed={"help": "Seeds the bootstrap and --sample."}),
    ],
    found: Found,
    engine: Engine,
    given: Annotated[QuestionFile, only("answers")],
    form: ChairOptions,
) -> None:
    """CHAIR: objects in captions that are not in the picture, with recall, F1 and length.

    Captions to be scored: JSON lines or a list with image_id and caption, or image and text.

    Example: prefgen eval chair --instances instances_val2014.json --answers captions.jsonl -o chair
    """
    from prefgen.evaluate.benchmarks import run

    at = _answering(options, engine, given.given, image_match=found.image_match, follow_links=found.follow_links)
    _show(run.chair(at, form.instances, form.captions, form.synonyms, form.question, form.sample), options)


@evaluations.command()
@command
def mmhal(
    ctx: typer.Context,
    options: BenchmarkOptions,
    engine: JudgedEngine,
    asked: Asked,
    judging: JudgingOptions,
    given: QuestionFile,
    form: MmhalOptions,
) -> None:
    """MMHAL-Bench: a judge rates answers from 0 to 6; below 3 they hallucinate.

    Replies are paid once. Replies without a rating count 0, as published; `score_read` leaves them out.

    Example: prefgen eval mmhal --questions response_template.json --image-root mmhal -m aligned --judge gpt4o -o mmhal
    """
    from prefgen.evaluate.benchmarks import run

    at = _answering(options, engine, given.given)
    _show(run.mmhal(at, _judging(judging, asked), given.questions, with_image=form.with_image), options)


@evaluations.command("llava-bench")
@command
def llava_bench(
    ctx: typer.Context,
    options: Annotated[BenchmarkOptions, without(max_new_tokens={"default": 1024})],
    engine: JudgedEngine,
    asked: Asked,
    judging: Annotated[JudgingOptions, without(judge_tokens={"default": 1024})],
    given: QuestionFile,
    beside: LlavaBenchOptions,
) -> None:
    """LLaVA-Bench (In-the-Wild): a judge scores answers beside reference answers.

    The figure is the sum of the answers' scores by that of the references'. Replies are paid once.

    Example: prefgen eval llava-bench --questions questions.jsonl --context context.jsonl --reference gpt4.jsonl
    -m aligned -o bench
    """
    from prefgen.evaluate.benchmarks import run

    at = _answering(options, engine, given.given)
    _show(run.llava_bench(at, _judging(judging, asked), given.questions, beside.context, beside.reference), options)


@evaluations.command()
@command
def lmms(
    ctx: typer.Context,
    options: Annotated[
        BenchmarkOptions,
        only(
            *("output", "limit", "model", "json", "quiet"),
            limit={"help": "Use the first N questions of a task."},
            model={"required": True},
        ),
    ],
    own: LmmsOptions,
    engine: Annotated[
        Draft[EngineConfig],
        only(
            "revision",
            "base_model",
            "device",
            "dtype",
            "batch_size",
            batch_size={"help": "Of lmms-eval.", "default": 1},
        ),
    ],
) -> None:
    """Benchmarks of lmms-eval (TextVQA, GQA, MM-Vet …), in its own environment.

    Each task is run once; the same command continues. Its answers and figures are read, and empty answers counted.

    Example: prefgen eval lmms --python V/bin/python --tasks textvqa_val,gqa -m aligned -o lmms
    """
    from prefgen.console import Console
    from prefgen.evaluate.benchmarks import lmms as lmms_
    from prefgen.evaluate.benchmarks import render
    from prefgen.signals import Interrupts

    console = Console(stderr=True, quiet=options.quiet, highlight=False)
    asked = lmms_.LmmsJob(
        options.output,
        own.python,
        own.tasks.split(","),
        engine.make(model=options.model),
        own.family,
        own.arguments,
        own.include,
        options.limit,
    )
    with Interrupts(finishing="") as interrupts:
        found = lmms_.evaluate(asked, lambda line: console.print(line, markup=False), interrupts.check)
    for name, count in found["empty_answers"].items():
        if count:
            console.print(f"{name}: {count:,} of {found['questions'][name]:,} answers are empty", style="yellow")
    for beginning, what in lmms_.WRONG_FIGURES.items():
        if any(task.startswith(beginning) for task in asked.tasks):
            console.print(f"{beginning}: lmms-eval {what}", style="yellow", markup=False)
    if options.json:
        Console().print_json(data=found)
        return
    Console().print(render.lmms(found))


@evaluations.command()
@command
def compare(
    one: Annotated[Path, typer.Argument(help="Output of an evaluation.", metavar="OUT_A")],
    other: Annotated[Path, typer.Argument(help="Output of another one, of the same benchmark.", metavar="OUT_B")],
    result: Result,
) -> None:
    """Compare two evaluations item by item.

    Differences of all figures with 95% intervals by a paired bootstrap over pictures, and McNemar's exact test.

    Example: prefgen eval compare pope-base pope-aligned
    """
    from prefgen.console import Console
    from prefgen.evaluate.benchmarks import compare as compare_
    from prefgen.evaluate.benchmarks import render

    found = compare_.compare(one, other, result.seed)
    if result.json:
        Console().print_json(data=found)
        return
    Console().print(render.comparison(found))
    typer.echo(
        f"{found['items']:,} items in both; right in one alone: {found['right_only_in_one']:,} and "
        f"{found['right_only_in_other']:,}, McNemar's p {found['mcnemar_p']:.3g}"
    )
    if found["only_in_one"] or found["only_in_other"]:
        typer.echo(f"left out, in one alone: {found['only_in_one']:,} and {found['only_in_other']:,} items", err=True)


@evaluations.command()
@command
def rm(
    ctx: typer.Context,
    engine: Annotated[EngineConfig, only("device", "dtype")],
    places: Annotated[
        list[Path], typer.Argument(help="Folders of reward models, then of finished runs.", metavar="RM… RUN…")
    ],
    options: RewardOptions,
    result: Annotated[
        o.RunOptions,
        only("seed", "quiet", json={"help": "Print all figures as JSON."}, seed={"help": "Seeds the bootstrap."}),
    ],
) -> None:
    """Accuracy of reward models on every run (table 7), beside baselines.

    Pairs count of whose pictures none of the models was trained on. Baselines: the longer answer, words alone
    (cross-validated on the run), and with --implicit the log-ratio of a policy.

    Example: prefgen eval rm RM povid rlhf-v vlfeedback
    """
    import dataclasses

    from prefgen.console import Console
    from prefgen.engines import build
    from prefgen.evaluate import rewards as rewards_
    from prefgen.evaluate.benchmarks import render
    from prefgen.requests import Generate
    from prefgen.training import reward

    build.hush(engine, (Generate,))
    models = [place for place in places if reward.is_reward_model(place)]
    runs = [place for place in places if place not in models]
    policies = [(policy, rewards_.reference_of(policy, options.reference)) for policy in options.implicit]
    if not runs or not (models or policies):
        raise UsageError("give reward models, as `prefgen train rm` makes them, or --implicit, and runs to try them on")
    found = rewards_.matrix(models, runs, policies, engine, options.limit, result.seed)
    if result.json:
        Console().print_json(data=dataclasses.asdict(found))
        return
    console = Console(stderr=True, quiet=result.quiet, highlight=False)
    for name in found.unrecorded:
        console.print(f"{name} has no record of its training pictures, which may be among these", style="yellow")
    for name, count in found.seen.items():
        console.print(f"{name}: {found.rows[name]:,} pairs; {count:,} rows have a picture that a model was trained on")
    for reason, count in found.dropped.items():
        console.print(f"{count:,} pairs could not be read: {reason}", style="yellow")
    Console().print(render.rewards(found))


@evaluations.command()
@command
def scenes(
    ctx: typer.Context,
    engine: Annotated[
        EngineConfig,
        only(
            *("model", "base_model", "chat_template", "device", "batch_size"),
            model={"help": "Model to measure: folder or Hub id."},
            batch_size={"help": "Questions of a batch.", "default": 64},
        ),
    ],
    options: ScenesOptions,
    result: Result,
) -> None:
    """Measure hallucination on drawn scenes whose truth is known.

    CHAIR, recall, yes/no accuracy and caption length, with 95% bootstrap intervals. Read CHAIR with recall and length:
    who says less invents less.

    Example: prefgen eval scenes --model aligned
    """
    if options.scenes is not None:
        typer.echo(f"--scenes {options.scenes} is not needed any more: the scenes are part of prefgen", err=True)
    from prefgen.console import Console
    from prefgen.engines import build
    from prefgen.engines.hf.loading import load
    from prefgen.evaluate.scenes import measure
    from prefgen.evaluate.scenes.heldout import HELDOUT_SCENES, heldout
    from prefgen.requests import Generate

    config, limit = replace(engine, dtype="float32"), options.limit
    if not 1 <= limit <= HELDOUT_SCENES:
        raise UsageError(f"--limit {limit} must be between 1 and {HELDOUT_SCENES}")
    build.hush(config, (Generate,))
    loaded = load(config)
    figures = measure.evaluate(
        measure.responder(loaded.model, loaded.processor, engine.batch_size), heldout(limit), result.seed
    )
    if result.json:
        typer.echo(measure.as_json(figures))
        return
    Console().print(measure.as_table({name: figures[name] for name in measure.SHOWN}, f"{limit} scenes"))


def _answering(
    options: BenchmarkOptions, engine: Draft[EngineConfig], answers: Sequence[Path], **more: Any
) -> Answering:
    """The source of answers that the options name."""
    from prefgen.console import Console
    from prefgen.evaluate.benchmarks.run import Answering

    console = Console(stderr=True, quiet=options.quiet, highlight=False)
    return Answering.of(options, lambda: engine.make(model=options.model), answers, console, **more)


def _judging(options: JudgingOptions, asked: Draft[JudgeConfig]) -> Judging:
    """The judge that the options name."""
    from prefgen.evaluate.benchmarks.run import Judging

    return Judging(asked.make, asked.value("judge"), options.judge_prompt, options.judge_tokens)


def _show(found: BenchmarkScores, options: BenchmarkOptions) -> None:
    """Print the table and what was left out."""
    from prefgen.console import Console
    from prefgen.evaluate.benchmarks import compare as compare_
    from prefgen.evaluate.benchmarks import render

    scores = found.scores
    console = Console(stderr=True, quiet=options.quiet, highlight=False)
    for reason, count in scores["unanswered"].items():
        console.print(f"{count:,} questions have no answer and are left out: {reason}", style="yellow")
    if scores.get("foreign_answers"):
        console.print(f"{scores['foreign_answers']:,} answers have no question and are left out", style="yellow")
    if options.json:
        Console().print_json(data=scores)
        return
    Console().print(render.scores(found))
    typer.echo(f"scores in {options.output / compare_.SCORES}")
