"""Reporters of messages and progress: in a terminal, in a notebook, or silent."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

import rich.progress

from prefgen.console import Console, LiveBar
from prefgen.records import Dropped, Outcome
from prefgen.runner.launch import Made

_PLAIN_EVERY_S = 15.0
_NOTEBOOK_EVERY_S = 0.5
_NOTEBOOK_CHARS = 120  # of the line, so that a longer one before it is covered


class Progress(LiveBar):
    """Counts outcomes and shows them. A context manager."""

    def __init__(self, total: int, done: int, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console)
        self._total, self._done_before, self._clock = total, done, clock
        self._pairs = self._tokens = 0
        self._drops: Counter[str] = Counter()
        self._iterations: Counter[int] = Counter()
        self._started = self._spoke_at = clock()
        self._task = self._bar.add_task("", total=total, completed=done)
        self._workers: dict[int, rich.progress.TaskID] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if not self._console.is_terminal and kind is None and self._done_before < self._total:
            self._say()

    def begin(self, shard: int) -> None:
        """Do nothing: shards are not shown."""

    def committed(self, shard: int) -> None:
        """Do nothing: commits are not shown."""

    def work(self, worker: int, shard: int, done: int, total: int) -> None:
        """Show the progress of one of several workers, on its own line.

        Args:
            done: rows of its shard that it has done, of `total`.
        """
        if worker not in self._workers:
            self._workers[worker] = self._bar.add_task("")
        about = f"worker {worker}, shard {shard}"
        self._bar.update(self._workers[worker], completed=done, total=total, description=about)

    def advance(self, outcome: Outcome | Made) -> None:
        """Count one outcome."""
        self._tokens += outcome.tokens
        if isinstance(outcome, Dropped):
            self._drops[outcome.reason] += 1
        else:
            self._pairs += 1
            if outcome.iteration:  # imported pairs went through none
                self._iterations[outcome.iteration] += 1
        self._show()

    def _show(self) -> None:
        if self._console.is_terminal:
            self._bar.update(self._task, advance=1, description=self.describe())
        elif self._clock() - self._spoke_at >= _PLAIN_EVERY_S:
            self._say()

    def describe(self) -> str:
        """Text with speed, drops and the iterations in which pairs were accepted."""
        seconds = max(self._clock() - self._started, 1e-9)
        parts = [f"{self._pairs / seconds:.1f} pairs/s"]
        if self._tokens:
            parts.append(f"{self._tokens / seconds:,.0f} tokens/s")
        if self._iterations:
            shares = " ".join(f"{i}:{count}" for i, count in sorted(self._iterations.items()))
            parts.append(f"iterations {shares}")
        if self._drops:
            parts.append(f"dropped {sum(self._drops.values())}")
        return " · ".join(parts)

    def _say(self) -> None:
        self._console.print(self.line(), highlight=False, soft_wrap=True)

    def line(self) -> str:
        """Text with rows done, speed and remaining time."""
        self._spoke_at = self._clock()
        done = self._done_before + self._pairs + sum(self._drops.values())
        seconds = max(self._clock() - self._started, 1e-9)
        rate = (done - self._done_before) / seconds
        left_s = (self._total - done) / rate if rate else float("inf")
        eta = "done" if done == self._total else f"{left_s:.0f} s left"
        return f"{done}/{self._total} rows · {self.describe()} · {eta}"


class NotebookProgress(Progress):
    """A progress line in a notebook's output, updated in place."""

    def __enter__(self) -> NotebookProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()
        sys.stdout.write("\n")

    def _show(self) -> None:
        if self._clock() - self._spoke_at >= _NOTEBOOK_EVERY_S:
            self._write()

    def _write(self) -> None:
        sys.stdout.write(f"\r{self.line():{_NOTEBOOK_CHARS}}")
        sys.stdout.flush()


class Reporter(Protocol):
    """Receives a run's messages and shows its progress."""

    @property
    def console(self) -> Console:
        """The console for messages."""

    def progress(self, total: int, done: int) -> Progress:
        """The progress display of a run of so many rows, some of which are done."""


class Terminal:
    """Messages and a progress bar on stderr; plain lines if that is no terminal.

    Args:
        quiet: say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)

    def progress(self, total: int, done: int) -> Progress:
        """A progress bar."""
        return Progress(total, done, self.console)


class Notebook:
    """Messages in a cell's output, and a progress line that is updated in place."""

    def __init__(self) -> None:
        self.console = Console()

    def progress(self, total: int, done: int) -> Progress:
        """A progress line."""
        return NotebookProgress(total, done, self.console)


class Silent(Terminal):
    """Prints nothing."""

    def __init__(self) -> None:
        super().__init__(quiet=True)


def default() -> Reporter:
    """The reporter for this environment: a notebook or a terminal."""
    return Notebook() if "ipykernel" in sys.modules else Terminal()
