"""The planned rows of a run, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from prefgen.errors import CorruptRun
from prefgen.rundir.layout import Plan

T = TypeVar("T")


class Rows(Generic[T]):
    """The planned rows by shard: read forward from the last shard, and again for an earlier one.

    Args:
        read: all planned rows from the first of a shard or, where that is not possible, from an earlier one; and the
            number of the first.
    """

    def __init__(self, plan: Plan, read: Callable[[int], tuple[int, Iterable[T]]]) -> None:
        self._plan, self._read = plan, read
        self._rows: Iterator[T] = iter(())
        self._position: int | None = None

    def of(self, shard: int) -> list[T]:
        """The rows of a shard.

        Raises:
            CorruptRun: if there are fewer rows than planned.
        """
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
