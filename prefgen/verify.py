"""Re-check a run directory with code that shares nothing with what wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Attributes:
        file: relative to the run directory.
        row: id of the row, where it concerns one.
    """

    file: str
    detail: str
    row: str | None = None


@dataclass(frozen=True)
class Verification:
    """What was found. Counts are rows; `pending` ones are no problem, the run is just not finished."""

    problems: tuple[Problem, ...]
    planned: int
    pairs: int
    dropped: int
    pending: int
    finished: bool


def verify(out: Path) -> Verification:
    """Check every file and row of the run in `out`, finished or not. Reads only, and takes no lock.

    Raises:
        UsageError: if there is no run in `out`.
    """
    raise NotImplementedError
