"""The ledger: an SQLite file of requests, reservations and replies.

A request is recorded before it is sent, a reply before it is used.

SQLite, one writer (the run's lock sees to that), synced at every commit; callers gather what is to be written and
commit it together. A call without an end is one that a crash cut off: nobody knows whether it was charged, so it counts
in full, and its request is sent again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from prefgen.errors import CorruptRun, EnvironmentFault, Locked, RowError
from prefgen.requests import Message

_VERSION = 1
_ROWS_MOST = 300  # of three values each: older versions of SQLite take 999 parameters
_TABLES = f"""
CREATE TABLE calls (id INTEGER PRIMARY KEY, key TEXT NOT NULL, reserved REAL NOT NULL, cost REAL, ended TEXT);
CREATE TABLE replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (file TEXT PRIMARY KEY, tag TEXT NOT NULL, batch TEXT, done INTEGER NOT NULL DEFAULT 0);
PRAGMA user_version = {_VERSION};
"""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NOT_WRITTEN = (
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    sqlite3.SQLITE_PERM,
)
End = Literal["answered", "failed", "doubtful"]


@dataclass(frozen=True)
class Sent:
    """Record of a call before it is made. `reserved`: upper bound of its cost in dollars."""

    call: int
    key: str
    reserved: float


@dataclass(frozen=True)
class Ended:
    """Record of how a call ended. `cost`: dollars; `reply`: what is stored for its request, if anything."""

    call: int
    key: str
    cost: float
    end: End
    reply: Message | RowError | None = None


@dataclass(frozen=True)
class Bill:
    """Cost and counts of all invocations of a run.

    Attributes:
        calls: attempts.
        answered: of them, those with a reply.
        doubtful: of unknown end, counted in full.
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
        CorruptRun: if the file is none, or damaged; so does every method.
        Locked: if another process has it.
        EnvironmentFault: if the disk is full or not writable; so does every method.
    """

    def __init__(self, path: Path | Literal[":memory:"]) -> None:
        self.path = path
        with self._faults():
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # Exclusive: so write-ahead logging needs no shared memory, which network file systems lack.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            ((version,),) = self._do("PRAGMA user_version")
            if version == 0:
                self._database.executescript(f"BEGIN; {_TABLES} COMMIT;")
            elif version != _VERSION:
                raise CorruptRun(f"{path} was written by another version of prefgen")
            self._do("CREATE TABLE IF NOT EXISTS found (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            ((last,),) = self._do("SELECT coalesce(max(id), 0) FROM calls")
            self._last_call = int(last)
            self._answered = {key for (key,) in self._do("SELECT key FROM replies")}

    def reply(self, key: str) -> Message | RowError | None:
        """The stored reply to a request, or the reason why there is none."""
        if key not in self._answered:
            return None
        ((stored,),) = self._do("SELECT reply FROM replies WHERE key = ?", key)
        try:
            values = json.loads(stored)
        except (ValueError, TypeError) as error:
            raise self._corrupt(error) from error
        if "reason" in values:
            return RowError(values["reason"], values["detail"])
        return Message(**{**values, "how": tuple(values.get("how", ()))})

    def found(self, name: str) -> str | None:
        """A fact about the judge that was stored in an earlier call or invocation."""
        kept = self._do("SELECT value FROM found WHERE name = ?", name)
        return kept[0][0] if kept else None

    def keep(self, name: str, value: str) -> None:
        """Store a fact about the judge."""
        self._do("INSERT OR REPLACE INTO found VALUES (?, ?)", name, value)

    def next_call(self) -> int:
        """The number of a new call."""
        self._last_call += 1
        return self._last_call

    def write(self, records: Iterable[Sent | Ended]) -> None:
        """Store records durably, all or none.

        A few statements for all of them: after each, a thread may wait for another one for as long as a request takes.
        """
        records = list(records)
        sent = [(one.call, one.key, one.reserved) for one in records if isinstance(one, Sent)]
        ended = [one for one in records if isinstance(one, Ended)]
        replies = [(one.key, _to_json(one.reply)) for one in ended if one.reply is not None]
        self._do("BEGIN")
        self._do_for("INSERT INTO calls (id, key, reserved) VALUES {}", sent)
        self._do_for(
            "WITH ends (call, cost, how) AS (VALUES {}) UPDATE calls SET "
            "cost = (SELECT cost FROM ends WHERE call = id), ended = (SELECT how FROM ends WHERE call = id) "
            "WHERE id IN (SELECT call FROM ends)",
            [(one.call, one.cost, one.end) for one in ended],
        )
        self._do_for("INSERT OR IGNORE INTO replies VALUES {}", replies)
        self._do("COMMIT")
        self._answered.update(key for key, _ in replies)

    def _do_for(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Execute a statement on rows, which stand for its braces, as many at once as SQLite has parameters for."""
        for start in range(0, len(rows), _ROWS_MOST):
            some = rows[start : start + _ROWS_MOST]
            places = ", ".join(["(" + ", ".join("?" * len(some[0])) + ")"] * len(some))
            self._do(statement.format(places), *(value for row in some for value in row))

    def spent(self) -> float:
        """Dollars of all calls so far; calls without a known end count with their full reservation."""
        ((dollars,),) = self._do("SELECT total(coalesce(cost, reserved)) FROM calls")
        return float(dollars)

    def bill(self) -> Bill:
        """Cost and counts of all calls."""
        (count,) = self._do(
            "SELECT count(*), total(ended = 'answered'), total(ended IS NULL OR ended = 'doubtful') FROM calls"
        )
        (tokens,) = self._do(
            "SELECT total(json_extract(reply, '$.prompt_tokens')), total(json_extract(reply, '$.tokens')) FROM replies"
        )
        calls, answered, doubtful, read, generated = map(int, (*count, *tokens))
        return Bill(calls, answered, doubtful, read, generated, self.spent())

    def batches(self) -> Iterator[tuple[str, str, str | None]]:
        """Batches that are not finished: (name of the request file, tag, id or None where none is known)."""
        yield from self._do("SELECT file, tag, batch FROM batches WHERE NOT done ORDER BY file")

    def put_batch(self, file: str, tag: str, batch: str | None = None, *, done: bool = False) -> None:
        """Store the state of a batch."""
        self._do("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", file, tag, batch, done)

    def open_calls(self, keys: Iterable[str]) -> dict[str, tuple[int, float]]:
        """The latest unfinished call of each of these requests: (number, reservation)."""
        wanted = set(keys)
        found = self._do("SELECT key, id, reserved FROM calls WHERE ended IS NULL ORDER BY id")
        return {key: (call, reserved) for key, call, reserved in found if key in wanted}

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _do(self, statement: str, *values: object) -> list[Any]:
        """Execute a statement and return its rows."""
        with self._faults():
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Convert SQLite errors to errors that name the file and what to do."""
        try:
            yield
        except sqlite3.ProgrammingError:  # a bug
            raise
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorcode & 0xFF  # without what SQLite adds to it
            if code in _BUSY:
                raise Locked(f"{self.path} is being written by another process: wait for it") from error
            if code in _NOT_WRITTEN:
                raise EnvironmentFault(
                    f"cannot write to {self.path}: {error}. What is in it is safe; make room or give access, and "
                    "repeat the command to go on"
                ) from error
            raise self._corrupt(error) from error

    def _corrupt(self, error: Exception) -> CorruptRun:
        return CorruptRun(f"{self.path} cannot be read ({error}): restore it, or delete it and pay again")


def _to_json(reply: Message | RowError) -> str:
    if isinstance(reply, RowError):
        return json.dumps({"reason": reply.reason, "detail": reply.detail})
    return json.dumps(asdict(reply))
