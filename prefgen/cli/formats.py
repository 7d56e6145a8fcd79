"""`prefgen formats`: the formats that are read and written."""

from __future__ import annotations

import dataclasses
import itertools
import json as json_
from typing import Annotated

import typer


def formats(
    name: Annotated[str | None, typer.Argument(help="Show this one in full.", metavar="NAME")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the formats that are read and written, each with an example.

    Example: prefgen formats openai
    """
    from prefgen.formats import listing as known

    found = known.named(name) if name else known.formats()
    if json:
        typer.echo(json_.dumps([dataclasses.asdict(entry) for entry in found], indent=2))
        return
    for use, entries in itertools.groupby(found, key=lambda entry: entry.use):
        typer.secho(use, bold=True)
        for entry in entries:
            if name:
                typer.echo(f"\n{entry.text}")
            else:
                typer.echo(f"  {entry.name:14}{entry.title}\n{'':16}{entry.short}")
        typer.echo()
