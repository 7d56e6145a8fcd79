"""The ledger: what was asked, what it may cost, what came back. Nothing is sent, and no reply used, before it is here.

SQLite, one writer (the run's lock sees to that), synced at every commit; callers gather what is to be written and
commit it together. A call without an end is one that a crash cut off: nobody knows whether it was charged, so it counts
in full, and its request is sent again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from prefgen.errors import CorruptRun, EnvironmentFault, Locked, RowError
from prefgen.requests import Message

_VERSION = 1
_TABLES = f"""
CREATE TABLE calls (id INTEGER PRIMARY KEY, key TEXT NOT NULL, reserved REAL NOT NULL, cost REAL, ended TEXT);
CREATE TABLE replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (file TEXT PRIMARY KEY, tag TEXT NOT NULL, batch TEXT, done INTEGER NOT NULL DEFAULT 0);
PRAGMA user_version = {_VERSION};
"""
End = Literal["answered", "failed", "doubtful"]


@dataclass(frozen=True)
class Sent:
    """A call that is about to be made. `reserved`: dollars it may cost."""

    call: int
    key: str
    reserved: float


@dataclass(frozen=True)
class Ended:
    """How a call ended. `cost`: dollars; `reply`: what to keep for its request, if anything."""

    call: int
    key: str
    cost: float
    end: End
    reply: Message | RowError | None = None


@dataclass(frozen=True)
class Bill:
    """All invocations of a run together.

    Attributes:
        calls: attempts. answered: of them, those with a reply. doubtful: of unknown end, counted in full.
        dollars: 0 where no price is known.
    """

    calls: int
    answered: int
    doubtful: int
    prompt_tokens: int
    tokens: int
    dollars: float


class Ledger:
    """The ledger of one run.

    Raises:
        CorruptRun: if the file is none.
        Locked: if another process has it.
    """

    def __init__(self, path: Path | Literal[":memory:"]) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # Exclusive: so write-ahead logging needs no shared memory, which network file systems lack.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._database.executescript(f"BEGIN; {_TABLES} COMMIT;")
            elif version != _VERSION:
                raise CorruptRun(f"{path} was written by another version of prefgen")
            self._database.execute("CREATE TABLE IF NOT EXISTS found (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            (last,) = self._database.execute("SELECT coalesce(max(id), 0) FROM calls").fetchone()
            self._last_call = int(last)
            self._answered = {key for (key,) in self._database.execute("SELECT key FROM replies")}
        except sqlite3.OperationalError as error:
            raise Locked(f"{path} is in use by another process, or cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            raise CorruptRun(f"{path} cannot be read ({error}): restore it, or delete it and pay again") from error

    def reply(self, key: str) -> Message | RowError | None:
        """What was answered to a request, or that it never can be."""
        if key not in self._answered:
            return None
        (stored,) = self._database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        values = json.loads(stored)
        if "reason" in values:
            return RowError(values["reason"], values["detail"])
        return Message(**{**values, "how": tuple(values.get("how", ()))})

    def found(self, name: str) -> str | None:
        """What was found out about the judge in an earlier call or invocation."""
        kept = self._database.execute("SELECT value FROM found WHERE name = ?", (name,)).fetchone()
        return kept[0] if kept else None

    def keep(self, name: str, value: str) -> None:
        """Keep what was found out about the judge."""
        self._database.execute("INSERT OR REPLACE INTO found VALUES (?, ?)", (name, value))

    def next_call(self) -> int:
        """The number of a new call."""
        self._last_call += 1
        return self._last_call

    def write(self, records: Iterable[Sent | Ended]) -> None:
        """Store records for good, all or none.

        Raises:
            EnvironmentFault: if the disk is full or not writable.
        """
        stored: list[str] = []
        try:
            self._database.execute("BEGIN")
            for record in records:
                if isinstance(record, Sent):
                    values = (record.call, record.key, record.reserved)
                    self._database.execute("INSERT INTO calls (id, key, reserved) VALUES (?, ?, ?)", values)
                elif self._end(record):
                    stored.append(record.key)
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise EnvironmentFault(f"cannot write to {self.path}: {error}. What is in it is safe") from error
        self._answered.update(stored)

    def _end(self, record: Ended) -> bool:
        values = (record.cost, record.end, record.call)
        self._database.execute("UPDATE calls SET cost = ?, ended = ? WHERE id = ?", values)
        if record.reply is not None:
            kept = _to_json(record.reply)
            self._database.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (record.key, kept))
        return record.reply is not None

    def spent(self) -> float:
        """Dollars of all calls so far; those of unknown end count in full."""
        (dollars,) = self._database.execute("SELECT total(coalesce(cost, reserved)) FROM calls").fetchone()
        return float(dollars)

    def bill(self) -> Bill:
        """What it all came to."""
        count = self._database.execute(
            "SELECT count(*), total(ended = 'answered'), total(ended IS NULL OR ended = 'doubtful') FROM calls"
        ).fetchone()
        tokens = self._database.execute(
            "SELECT total(json_extract(reply, '$.prompt_tokens')), total(json_extract(reply, '$.tokens')) FROM replies"
        ).fetchone()
        calls, answered, doubtful, read, generated = map(int, (*count, *tokens))
        return Bill(calls, answered, doubtful, read, generated, self.spent())

    def batches(self) -> Iterator[tuple[str, str, str | None]]:
        """Batches that are not finished: (name of the request file, tag, id or None where none is known)."""
        yield from self._database.execute(
            "SELECT file, tag, batch FROM batches WHERE NOT done ORDER BY file"
        ).fetchall()

    def put_batch(self, file: str, tag: str, batch: str | None = None, *, done: bool = False) -> None:
        """Note where a batch stands."""
        values = (file, tag, batch, done)
        self._database.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", values)

    def open_calls(self, keys: Iterable[str]) -> dict[str, tuple[int, float]]:
        """The latest call without an end of each of these requests: (number, reservation)."""
        wanted = set(keys)
        found = self._database.execute("SELECT key, id, reserved FROM calls WHERE ended IS NULL ORDER BY id")
        return {key: (call, reserved) for key, call, reserved in found if key in wanted}

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _to_json(reply: Message | RowError) -> str:
    if isinstance(reply, RowError):
        return json.dumps({"reason": reply.reason, "detail": reply.detail})
    return json.dumps(asdict(reply))
