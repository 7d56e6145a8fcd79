"""`prefgen lint`: checks of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from prefgen.cli import options as o
from prefgen.cli.params import command
from prefgen.errors import NotGoodEnough
from prefgen.options import check, option


@dataclass(frozen=True)
class LintOptions:
    """Options of the checks; None for those of `prefgen.linting.lint`."""

    fail_on: Literal["error", "warning"] | None = option(
        None, help="Exit 3 on findings of this level or graver.", panel=None, metavar="error|warning"
    )
    truncate: int | None = option(None, help="Compare pairs after N characters as well [2000].", panel=None, low=1)

    def __post_init__(self) -> None:
        check(self)


@command
def lint(
    out: o.DataSet,
    options: LintOptions,
    exclusion: o.Exclusion,
    printing: Annotated[o.RunOptions, o.as_json("the findings")],
) -> None:
    """Check a dataset for shortcuts, duplicates and other flaws.

    Example: prefgen lint out --fail-on error --exclude-images pope_images.txt
    """
    from prefgen import linting
    from prefgen.console import Console
    from prefgen.linting import render, thresholds

    found = linting.lint(
        out,
        truncated_chars=options.truncate or thresholds.TRUNCATED_CHARS,
        excluded=exclusion.excluded(),
    )
    if printing.json:
        typer.echo(render.to_json(found))
    else:
        Console().print(render.render(found), highlight=False)
    if options.fail_on and (grave := found.at_least(options.fail_on)):
        raise NotGoodEnough(
            f"{len(grave)} findings of level {options.fail_on} or graver in {out}: what to do stands under each, "
            "or run without --fail-on"
        )
