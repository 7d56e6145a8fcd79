"""`prefgen reproduce`: a table or figure of the paper as one command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefgen.cli.options import on_disk
from prefgen.cli.params import command
from prefgen.errors import UsageError
from prefgen.options import DATA, MODELS, RUN, check, option

if TYPE_CHECKING:
    from prefgen.reproduce.recipes import Recipe
    from prefgen.reproduce.running import Request


@dataclass(frozen=True)
class ReproduceOptions:
    """Options of `prefgen reproduce`.

    Attributes:
        output: folder.
        scale: ``paper`` takes the paper's sizes; ``tiny`` runs on the rows and the model that come with prefgen.
        sets: ``NAME=FILE``, what a preference set of the recipe is imported from.
        evaluations: what stands behind `prefgen eval`; each arm's model is added.
        train: further options of every training command.
    """

    output: Path = option(
        Path("reproduced"),
        "--output",
        "-o",
        help="Folder for runs, models and the table.",
        panel=DATA,
        callback=on_disk,
    )
    scale: str = option("paper", help="Sizes", choices=("paper", "tiny"), panel=RUN)
    input: str = option("", "--input", "-i", help="SFT rows: file, folder or Hub id.", panel=DATA)
    image_root: str = option("", help="Folder of the pictures.", panel=DATA)
    sets: Sequence[str] = option((), "--set", help="NAME=FILE of a preference set; repeatable.", panel=DATA)
    evaluations: Sequence[str] = option(
        (), "--eval", help="A benchmark: 'pope --questions FILE …'; repeatable.", panel=DATA
    )
    model: str = option("", "--model", "-m", help="Model to align: folder or Hub id.", panel=MODELS)
    annotator: str = option("", help="Model that compares answers; else --model.", panel=MODELS)
    train: str = option("", help="Options of every training command, such as '--beta 0.2'.", panel=RUN)
    list: bool = option(False, help="List the recipes.", panel=RUN)
    dry_run: bool = option(False, help="Print the commands and run none.", panel=RUN)
    json: bool = option(False, help="Print the table as JSON.", panel=RUN)

    def __post_init__(self) -> None:
        check(self)


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
    request = _request(given, recipes.load(recipe))
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


def _request(given: ReproduceOptions, recipe: Recipe) -> Request:
    from prefgen.demo import FOLDER
    from prefgen.reproduce.running import Request

    tiny = given.scale == "tiny"
    if not tiny and not (given.input and given.model and (given.evaluations or recipe.together)):
        raise UsageError(
            "--scale paper needs --input, --model and at least one --eval; --scale tiny needs none of them"
        )
    sets = [each.partition("=") for each in given.sets]
    if wrong := next((name for name, sign, file in sets if not (name and sign and file)), None):
        raise UsageError(f"--set {wrong}: give NAME=FILE")
    return Request(
        recipe,
        "tiny" if tiny else "paper",
        given.output,
        given.model or str(FOLDER / "model"),
        given.input or str(FOLDER / "llava_instruct.json"),
        given.image_root,
        {name: file for name, _, file in sets},
        given.evaluations or ("scenes --limit 40",),
        given.annotator,
        given.train,
    )
