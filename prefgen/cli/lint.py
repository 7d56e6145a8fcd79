"""`prefgen lint`: checks of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli.options import run_folder
from prefgen.cli.select import EXCLUDE
from prefgen.errors import NotGoodEnough, UsageError

FAIL_ON = ("error", "warning")


def lint(
    out: Annotated[
        Path,
        typer.Argument(
            help="Folder of a data set, finished or not; address or Hub id.", metavar="RUN", parser=run_folder
        ),
    ],
    fail_on: Annotated[
        str | None,
        typer.Option("--fail-on", metavar="|".join(FAIL_ON), help="Exit 3 on findings of this level or graver."),
    ] = None,
    exclude_images: Annotated[Path | None, typer.Option("--exclude-images", help=EXCLUDE)] = None,
    truncate: Annotated[
        int | None, typer.Option("--truncate", min=1, help="Compare pairs after N characters as well [2000].")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check a dataset for shortcuts, duplicates and other flaws.

    Example: prefgen lint out --fail-on error --exclude-images pope_images.txt
    """
    from prefgen import linting
    from prefgen.console import Console
    from prefgen.linting import render, thresholds
    from prefgen.select import Excluded

    level = next((level for level in linting.LEVELS if level == fail_on and level in FAIL_ON), None)
    if fail_on is not None and level is None:
        raise UsageError(f"--fail-on {fail_on!r} is unknown; choose from {', '.join(FAIL_ON)}")
    found = linting.lint(
        out,
        truncated_chars=truncate or thresholds.TRUNCATED_CHARS,
        excluded=Excluded.read(exclude_images) if exclude_images else Excluded(),
    )
    if json:
        typer.echo(render.to_json(found))
    else:
        Console().print(render.render(found), highlight=False)
    if level is not None and found.at_least(level):
        raise NotGoodEnough(
            f"{len(found.at_least(level))} findings of level {level} or graver in {out}: what to do stands under each, "
            "or run without --fail-on"
        )
