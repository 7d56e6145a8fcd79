"""`prefgen formats`: the formats that are read and written."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import command


@command
def formats(
    printing: Annotated[o.RunOptions, o.as_json("the list")],
    name: Annotated[str | None, typer.Argument(help="Show this one in full.", metavar="NAME")] = None,
) -> None:
    """List the formats that are read and written, each with an example.

    Example: prefgen formats openai
    """
    from prefgen.formats import listing as known

    found = known.named(name) if name else known.formats()
    if printing.json:
        typer.echo(json.dumps([dataclasses.asdict(entry) for entry in found], indent=2))
        return
    for use, entries in itertools.groupby(found, key=lambda entry: entry.use):
        typer.secho(use, bold=True)
        for entry in entries:
            if name:
                typer.echo(f"\n{entry.text}")
            else:
                typer.echo(f"  {entry.name:14}{entry.title}\n{'':16}{entry.short}")
        typer.echo()
