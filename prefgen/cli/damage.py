"""Commands that read runs: converts exceptions over a damaged run to errors that name the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from prefgen.cli import renamed
from prefgen.errors import CorruptRun, PrefgenError

_SHOWN = 3


class Command(TyperCommand):
    """A command that accepts old names of its options, and names the run whose damage is why it failed."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # Typer's Context
        """Parse the arguments, with old names replaced."""
        rest = super().parse_args(ctx, renamed.current(args, renamed.earlier(ctx.command.callback)))
        ctx.params = renamed.judge_url(ctx.params)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            CorruptRun: naming the files that are damaged.
        """
        try:
            return super().invoke(ctx)
        except (PrefgenError, typer.Exit, typer.Abort):
            raise
        except Exception as error:  # raised again, unless a run that was read is the reason
            inputs = [value for name, value in ctx.params.items() if name != "output"]
            for out in _folders([*inputs, ctx.params.get("output")]):
                _blame(out, error)
            raise


def _blame(out: Path, error: Exception) -> None:
    """Raise `CorruptRun` if the folder is a damaged run or data set."""
    from prefgen.rundir import verify

    problems = verify.problems(out)
    if not problems:
        return
    listed = "; ".join(
        f"{problem.file}{f' row {problem.row}' if problem.row else ''}: {problem.detail[:200]}"
        for problem in problems[:_SHOWN]
    )
    raise CorruptRun(
        f"{out} is damaged ({type(error).__name__}): {listed}\n`prefgen verify {out}` lists all; restore it from a copy"
    ) from error


def _folders(values: Iterable[Any]) -> Iterator[Path]:
    """The folders of runs and data sets in a command's arguments."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _folders(value)
        elif isinstance(value, (str, Path)) and value:
            for name in (str(value), str(value).rpartition(":")[0]):  # RUN, or RUN:AMOUNT
                if name and _is_folder(Path(name)):
                    yield Path(name)


def _is_folder(path: Path) -> bool:
    try:
        return (path / ".prefgen").is_dir() or (path / "data").is_dir()
    except (OSError, ValueError):  # a text that cannot be a name
        return False
