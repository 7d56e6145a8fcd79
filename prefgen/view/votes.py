"""Votes on pairs, as a CSV file that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import threading
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import filelock

from prefgen.errors import EnvironmentFault, UsageError

VOTES = ("good", "bad", "tie")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")


@dataclass(frozen=True)
class Vote:
    """A vote on a pair.

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
    """An append-only CSV file of votes, one per line; the last one about a row counts.

    Several processes may add to it. A last line without its end is of a vote that was cut off while it was written: it
    is not counted, and the next vote takes its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def current(self) -> dict[str, str]:
        """The current vote by row id.

        Raises:
            UsageError: if the file is none of ours.
        """
        if not self.path.exists():
            return {}
        content = self.path.read_bytes()
        if not _whole(content) and not ",".join(HEADER).encode().startswith(content.rstrip(b"\r")):
            raise UsageError(f"{self.path} is no table of votes: move it away")
        text = content[: _whole(content)].decode(errors="replace")
        try:
            header, *rows = csv.reader(io.StringIO(text, newline="")) if text else [HEADER]
        except csv.Error as error:
            raise UsageError(f"{self.path} is no table of votes ({error}): move it away") from error
        if header != HEADER:
            raise UsageError(f"{self.path} has the columns {header}, not {HEADER}: move it away")
        cast = [Vote(*row) for row in rows if len(row) == len(HEADER)]
        return {vote.id: vote.vote for vote in cast if vote.vote in VOTES}

    def add(self, id: str, source_id: str, vote: str, *, blind: bool, rejected_first: bool) -> None:
        """Store a vote.

        Raises:
            UsageError: if it is no known one, or the file is none of ours.
            EnvironmentFault: if it cannot be written.
        """
        if vote not in VOTES:
            raise UsageError(f"vote {vote!r} is unknown; choose from {', '.join(VOTES)}")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        order = "rejected first" if rejected_first else "chosen first"
        values = astuple(Vote(id, source_id, vote, "yes" if blind else "no", order, now))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, filelock.FileLock(self.path.with_suffix(".lock")):
                self.current()  # a file that is none of ours is left alone
                self.path.touch()
                with self.path.open("r+b") as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as file:
                    raw.truncate(_whole(raw.read()))
                    raw.seek(0, io.SEEK_END)
                    if not raw.tell():
                        csv.writer(file).writerow(HEADER)
                    csv.writer(file).writerow([harmless(value) for value in values])
        except OSError as error:
            raise EnvironmentFault(f"cannot write votes to {self.path}: {error}") from error


def _whole(content: bytes) -> int:
    """Length of the complete lines of a file."""
    return content.rfind(b"\n") + 1


def harmless(cell: str) -> str:
    """A cell as one line that no spreadsheet takes for a formula (OWASP ASVS 1.2.10)."""
    cell = cell.replace("\n", " ")
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
