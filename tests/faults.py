"""Kills and full disks at a chosen step of what a process does to files, in a forked child.

A step is a file opened for writing, a write, a sync, a rename, a deletion or a new folder, below a given folder. Python
reports most of them to audit hooks, so that no code can get past them; `os.write` and `os.fsync` are wrapped. A
statement of SQLite is a step, too, where the database is below the folder.
"""

from __future__ import annotations

import errno
import gc
import os
import pickle
import sqlite3
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Fault = Literal["none", "kill", "full"]

Saver = tuple[Any, str, int]
"""Module and name of a function, and the place of the path among its arguments."""

KILLED = 137
_PATHS = {"os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1}
_FREES = ("os.rmdir", "os.remove", "os.rename", "fsync")  # what a full disk allows
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        killed: whether it died of the fault. value: what the function returned. error: traceback of what it raised.
        steps: taken before it ended.
    """

    killed: bool
    value: Any = None
    error: str = ""
    steps: int = 0


class _Steps:
    """Counts steps, and at one of them does harm."""

    def __init__(self, folder: Path, fault: Fault, at: int) -> None:
        self._folder, self._fault, self._at = os.path.realpath(folder), fault, at
        self.count = 0

    def install(self, savers: Sequence[Saver]) -> None:
        """Watch this process from here on."""
        write, fsync = os.write, os.fsync

        def own_write(descriptor: int, content: Any) -> int:
            if self._is_ours(_opened(descriptor)):
                self.step("write", lambda: write(descriptor, memoryview(content)[: len(content) // 2]))
            return write(descriptor, content)

        def own_fsync(fd: Any) -> None:
            if self._is_ours(_opened(fd)):
                self.step("fsync")
            fsync(fd)

        os.write, os.fsync = own_write, own_fsync
        sqlite3.connect = self._connecting(sqlite3.connect)
        for module, name, place in savers:
            setattr(module, name, self._saving(getattr(module, name), place))
        sys.addaudithook(self._audit)

    def _connecting(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        """A function that opens a database whose statements are steps."""
        steps = self

        class Connection(sqlite3.Connection):
            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                steps.statement(statement)
                return super().execute(statement, *values)

            def executescript(self, script: str) -> sqlite3.Cursor:
                steps.statement(script)
                return super().executescript(script)

        def connecting(path: Any, **settings: Any) -> Any:
            return connect(path, **settings, **({"factory": Connection} if self._is_ours(str(path)) else {}))

        return connecting

    def statement(self, statement: str) -> None:
        """A statement of SQLite is about to be executed."""
        if statement.startswith("SELECT"):
            return
        try:
            self.step("write")
        except OSError as error:
            raised = sqlite3.OperationalError("database or disk is full")
            raised.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise raised from error

    def _saving(self, save: Callable[..., Any], place: int) -> Callable[..., Any]:
        """A function that writes a file in C, torn by a kill."""

        def saving(*args: Any, **settings: Any) -> Any:
            found = save(*args, **settings)
            path = os.fspath(args[place])
            self.step("write", lambda: os.truncate(path, os.path.getsize(path) // 2))
            return found

        return saving

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if not isinstance(path, int) and flags & _WRITES and self._is_ours(os.fsdecode(path)):
                self.step(event)
        elif event in _PATHS:
            folder = _opened(args[-1]) if event in ("os.remove", "os.rmdir", "os.mkdir") and args[-1] > 2 else ""
            paths = [os.path.join(folder, os.fsdecode(path)) for path in args[: _PATHS[event]] if path is not None]
            if any(map(self._is_ours, paths)):
                self.step(event)

    def step(self, event: str, tear: Callable[[], Any] = lambda: None) -> None:
        """One more step is about to be taken."""
        self.count += 1
        if self._fault == "kill" and self.count == self._at:
            self._fault = "none"  # what is torn is no step
            tear()
            os._exit(KILLED)
        if self._fault == "full" and self.count >= self._at and event not in _FREES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_ours(self, path: str) -> bool:
        return os.path.abspath(path).startswith(self._folder)


def _opened(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def run(
    act: Callable[[], Any],
    folder: Path,
    fault: Fault = "none",
    at: int = 0,
    savers: Sequence[Saver] = (),
) -> Ended:
    """Call a function in a child process.

    Args:
        act: returns what can be pickled. folder: below which steps count. at: the step that goes wrong, from 1.
        savers: functions that write a file without Python.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which idle
        child = os.fork()
    if not child:
        os.close(reader)
        _live(act, _Steps(folder, fault, at), savers, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if not told:
        code = os.waitstatus_to_exitcode(status)
        assert code == KILLED, f"the child ended with {code}"
        return Ended(killed=True)
    value, error, steps = pickle.loads(told)
    return Ended(False, value, error, steps)


def _live(act: Callable[[], Any], steps: _Steps, savers: Sequence[Saver], writer: int) -> None:
    """The child's life; it never returns."""
    gc.freeze()  # a collection would copy every page that is shared with the parent
    value, error = None, ""
    write = os.write
    try:
        steps.install(savers)
        value = act()
    except BaseException:  # noqa: BLE001  # the parent shows it
        error = traceback.format_exc()
    told = memoryview(pickle.dumps((value, error, steps.count)))
    while told:
        told = told[write(writer, told) :]
    os._exit(0)


def sample(steps: int, most: int) -> list[int]:
    """Steps from the first to the last, at most so many, evenly spread."""
    if steps <= most:
        return list(range(1, steps + 1))
    return sorted({1 + round(place * (steps - 1) / (most - 1)) for place in range(most)})
