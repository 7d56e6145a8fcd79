"""Options that had another name once: still accepted, with a note on stderr that says the name of today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """A command that also takes the old names of its options."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # Typer's Context
        """Parse the arguments, old names replaced by those of today."""
        return super().parse_args(ctx, current(args, earlier(ctx.command.callback)))


def current(arguments: Sequence[str], renamed: Mapping[str, str]) -> list[str]:
    """Arguments with the names that their options have today."""
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
    """The earlier flags of a command's options with those of today."""
    found: Mapping[str, str] = getattr(callback, "was", {})
    return found


def keys(ctx: typer.Context) -> dict[str, str]:
    """Keys of a configuration file that have another name today."""
    return {_key(old): _key(new) for old, new in earlier(ctx.command.callback).items()}


def judge_url(ctx: typer.Context) -> None:
    """Take the address that `--base-url` gives for the judge's, where no engine is behind a server."""
    if ctx.params["base_url"] is not None and ctx.params["engine"] != "openai" and ctx.params["by"] == "api":
        note("--base-url", "--judge-url")
        ctx.params |= {"judge_url": ctx.params["base_url"], "base_url": None}


def note(old: str, new: str) -> None:
    """Say that an option has a new name."""
    typer.echo(f"note: {old} is now {new}", err=True)


def _key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")
