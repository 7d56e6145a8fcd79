"""The planned rows of a run, shard by shard."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from prefgen.errors import CorruptRun
from prefgen.rundir.layout import Plan

T = TypeVar("T")


READ_BYTES = 128 * 2**20  # of rows that are kept: some 2 million conversations


class ReadRows(Generic[T]):
    """The planned rows of a run's first shards, kept from the survey within a bound on memory.

    To unpickle a row takes a fraction of the time of reading it again.

    Args:
        shard_size: rows of a shard.
        max_bytes: of all rows, pickled and compressed.
    """

    def __init__(self, shard_size: int, max_bytes: int = READ_BYTES) -> None:
        self._shard_size, self._left = shard_size, max_bytes
        self._shards: list[bytes] = []
        self._open: list[T] | None = []

    def add(self, row: T) -> None:
        """Keep the next row, if there is room."""
        if self._open is not None:
            self._open.append(row)
            if len(self._open) == self._shard_size:
                self._keep(self._open)

    def close(self) -> None:
        """Keep the rows of a last, smaller shard; there are no more."""
        if self._open:
            self._keep(self._open)
        self.stop()

    def stop(self) -> None:
        """Keep no further rows, nor those of a shard that has begun."""
        self._open = None

    def take(self, shard: int) -> list[T] | None:
        """The rows of a shard, which are not kept any longer; None if they are not."""
        if shard >= len(self._shards) or not (packed := self._shards[shard]):
            return None
        self._shards[shard] = b""
        rows: list[T] = pickle.loads(zlib.decompress(packed))
        return rows

    def _keep(self, rows: list[T]) -> None:
        packed = zlib.compress(pickle.dumps(rows, pickle.HIGHEST_PROTOCOL), level=1)
        self._left -= len(packed)
        if self._left < 0:
            self.stop()
        else:
            self._shards.append(packed)
            self._open = []


class Rows(Generic[T]):
    """The planned rows by shard: read forward from the last shard, and again for an earlier one.

    Args:
        read: all planned rows from the first of a shard or, where that is not possible, from an earlier one; and the
            number of the first.
        surveyed: rows that need not be read.
    """

    def __init__(
        self, plan: Plan, read: Callable[[int], tuple[int, Iterable[T]]], surveyed: ReadRows[T] | None = None
    ) -> None:
        self._plan, self._read, self._surveyed = plan, read, surveyed
        self._rows: Iterator[T] = iter(())
        self._position: int | None = None

    def of(self, shard: int) -> list[T]:
        """The rows of a shard.

        Raises:
            CorruptRun: if there are fewer rows than planned.
        """
        if self._surveyed is not None and (kept := self._surveyed.take(shard)) is not None:
            return kept
        wanted = self._plan.shards[shard]
        if self._position is None or wanted.start < self._position:
            self._position, rows = self._read(shard)
            self._rows = iter(rows)
        next(islice(self._rows, wanted.start - self._position, wanted.start - self._position), None)
        found = list(islice(self._rows, len(wanted)))
        self._position = wanted.stop
        if len(found) < len(wanted):
            raise CorruptRun(
                f"the input ends after row {wanted.start + len(found)}, but {self._plan.rows} rows were planned; "
                "was it changed during the run?"
            )
        return found
