"""Options as commands declare them, and what a command makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from prefgen.cli import config

T = TypeVar("T")


def option(panel: str, *names: str, help: str, choices: tuple[str, ...] = (), **settings: Any) -> Any:
    """A Typer option; `choices` are listed in its help and checked by the dataclass that owns the field.

    Args:
        panel: heading of the help that it stands under.
        settings: passed on to `typer.Option`.
    """
    text = f"{help}: {', '.join(choices)}." if choices else help
    return typer.Option(*names, help=text, rich_help_panel=panel, **settings)


def field_names(kind: Any) -> frozenset[str]:
    """The fields of a dataclass."""
    return frozenset(field.name for field in dataclasses.fields(kind))


def build(kind: type[T], options: Mapping[str, Any]) -> T:
    """The dataclass whose fields these options name; options that are no field of it are for others."""
    known = field_names(kind)
    return kind(**{name: value for name, value in options.items() if name in known})


ConfigFile = Annotated[
    Path | None,
    option("Run", "--config", help="TOML or YAML file of options.", callback=config.load_callback, is_eager=True),
]
Json = Annotated[bool, option("Run", "--json", help="Print the final figures as JSON.")]
Quiet = Annotated[bool, option("Run", "--quiet", "-q", help="Only errors and the final figures.")]
