"""`prefgen plan`: estimate of a run without data, model or machine."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli.params import Draft, command, only
from prefgen.engines.chat.config import JudgeConfig
from prefgen.estimate.assumed import Outlook
from prefgen.methods.bdhs import BDHS


@command
def plan(
    ctx: typer.Context,
    assumed: Draft[Outlook],
    constants: Annotated[Draft[BDHS], only("variant", "rho", "iterations", variant={"help": "Of bdhs"})],
    asked: Annotated[JudgeConfig, only("judge", "judge_url", "price_in", "price_out", "batch_api")],
    method: Annotated[
        str, typer.Argument(help="As pairs carry it: bdhs, povid-style, rank, corrupt, blind …")
    ] = "bdhs",
) -> None:
    """Estimate GPU-hours, tokens, disk space and cost of a run.

    An estimate from first principles. `--dry-run` of every command says the same of your data, model and device.

    Example: prefgen plan --model-size 7b --samples 5000 --gpu h100 --price-per-hour 2.5
    """
    from prefgen.console import Console
    from prefgen.estimate import outlook
    from prefgen.methods import METHODS, prompts
    from prefgen.methods.sentence_checks import ByGain
    from prefgen.options import check_choice

    check_choice("--method", method, tuple(METHODS))
    prompt = {"corrupt": "corrupt", "revise": "revise", "rank": "rank-text"}.get(method)
    given: dict[str, object] = {"prompt": prompts.load(prompt)} if prompt else {}
    if method == "sentences":
        given = {"checker": ByGain()}
    made = constants.make(METHODS[method], f"prefgen plan {method}", **given)
    Console().print(outlook.render(assumed.make(method=made, judge=asked)))
