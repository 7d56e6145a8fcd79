"""Renamed options: old names are accepted, with a note on stderr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer


def current(arguments: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Arguments with current option names."""
    found: list[str] = []
    for place, argument in enumerate(arguments):
        if argument == "--":
            return [*found, *arguments[place:]]
        old, equals, value = argument.partition("=")
        if old in renamed:
            note(old, renamed[old])
            argument = f"{renamed[old]}{equals}{value}"
        found.append(argument)
    return found


def earlier(callback: object) -> Mapping[str, str]:
    """Old flags of a command's options, with the current ones."""
    found: Mapping[str, str] = getattr(callback, "was", {})
    return found


def keys(ctx: typer.Context) -> dict[str, str]:
    """Old keys of a configuration file, with the current ones."""
    return {_key(old): _key(new) for old, new in earlier(ctx.command.callback).items()}


def judge_url(values: dict[str, Any]) -> dict[str, Any]:
    """The values of options, with the address of `--base-url` for the judge where no engine is a server."""
    if values.get("by") != "api" or values.get("base_url") is None or values["engine"] == "openai":
        return values
    note("--base-url", "--judge-url")
    return {**values, "judge_url": values["base_url"], "base_url": None}


def note(old: str, new: str) -> None:
    """Print that an option has a new name."""
    typer.echo(f"note: {old} is now {new}", err=True)


def _key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")
