"""Findings of lint, and the interface of its checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from prefgen.linting.rows import PairRow

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")

EXAMPLES = 3
_EXAMPLE_CHARS = 120


@dataclass(frozen=True)
class Example:
    """A row as an example of a finding."""

    row: str
    text: str


@dataclass(frozen=True)
class Finding:
    """A finding of a check.

    Attributes:
        level: ``error`` breaks training or evaluation, ``warning`` may teach what was not meant, ``info`` is a figure.
        count: rows concerned; of ``unknown-words`` words.
        share: of all rows, or of all words.
        message: the finding with its figures.
        advice: what to do about it; empty where nothing need be done.
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
    """All findings of a data set, the most severe first."""

    rows: int
    findings: tuple[Finding, ...]

    def at_least(self, level: Level) -> tuple[Finding, ...]:
        """The findings of at least this severity."""
        return tuple(finding for finding in self.findings if LEVELS.index(finding.level) <= LEVELS.index(level))


class Check(Protocol):
    """A check, which sees every row once and then returns its findings."""

    def see(self, row: PairRow) -> None:
        """Process a row; keep as little of it as possible."""

    def findings(self, rows: int) -> Iterable[Finding]:
        """The findings over `rows` rows; at least one."""


class RowTally:
    """Counts rows and keeps the first ones as examples."""

    def __init__(self) -> None:
        self.count = 0
        self._examples: list[Example] = []

    def add(self, row: PairRow, text: str) -> None:
        """Count a row; `text` is shown as the example."""
        self.count += 1
        if len(self._examples) < EXAMPLES:
            self._examples.append(Example(row.id, shorten(text)))

    def finding(
        self, check: str, level: Level | float, rows: int, message: str, advice: str, *, of_generation: bool = False
    ) -> Finding:
        """The finding about the counted rows; ``info`` without advice if there are none.

        Args:
            level: or the share of all rows from which on it is a warning.
        """
        if isinstance(level, float):
            level = "warning" if self.count >= level * rows else "info"
        if not self.count:
            level, advice = "info", ""
        examples = tuple(self._examples)
        return Finding(check, level, self.count, self.count / rows, message, advice, examples, of_generation)


def shorten(text: str) -> str:
    """The first characters of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _EXAMPLE_CHARS else line[: _EXAMPLE_CHARS - 1] + "…"
