"""`prefgen verify`, `prefgen finalize` and `prefgen presets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def presets() -> None:
    """List what `--preset` takes: rows of the paper's tables."""
    from prefgen.cli import session

    session.print_presets()


def verify(
    out: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.", metavar="RUN")],
    json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Check a run: every file, every row, every count."""
    from prefgen.cli import session

    session.verify(out, json=json)


def finalize(
    out: Annotated[Path, typer.Argument(help="Folder of a run whose shards are all there.", metavar="RUN")],
    json: Annotated[bool, typer.Option("--json", help="Print the final figures as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the final figures.")] = False,
) -> None:
    """Finalize the data set of a run that several processes filled."""
    from prefgen.cli import session

    session.finalize_run(out, json=json, quiet=quiet)
