"""Locks of the processes that write a run: one for the whole run, or one for each of its parts.

Each writer holds a lock file of its own, which the operating system releases if the process dies, and describes itself
in a JSON file beside it. Writers register and leave under the run's lock, so what one reads about another stays true
while it acts.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock

from prefgen.errors import Locked, UsageError
from prefgen.rundir.layout import Layout

_PATIENCE_S = 10.0  # with a process that holds the run's lock, which takes moments unless it makes the data set


@dataclass(frozen=True)
class Part:
    """Every `count`-th shard of a run, from shard `index` on. The whole run is part 0 of 1.

    Raises:
        UsageError: if there is no such part.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"--shard {self} is no part of a run: parts are counted from 0, so 0/4 … 3/4")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @staticmethod
    def parse(text: str) -> Part:
        """Inverse of `str`.

        Raises:
            UsageError: if it is none.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise UsageError(f"--shard {text!r} is no part of a run: give i/n, such as 0/4")
        return Part(int(index), int(count))

    @property
    def whole(self) -> bool:
        """True if this is all of the run."""
        return self.count == 1

    def holds(self, shard: int) -> bool:
        """True if a shard belongs to it."""
        return shard % self.count == self.index


WHOLE = Part(0, 1)
"""All shards."""


class Writer:
    """The writer of a part, until `leave` or the end of its process. Created and left under the run's lock.

    Attributes:
        alone: whether nobody else wrote here when it came.

    Raises:
        Locked: if another process writes the same part, or divides the run otherwise.
    """

    def __init__(self, at: Layout, part: Part) -> None:
        self._at, self._part = at, part
        self._lock = _lock(_lock_of(at, part))
        others = list(_present(at))
        for other in others:
            if other.count != part.count or other == part:
                raise Locked(
                    f"{at.out} is being written by {_owner(at, other)}: wait for it, give another output directory, or "
                    "have each process fill its own part of as many (--shard i/n)"
                )
        self.alone = not others
        self._lock.acquire(blocking=False)
        _owner_of(at, part).write_text(json.dumps(_this_process()), encoding="utf-8")

    def leave(self) -> None:
        """Stop writing and release the lock."""
        _forget(self._at, self._part, self._lock)


def refuse_foreign(at: Layout) -> None:
    """Refuse to write into a folder with other content.

    Raises:
        UsageError: if it is.
    """
    if at.out.exists() and not at.out.is_dir():
        raise UsageError(f"output {at.out} is a file: give a directory")
    # In this order: another writer may be beginning the run, and the first thing that it makes is the state folder.
    if at.out.is_dir() and any(at.out.iterdir()) and not at.state.is_dir():
        raise UsageError(f"output {at.out} is not empty and holds no prefgen run: give an empty or a new directory")


@contextmanager
def patiently(gate: filelock.BaseFileLock, at: Layout) -> Iterator[None]:
    """Hold the run's lock.

    Raises:
        Locked: if somebody has it for longer than moments.
    """
    try:
        gate.acquire(timeout=_PATIENCE_S)
    except filelock.Timeout:
        writers = ", ".join(_owner(at, part) for part in _parts(at)) or "another process"
        raise Locked(f"{at.out} is being finished by {writers}: wait for it") from None
    try:
        yield
    finally:
        gate.release()


def gate(at: Layout) -> filelock.BaseFileLock:
    """The run's lock: held while a writer starts or ends, a shard is committed, or the data set is made."""
    return _lock(at.lock)


def _present(at: Layout) -> Iterator[Part]:
    """The parts that are being written; files of dead writers are removed."""
    for part in _parts(at):
        lock = _lock(_lock_of(at, part))
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            yield part
            continue
        _forget(at, part, lock)


def _forget(at: Layout, part: Part, lock: filelock.BaseFileLock) -> None:
    """Remove a writer's files. Its lock needs no wait: the run's lock is held."""
    lock.release()
    _owner_of(at, part).unlink(missing_ok=True)
    _lock_of(at, part).unlink(missing_ok=True)


def _parts(at: Layout) -> list[Part]:
    """Parts that have or had a writer."""
    return [Part.parse(path.stem.replace("-of-", "/")) for path in sorted(at.writers.glob("*.lock"))]


def _lock(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(path, thread_local=False)


def _lock_of(at: Layout, part: Part) -> Path:
    return at.writers / f"{part.index}-of-{part.count}.lock"


def _owner_of(at: Layout, part: Part) -> Path:
    return _lock_of(at, part).with_suffix(".json")


def _owner(at: Layout, part: Part) -> str:
    share = "" if part.whole else f" (part {part})"
    try:
        owner = json.loads(_owner_of(at, part).read_bytes())
    except (FileNotFoundError, ValueError):  # it is just coming or going
        return f"another process{share}"
    return f"process {owner['pid']} on {owner['host']}, started {owner['started']}{share}"


def _this_process() -> dict[str, object]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
