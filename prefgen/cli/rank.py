"""`prefgen rank` and `prefgen judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from prefgen.cli import options as o
from prefgen.cli import renamed
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods import prompts
from prefgen.methods.rank import Rank
from prefgen.methods.verdicts import By, Comparer
from prefgen.options import check_choice
from prefgen.sources import SourceOptions

COMPARERS = get_args(By)
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
    input: o.Input,
    output: o.Output,
    source: SourceOptions,
    method: Draft[Rank],
    engine: _Policies,
    judge: Annotated[Draft[JudgeConfig], without("batch_api", "batch_files")],
    run: o.RunOptions,
    prompt: o.Prompt = None,
) -> None:
    """Sample answers of the policy, have them judged, and pair the best with a worse one.

    Every two answers are compared in both orders; where the orders disagree it is a tie.

    Example: prefgen rank -i llava_instruct.json -m llava-hf/llava-1.5-7b-hf --annotator ANOTHER -o out
    """
    from prefgen.cli import terminal

    renamed.judge_url(ctx)
    policies = engine.make()
    made = method.make(prompt=_prompt(method.value("by"), prompt), policies=1 + len(policies.also))
    terminal.make(ctx, made, input, source, policies, output, run, judge.make())


@command
def judge(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")],
    method: Annotated[Draft[Rank], only("with_image", "verdict_tokens")],
    engine: _Annotator,
    asked: Annotated[Draft[JudgeConfig], without("batch_api", "batch_files")],
    printing: o.Printing,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Votes of `prefgen view` (CSV); else the chosen answer is the better one."),
    ] = None,
    by: Annotated[str, o.method("--by", help="Who compares", choices=COMPARERS)] = COMPARERS[0],
    prompt: o.Prompt = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Judge the first N pairs only.")] = None,
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

    renamed.judge_url(ctx)
    made = method.make(prompt=_prompt(by, prompt))
    check_choice("--by", by, COMPARERS)
    comparer = Comparer(by, made.prompt, made.with_image, max_new_tokens=made.verdict_tokens)  # type: ignore[arg-type]
    asks = engine.make if by == "annotator" else asked.make
    found = judging.measure(run, against, comparer, asks, limit, Terminal(quiet=printing.quiet))
    if printing.json:
        Console().print_json(data=dataclasses.asdict(found))
    else:
        Console().print(render(found))
    if not found.pairs:
        raise TooManyDropped(f"no pair of {run} was judged, or none has a label")


def _prompt(by: str, file: Path | None) -> prompts.Template:
    return prompts.load({"api": "rank", "claims": "claims"}.get(by, "rank-text"), file)
