"""`prefgen compare`: measures of several methods over the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.methods.bdhs import BDHS


@command
def compare(
    ctx: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs over the same samples.", metavar="RUN…")],
    config: Annotated[
        EngineConfig,
        without(
            *o.NOT_SAMPLING,
            model={
                "required": False,
                "help": "Policy under which answers are fluent or not; else that is left out.",
            },
        ),
    ],
    constants: Annotated[BDHS, only("similarity_threshold", similarity_threshold={"help": "Similar from here on."})],
    printing: Annotated[o.RunOptions, o.as_json("the figures")],
) -> None:
    """Compare runs of several methods over the same samples.

    Edit size, length and log-probability are taken over the samples that all have a pair of; yield, tokens and seconds
    per pair over each run.

    Example: prefgen compare bdhs povid blind --model examples/scenes/model
    """
    import dataclasses

    from prefgen.console import Console
    from prefgen.engines import build
    from prefgen.evaluate import compare as compare_
    from prefgen.requests import Score

    build.hush(config, (Score,))
    policy = None
    if config.model:
        config, _ = build.resolve(config, (Score,))
        build.identify(config, (Score,))
        policy = build.build(config, (Score,))[Score]
    found = compare_.compare(runs, policy, constants.similarity_threshold)
    console = Console()
    if printing.json:
        console.print_json(data=dataclasses.asdict(found))
        return
    console.print(compare_.render(found))
    chosen = "" if found.chosen_fluency is None else f"; log-prob of the chosen answers {found.chosen_fluency:.2f}"
    console.print(f"edited, length, log-prob: over the {found.samples:,} samples in common{chosen}")
