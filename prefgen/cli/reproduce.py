"""`prefgen reproduce`: a table or figure of the paper as one command."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli.params import command
from prefgen.errors import UsageError
from prefgen.reproduce.options import ReproduceOptions


@command
def reproduce(
    ctx: typer.Context,
    given: ReproduceOptions,
    recipe: Annotated[str | None, typer.Argument(help="A recipe of --list, or a YAML file like them.")] = None,
) -> None:
    """Make, train and measure all rows of a table of the paper (2407.02477).

    Each command of the recipe is printed and run once; the same command continues where it was stopped.

    Example: prefgen reproduce table15 --scale tiny --output table15
    """
    import json as json_

    from rich.markdown import Markdown

    from prefgen import durable
    from prefgen.cli import commands
    from prefgen.console import Console
    from prefgen.reproduce import recipes, running, tables

    data, console = Console(), Console(stderr=True, highlight=False)
    if given.list:
        for name in recipes.names():
            data.print(f"{name:<10} {recipes.load(name).title}", markup=False, highlight=False, soft_wrap=True)
        return
    if recipe is None:
        raise UsageError("name a recipe, or list them with --list")
    request = given.request(recipes.load(recipe, given.scale))
    request.check()
    steps = running.steps(request)
    for step in steps:
        commands.check(step.words)
    if given.dry_run:
        for step in steps:
            data.print(str(step), markup=False, highlight=False, soft_wrap=True)
        return
    running.run(request, lambda line: console.print(line, markup=False, soft_wrap=True, style="bold"))
    found = tables.table(request)
    text = tables.markdown(found)
    with durable.environment(request.output):
        durable.replace(request.output / "table.md", text.encode())
        durable.replace_json(request.output / "table.json", tables.as_json(found))
    if given.json:
        data.print_json(json_.dumps(tables.as_json(found)))
    else:
        data.print(Markdown(text))
