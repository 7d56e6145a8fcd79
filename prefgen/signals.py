"""Handling of SIGINT and SIGTERM."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from types import FrameType, TracebackType

from prefgen.errors import ExitCode, Stopped

STOPPED = "stopped; the same command continues from here"
"""What a signal says that stopped a run."""


class Interrupts:
    """Signal handlers: the first SIGINT or SIGTERM stops the run at the next commit, the second at once.

    Args:
        numbers: the signals that do so.
        finishing: what is finished after the first one, shown to the user at once; empty if another process shows it.
    """

    def __init__(
        self,
        numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
        finishing: str = "the shard in hand is finished and kept",
    ) -> None:
        self._numbers, self._finishing = numbers, finishing
        self._received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number in self._numbers:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    @property
    def code(self) -> ExitCode | None:
        """The exit code of the received signal; None before one."""
        if self._received is None:
            return None
        return ExitCode.INTERRUPTED if self._received == signal.SIGINT else ExitCode.TERMINATED

    def check(self) -> None:
        """Raise `Stopped` if a signal was received.

        Raises:
            Stopped: with the exit code of the signal.
        """
        if code := self.code:
            raise Stopped(STOPPED, code)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            raise KeyboardInterrupt
        self._received = number
        if self._finishing:
            # Not through a console, which this handler may have interrupted.
            os.write(2, f"\nstopping: {self._finishing} first; Ctrl-C again stops now\n".encode())
