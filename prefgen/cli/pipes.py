"""Output into a pipe whose reader has gone, as in ``prefgen import --list | head -2``: the rest is not written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class _Pipe:
    """A text stream that writes to nowhere once nobody reads it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or nothing if the reader has gone."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        """Flush what is buffered; it is lost if the reader has gone."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._silence()

    def _silence(self) -> None:
        # what is still buffered would fail again, at the latest when the interpreter ends
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unread() -> Iterator[None]:
    """Let a command go on to its end, and to its own exit code, whether or not its output is read."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Pipe(sys.stdout), _Pipe(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = streams
