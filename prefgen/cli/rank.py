"""`prefgen rank` and `prefgen judge`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods.prompts import Template
from prefgen.methods.rank import Rank
from prefgen.methods.verdicts import By, Comparer
from prefgen.options import check, option
from prefgen.sources import SourceOptions

_Policies = Annotated[Draft[EngineConfig], without("attention", "positions")]
_Annotator = Annotated[
    Draft[EngineConfig],
    without(
        *("model", "revision", "attention", "positions", "similarity_model", "also"),
        annotator={"help": "Model that compares: folder or Hub id.", "was": ("--model", "-m")},
        annotator_revision={"was": ("--revision",)},
    ),
]


@command
def rank(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Draft[Rank],
    engine: _Policies,
    judge: Annotated[Draft[JudgeConfig], without("batch_api", "batch_files")],
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
    engine: _Annotator,
    asked: Annotated[Draft[JudgeConfig], without("batch_api", "batch_files")],
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
