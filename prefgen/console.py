"""The console of commands. It prints data, paths and model replies as text, never as control sequences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import rich.console
import rich.progress
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column

# C0 and C1 controls but for line feed and tab, what turns the direction of text, and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    r"""The text with control characters escaped as ``\u001b``, which stays valid inside JSON."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


class Console(rich.console.Console):
    """Rich's console, which passes all text through `plain`."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


class LiveBar:
    """A progress bar below printed lines, in a terminal only. A context manager."""

    def __init__(self, console: rich.console.Console) -> None:
        self._console, self._bar = console, _bar(console)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()


def _bar(console: rich.console.Console) -> rich.progress.Progress:
    """Progress bars with counts, remaining time and text. Text is cut in short lines, figures never."""
    figures = Column(no_wrap=True)
    return rich.progress.Progress(
        rich.progress.BarColumn(bar_width=max(8, min(40, console.width // 5))),
        rich.progress.MofNCompleteColumn(table_column=figures),
        rich.progress.TimeRemainingColumn(table_column=figures.copy()),
        rich.progress.TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=console,
        expand=True,
    )
