"""What a check finds, and how checks are asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from prefgen.linting.rows import Row

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")

EXAMPLES = 3
_EXAMPLE_CHARS = 120


@dataclass(frozen=True)
class Example:
    """A row that shows what is meant."""

    row: str
    text: str


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        level: ``error`` breaks training or evaluation, ``warning`` may teach what was not meant, ``info`` is a figure.
        count: rows concerned; of ``unknown-words`` words. share: of all rows, or of all words.
        message: the finding with its figures. advice: what to do about it; empty where nothing need be done.
        of_generation: the advice concerns options that answers are generated with.
    """

    check: str
    level: Level
    count: int
    share: float
    message: str
    advice: str = ""
    examples: tuple[Example, ...] = ()
    of_generation: bool = False


@dataclass(frozen=True)
class Lint:
    """All findings about a data set, the gravest first."""

    rows: int
    findings: tuple[Finding, ...]

    def at_least(self, level: Level) -> tuple[Finding, ...]:
        """The findings that are as grave as `level`, or graver."""
        return tuple(finding for finding in self.findings if LEVELS.index(finding.level) <= LEVELS.index(level))


class Check(Protocol):
    """Sees every row once, then says what it found."""

    def see(self, row: Row) -> None:
        """Take note of a row; keep next to nothing of it."""

    def findings(self, rows: int) -> Iterable[Finding]:
        """What was found in `rows` rows; at least one."""


class Tally:
    """Counts rows and keeps the first few as examples."""

    def __init__(self) -> None:
        self.count = 0
        self._examples: list[Example] = []

    def add(self, row: Row, text: str) -> None:
        """Count a row; `text` shows why."""
        self.count += 1
        if len(self._examples) < EXAMPLES:
            self._examples.append(Example(row.id, shorten(text)))

    def finding(
        self, check: str, level: Level, rows: int, message: str, advice: str, *, of_generation: bool = False
    ) -> Finding:
        """The finding about the rows that were counted; ``info`` without advice if there are none."""
        if not self.count:
            level, advice = "info", ""
        examples = tuple(self._examples)
        return Finding(check, level, self.count, self.count / rows, message, advice, examples, of_generation)


def shorten(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _EXAMPLE_CHARS else line[: _EXAMPLE_CHARS - 1] + "…"
