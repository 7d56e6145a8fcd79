"""`prefgen verify`, `prefgen finalize` and `prefgen presets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import command


def presets() -> None:
    """List what `--preset` takes: rows of the paper's tables."""
    from rich.table import Table

    from prefgen.console import Console
    from prefgen.methods.bdhs import PRESETS

    table = Table("preset", "variant", "rho", "noise steps", "iterations", "guidance", box=None)
    for name, method in PRESETS.items():
        masked, noised = method.variant != "noise", method.variant != "attn"
        table.add_row(
            name,
            method.variant,
            f"{method.rho:g}" if masked else "–",
            str(method.noise_steps) if noised else "–",
            str(method.iterations),
            "yes" if method.guidance else "no",
        )
    console = Console()
    console.print(table)
    console.print(
        "\nThese are rows of `prefgen bdhs`; `prefgen povid` as it stands is table 6's POVID-style distortion."
    )


@command
def verify(
    out: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.", metavar="RUN")],
    printing: Annotated[o.RunOptions, o.as_json("the problems")],
) -> None:
    """Check a run: every file, every row, every count."""
    import dataclasses

    from prefgen.console import Console
    from prefgen.errors import CorruptRun
    from prefgen.rundir.verify import verify as verify_

    console, found = Console(), verify_(out)
    if printing.json:
        console.print_json(data=dataclasses.asdict(found))
    for problem in () if printing.json else found.problems:
        row = f" row {problem.row}" if problem.row else ""
        console.print(f"{problem.file}{row}: {problem.detail}", style="red", markup=False, highlight=False)
    if found.problems:
        raise CorruptRun(f"{len(found.problems)} problems in {out}")
    if not printing.json:
        state = "finished" if found.finished else f"unfinished, {found.pending:,} rows pending"
        console.print(f"{out}: no problem found; {found.pairs:,} pairs, {found.dropped:,} dropped rows, {state}")


@command
def finalize(
    out: Annotated[Path, typer.Argument(help="Folder of a run whose shards are all there.", metavar="RUN")],
    printing: o.Printing,
) -> None:
    """Finalize the data set of a run that several processes filled."""
    from prefgen import option_files
    from prefgen.cli.terminal import finish
    from prefgen.rundir.layout import Layout
    from prefgen.runner.finishing import Card, finalize_run, repeating
    from prefgen.runner.reporter import Terminal

    locked, reporter = Layout(out).config, Terminal(quiet=printing.quiet)
    options = option_files.read(locked)
    result = finalize_run(out, Card(repeating(locked), options.get("license") or ""), reporter)
    finish(out, result, reporter.console, json=printing.json, max_dropped=options.get("max_dropped", 1.0))
