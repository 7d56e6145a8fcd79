"""Votes about pairs, kept as CSV that a spreadsheet can open without running anything."""

from __future__ import annotations

import csv
import threading
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from prefgen.errors import EnvironmentFault, UsageError

VOTES = ("good", "bad", "tie")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")


@dataclass(frozen=True)
class Vote:
    """What somebody thinks of a pair.

    Attributes:
        vote: ``good``: chosen is the better answer; ``bad``: it is not; ``tie``.
        blind: ``yes`` if it was not shown which answer is which; then `order` says which came first.
        time: UTC, ISO 8601.
    """

    id: str
    source_id: str
    vote: str
    blind: str
    order: str
    time: str


HEADER = [field.name for field in fields(Vote)]


class Votes:
    """A CSV file of votes that only grows; of several about a row the last one counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def current(self) -> dict[str, str]:
        """The vote about each row id.

        Raises:
            UsageError: if the file is none of ours.
        """
        if not self.path.exists():
            return {}
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != HEADER:
                raise UsageError(f"{self.path} has the columns {reader.fieldnames}, not {HEADER}: move it away")
            return {row["id"]: row["vote"] for row in reader}

    def add(self, id: str, source_id: str, vote: str, *, blind: bool, rejected_first: bool) -> None:
        """Store a vote.

        Raises:
            UsageError: if it is no known one.
            EnvironmentFault: if it cannot be written.
        """
        if vote not in VOTES:
            raise UsageError(f"vote {vote!r} is unknown; choose from {', '.join(VOTES)}")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        order = "rejected first" if rejected_first else "chosen first"
        values = astuple(Vote(id, source_id, vote, "yes" if blind else "no", order, now))
        try:
            with self._lock:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", newline="", encoding="utf-8") as file:
                    if not file.tell():
                        csv.writer(file).writerow(HEADER)
                    csv.writer(file).writerow([harmless(value) for value in values])
        except OSError as error:
            raise EnvironmentFault(f"cannot write votes to {self.path}: {error}") from error


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP ASVS 1.2.10)."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
