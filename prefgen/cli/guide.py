"""`prefgen guide`: the documentation, offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from prefgen.cli.params import command
from prefgen.options import option

_WIDTH = 100  # of a page at most: longer lines are hard to read


@dataclass(frozen=True)
class GuideOptions:
    """Forms of output other than a rendered page."""

    find: str | None = option(None, help="Lines that hold a word instead.", panel=None, metavar="WORD")
    raw: bool = option(False, help="Print the Markdown as it is written.", panel=None)


@command
def guide(
    options: GuideOptions,
    topic: Annotated[str | None, typer.Argument(help="Page to print; without one, the list of pages.")] = None,
) -> None:
    """Print or search the guide.

    Example: prefgen guide bdhs
    """
    from rich.markdown import Markdown
    from rich.table import Table
    from rich.text import Text

    from prefgen import guide as pages
    from prefgen.console import Console
    from prefgen.errors import UsageError

    console = Console()
    if (find := options.find) is not None:
        found = [line for line in pages.find(find) if topic in (None, line[0])]
        if not found:
            raise UsageError(f"no line of the guide holds {find!r}")
        for name, heading, line in found:
            text = Text.assemble((f"{name}, {heading}: ", "bold"), line)
            text.highlight_words([find], "reverse", case_sensitive=False)
            console.print(text, soft_wrap=not console.is_terminal)
    elif topic is None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name in pages.TOPICS:
            table.add_row(f"prefgen guide {name}", pages.title(name))
        console.print(table)
    elif options.raw or not console.is_terminal:
        typer.echo(pages.page(topic), nl=False)
    else:
        console.print(Markdown(pages.page(topic)), width=min(console.width, _WIDTH))
