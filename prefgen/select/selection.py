"""The result of a selection: rows and their order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from prefgen.rundir.reader import Stored

Numbers = npt.NDArray[np.int64]
Change = Callable[[pa.Table], pa.Table]
Merge = Callable[[pa.Table, pa.Table], pa.Table]


@dataclass(frozen=True)
class Selection:
    """Rows of one or several inputs, in output order.

    Attributes:
        inputs: where they are from.
        which: (rows,) number of each row's input.
        rows: (rows,) its number there.
        left_out: how many rows of the inputs are not among them, by reason.
        partners: (rows,) for each row one of the last input, to be merged with it; None where rows pass through.
        merge: makes the output rows of the rows and of their partners.
        change: makes the output rows of the rows alone, where there are no partners.
    """

    inputs: tuple[Stored, ...]
    which: Numbers
    rows: Numbers
    left_out: Mapping[str, int] = field(default_factory=dict)
    partners: Numbers | None = None
    merge: Merge | None = None
    change: Change | None = None

    def __len__(self) -> int:
        return len(self.rows)


def of_one(stored: Stored, rows: Sequence[int], left_out: Mapping[str, int]) -> Selection:
    """Rows of a single input."""
    return Selection((stored,), np.zeros(len(rows), np.int64), np.array(rows, np.int64), left_out)


def renamed(row_id: str, rejected: str) -> str:
    """A new id for a row whose id is used by a row with another rejected answer: 16 hexadecimal digits."""
    return hashlib.blake2b(f"{row_id}\x1f{rejected}".encode(), digest_size=8).hexdigest()
