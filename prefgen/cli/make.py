"""Commands that make pairs by a method, and tools for their judges: `prefgen judge`, `prefgen prompts`."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import UsageError
from prefgen.methods import BASELINES
from prefgen.methods import prompts as prompts_
from prefgen.methods.base import Method
from prefgen.methods.bdhs import BDHS
from prefgen.methods.corrupt import Corrupt
from prefgen.methods.image_pairs import ImagePairs
from prefgen.methods.povid import Povid
from prefgen.methods.prompts import Template
from prefgen.methods.rank import Rank
from prefgen.methods.revise import Revise
from prefgen.methods.verdicts import By, Comparer
from prefgen.options import check, option
from prefgen.sources import SourceOptions
from prefgen.visibility import NoiseSpace

if TYPE_CHECKING:
    Baseline = Method
else:
    Baseline = functools.reduce(operator.or_, BASELINES.values())

_Judge = Annotated[Draft[JudgeConfig], without("batch_api", "batch_files")]


@dataclass(frozen=True)
class PresetOption:
    """A row of the paper's tables, whose values become the defaults."""

    preset: str | None = option(
        None, help="A row of the paper: prefgen presets.", callback=config.preset_callback, is_eager=True
    )


@command
def bdhs(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: BDHS,
    engine: o.Policy,
    run: o.RunOptions,
    preset: PresetOption,
) -> None:
    """Make rejected answers from SFT data alone: BDHS (2407.02477).

    Masks the image, completes the reference answer sentence by sentence, rejects what stays too similar.

    Example: prefgen bdhs -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    from prefgen.cli import terminal

    terminal.make(ctx, method, files, source, engine, run)


@command
def baseline(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help=f"One of {', '.join(BASELINES)}.")],
    files: o.InputOutput,
    source: SourceOptions,
    settings: Draft[Baseline],
    engine: o.Policy,
    run: o.RunOptions,
) -> None:
    """Make rejected answers by a simpler method, for comparison.

    dropout-ntp writes the second half of the answer without the image, blind the whole of it; weakened answers a noised
    image, contrastive does so away from what the clean one shows; append adds an imagined sentence. The defaults of a
    method's options are in its file in prefgen/methods.

    Example: prefgen baseline blind -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    if method not in BASELINES:
        raise UsageError(f"method {method!r} is unknown; choose from {', '.join(BASELINES)}")
    from prefgen.cli import terminal

    made = settings.make(BASELINES[method], method)
    terminal.make(ctx, made, files, source, engine, run)


@dataclass(frozen=True)
class PovidOptions:
    """Form of the pairs."""

    pairs: Literal["text", "image"] = option("text", help="What is rejected: another answer, or a distorted image")

    def __post_init__(self) -> None:
        check(self)


@command
def povid(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Annotated[
        Draft[Povid | ImagePairs],
        without(
            noise_space={
                "help": "What is noised; image pairs: pixels, clamped by default",
                "choices": get_args(NoiseSpace),
            }
        ),
    ],
    engine: Annotated[
        EngineConfig,
        without(
            *("also", "annotator", "annotator_revision"),
            model={"required": False, "help": "The policy: folder or Hub id. Image pairs need none."},
        ),
    ],
    run: o.RunOptions,
    options: PovidOptions,
) -> None:
    """Make rejected answers by teacher forcing on a noised image.

    Predicts every token of the reference anew, each after the reference before it, in one forward pass. With --pairs
    image the answer stays and a distorted image is rejected.

    Example: prefgen povid -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    from prefgen.cli import terminal

    kind: type[Method] = Povid if options.pairs == "text" else ImagePairs
    made = method.make(kind, f"--pairs {options.pairs}")
    terminal.make(ctx, made, files, source, engine, run)


@command
def corrupt(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Draft[Corrupt],
    judge: JudgeConfig,
    engine: Annotated[EngineConfig, only(*o.SIMILARITY, "device")],
    run: o.RunOptions,
    prompt: o.Prompt,
) -> None:
    """Let a language model make hallucinations of the chosen answers (section 5.3).

    Replies are paid once: they are kept before they are used, whatever dies afterwards.

    Example: prefgen corrupt -i examples/scenes/llava_instruct.json -o out --judge gpt4 --max-cost 5
    """
    from prefgen.cli import terminal

    made = method.make(prompt=prompt.load("corrupt" if method.value("reply") == "json" else "corrupt-text"))
    terminal.make(ctx, made, files, source, engine, run, judge)


@command
def revise(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Draft[Revise],
    judge: _Judge,
    engine: Annotated[
        EngineConfig,
        without(
            *o.NOT_SAMPLING,
            model={"required": False, "help": "The policy: folder or Hub id; none for --answers input."},
        ),
    ],
    run: o.RunOptions,
    prompt: o.Prompt,
) -> None:
    """Have a judge that sees the picture repair the policy's own answers (2501.09695).

    The repaired answer is chosen, the policy's rejected. Train on the chosen ones first, then on the pairs: `prefgen
    train sft`, then `prefgen train dpo --loss-mask spans`.

    Example: prefgen revise -i llava_instruct.json -m llava-hf/llava-1.5-7b-hf --judge gpt4o --max-cost 20 -o out
    """
    from prefgen.cli import terminal

    made = method.make(prompt=prompt.load("revise" if method.value("reply") == "json" else "revise-text"))
    terminal.make(ctx, made, files, source, engine, run, judge.make())


@command
def rank(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Draft[Rank],
    engine: Annotated[Draft[EngineConfig], without("attention", "positions")],
    judge: _Judge,
    run: o.RunOptions,
    prompt: o.Prompt,
) -> None:
    """Sample answers of the policy, have them judged, pair the best with a worse one.

    Every two answers are compared in both orders; where the orders disagree it is a tie.

    Example: prefgen rank -i llava_instruct.json -m llava-hf/llava-1.5-7b-hf --annotator ANOTHER -o out
    """
    from prefgen.cli import terminal

    policies = engine.make()
    made = method.make(prompt=_prompt(method.value("by"), prompt), policies=1 + len(policies.also))
    terminal.make(ctx, made, files, source, policies, run, judge.make())


@dataclass(frozen=True)
class JudgeTest:
    """The judge that is tested, and the answers that are known to be better."""

    against: Path | None = option(
        None, help="Votes of `prefgen view` (CSV); else the chosen answer is the better one.", panel=None
    )
    by: By = option("annotator", help="Who compares")
    limit: int | None = option(None, help="Judge the first N pairs only.", panel=None)

    def __post_init__(self) -> None:
        check(self)


@command
def judge(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")],
    method: Annotated[Draft[Rank], only("with_image", "verdict_tokens")],
    engine: Annotated[
        Draft[EngineConfig],
        without(
            *("model", "revision", "attention", "positions", *o.SIMILARITY, "also"),
            annotator={"help": "Model that compares: folder or Hub id.", "was": ("--model", "-m")},
            annotator_revision={"was": ("--revision",)},
        ),
    ],
    asked: _Judge,
    printing: o.Printing,
    options: JudgeTest,
    prompt: o.Prompt,
) -> None:
    """Test a judge on pairs whose better answer is known (table 10).

    Both orders are asked: accuracy, agreement between the orders, and preference for a place are told.

    Example: prefgen judge vlfeedback --by api --judge gpt4o --limit 500
    """
    import dataclasses

    from prefgen.console import Console
    from prefgen.errors import TooManyDropped
    from prefgen.evaluate.judge import render
    from prefgen.runner import judging
    from prefgen.runner.reporter import Terminal

    made = method.make(prompt=_prompt(options.by, prompt))
    comparer = Comparer(options.by, made.prompt, made.with_image, max_new_tokens=made.verdict_tokens)
    asks = engine.make if options.by == "annotator" else asked.make
    found = judging.measure(run, options.against, comparer, asks, options.limit, Terminal(quiet=printing.quiet))
    if printing.json:
        Console().print_json(data=dataclasses.asdict(found))
    else:
        Console().print(render(found))
    if not found.pairs:
        raise TooManyDropped(f"no pair of {run} was judged, or none has a label")


def _prompt(by: str, prompt: o.Prompt) -> Template:
    return prompt.load({"api": "rank", "claims": "claims"}.get(by, "rank-text"))


prompts = typer.Typer(help="The prompts that chat models are given: list or export them.", no_args_is_help=True)


@prompts.command("list")
def list_() -> None:
    """List the prompts that are part of prefgen."""
    for name in prompts_.NAMES:
        typer.echo(str(prompts_.load(name)))


@prompts.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write them; files that are there are kept.", metavar="DIR")],
) -> None:
    """Write the prompts to files, to edit them and pass them to --prompt."""
    from prefgen import durable

    with durable.environment(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name in prompts_.NAMES:
        path = folder / f"{name}.txt"
        if path.exists():
            typer.echo(f"{path} is there already", err=True)
        else:
            durable.put(path, prompts_.load(name).text.encode())
            typer.echo(path)
