"""`prefgen eval`: benchmarks of a model or of given answers, and comparisons of two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import UsageError
from prefgen.options import DATA, JUDGE, MODELS, RUN, TEXT, check, option
from prefgen.sources.options import SourceOptions

if TYPE_CHECKING:
    from prefgen.evaluate.benchmarks.run import Answering, BenchmarkScores, Judging

evaluations = typer.Typer(help="Measure a model, or answers that are there already.", no_args_is_help=True)


@dataclass(frozen=True)
class QuestionFiles:
    """Files of questions, and of answers that are there already."""

    questions: Sequence[Path] = option((), help="File of questions; repeatable.", panel=DATA, required=True)
    answers: Sequence[Path] = option(
        (), help="Score these answers: no model is asked. For all, or for each file.", panel=DATA
    )


@dataclass(frozen=True)
class QuestionFile:
    """A file of questions, and of answers that are there already."""

    questions: Path = option(Path(), help="File of questions.", panel=DATA, required=True)
    answers: Path | None = option(None, help="Score these answers: no model is asked.", panel=DATA)

    @property
    def given(self) -> Sequence[Path]:
        """The files of answers."""
        return (self.answers,) if self.answers else ()


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of every benchmark.

    Attributes:
        output: folder.
        model: that is asked; empty where there are answers already.
        image_root: folder of the pictures; None for the one of the questions.
        limit: first questions of a file that are used.
        max_new_tokens: of an answer.
        seed: of the bootstrap.
    """

    output: Path = option(
        Path(), "--output", "-o", help="Folder for answers and scores.", panel=DATA, required=True, callback=o.on_disk
    )
    image_root: Path | None = option(None, help="Folder of the pictures; else beside the questions.", panel=DATA)
    limit: int | None = option(None, help="Use the first N questions of a file.", panel=DATA)
    max_new_tokens: int = option(512, help="Limit of an answer; decoding is greedy.", panel=TEXT)
    model: str = option("", "--model", "-m", help="Model or adapter to measure: folder or Hub id.", panel=MODELS)
    seed: int = option(0, help="Seeds the bootstrap.", panel=RUN)
    json: bool = option(False, help="Print all figures as JSON.", panel=RUN)
    quiet: bool = option(False, "--quiet", "-q", help="Only errors and the final figures.", panel=RUN)

    def __post_init__(self) -> None:
        check(self)

    def answering(self, engine: Draft[EngineConfig], answers: Sequence[Path], **more: Any) -> Answering:
        """The source of answers that these options name."""
        from prefgen.console import Console
        from prefgen.evaluate.benchmarks.run import Answering

        return Answering(
            self.output,
            self.model,
            lambda: engine.make(model=self.model),
            answers,
            self.image_root,
            self.limit,
            self.max_new_tokens,
            self.seed,
            Console(stderr=True, quiet=self.quiet, highlight=False),
            **more,
        )


@dataclass(frozen=True)
class JudgingOptions:
    """Options of a benchmark's judge."""

    judge_prompt: Path | None = option(None, help="A prompt of your own: prefgen prompts export.", panel=JUDGE)
    judge_tokens: int = option(512, help="Limit of a judge's reply.", panel=JUDGE)

    def by(self, asked: Draft[JudgeConfig]) -> Judging:
        """The judge that these options name."""
        from prefgen.evaluate.benchmarks.run import Judging

        return Judging(asked.make, asked.value("judge"), self.judge_prompt, self.judge_tokens)


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


@dataclass(frozen=True)
class PopeOptions:
    """Form of POPE's questions and answers."""

    parser: Literal["official", "strict", "lenient"] = option("official", help="How an answer is read", panel=TEXT)
    suffix: str = option("", help="Added to every question.", panel=TEXT)

    def __post_init__(self) -> None:
        check(self)


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

    at = options.answering(
        engine, given.answers, suffix=form.suffix, image_match=found.image_match, follow_links=found.follow_links
    )
    _show(run.pope(at, given.questions, form.parser), options)


@dataclass(frozen=True)
class ChairOptions:
    """Pictures of CHAIR, and the question about them."""

    instances: Sequence[Path] = option((), help="COCO's instances, JSON; repeatable.", panel=DATA, required=True)
    captions: Sequence[Path] = option((), help="COCO's captions, JSON, for the truth; repeatable.", panel=DATA)
    sample: int | None = option(None, help="Use N pictures drawn at random.", panel=DATA)
    synonyms: Path | None = option(
        None, help="Words of your own: a line a category, its name first, commas between.", panel=TEXT
    )
    question: str = option("Describe the image in detail.", help="What is asked.", panel=TEXT)


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

    at = options.answering(engine, given.given, image_match=found.image_match, follow_links=found.follow_links)
    _show(run.chair(at, form.instances, form.captions, form.synonyms, form.question, form.sample), options)


@dataclass(frozen=True)
class MmhalOptions:
    """Inputs of MMHAL-Bench's judge."""

    with_image: bool = option(False, help="Show the judge the picture: MMHAL-V.", panel=JUDGE)


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

    at = options.answering(engine, given.given)
    _show(run.mmhal(at, judging.by(asked), given.questions, with_image=form.with_image), options)


@dataclass(frozen=True)
class LlavaBenchOptions:
    """Files of LLaVA-Bench beside its questions."""

    context: Path = option(Path(), help="File of the pictures' captions.", panel=DATA, required=True)
    reference: Path = option(Path(), help="File of the reference answers.", panel=DATA, required=True)


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

    at = options.answering(engine, given.given)
    _show(run.llava_bench(at, judging.by(asked), given.questions, beside.context, beside.reference), options)


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


@dataclass(frozen=True)
class RewardOptions:
    """Policies that are measured as reward models, and the pairs."""

    implicit: Sequence[str] = option(
        (), help="A policy trained by DPO, for its implicit reward: folder or Hub id; repeatable.", panel=DATA
    )
    reference: str = option("", help="What these policies were trained from; else an adapter's base.", panel=DATA)
    limit: int | None = option(None, help="Use the first N pairs of a run.", panel=DATA)


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


@dataclass(frozen=True)
class ScenesOptions:
    """Number of scenes; and an option that is not needed any more."""

    limit: int = option(600, help="Use the first N of the 600 held-out scenes.", panel=DATA)
    scenes: Path | None = option(None, help="", panel=None, hidden=True)


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
