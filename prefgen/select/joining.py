"""Joining of runs: several rejected answers for one chosen, for losses that average over them.

A row has one rejected answer, in every trainer's format, and a column that holds several would be read by none. So the
rows of one prompt and one chosen answer, one per input, are placed next to each other, as ``POVID ∪ BDHS``. Equation 5
of arXiv 2407.02477 averages the losses of the two pairs, γ L(y+, y-) + (1-γ) L(y+, ỹ-) with γ = 1/2: that is the mean
over these rows, which each trainer computes, in any order. A trainer that weights or batches them differently finds
them by ``meta["joined"]``: ``group`` is the same for the rows of a group and for no others, ``size`` is their number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from prefgen.rundir.reader import Stored
from prefgen.select.keys import COLUMNS, key
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection

UNMATCHED = "UNMATCHED"
DUPLICATE = "DUPLICATE"


def join(inputs: Sequence[Stored], exclude: Excluded = NOTHING) -> Selection:
    """One row of each input for each prompt and chosen answer that all have, in the order of the first.

    Rows that another input has no counterpart to are left out, and so are an input's second row of the same kind, and
    groups in which two rejected answers are equal.
    """
    left_out: Counter[str] = Counter()
    found = [_by_answer(stored, exclude, left_out) for stored in inputs]
    shared = [digest for digest in found[0] if all(digest in others for others in found[1:])]
    left_out[UNMATCHED] += sum(map(len, found)) - len(shared) * len(inputs)
    which: list[int] = []
    rows: list[int] = []
    for digest in shared:
        members = [others[digest] for others in found]
        if len({rejected for _, rejected in members}) < len(members):
            left_out[DUPLICATE] += len(members)
            continue
        which += range(len(members))
        rows += [number for number, _ in members]
    numbers = (np.array(which, np.int64), np.array(rows, np.int64))
    return Selection(tuple(inputs), *numbers, +left_out, change=partial(_marked, size=len(inputs)))


def _marked(table: pa.Table, size: int) -> pa.Table:
    """The rows with their group in `meta`."""
    described = []
    for row in table.select(COLUMNS).to_pylist():
        joined = {"group": key(row, "answer").hex(), "size": size}
        described.append(json.dumps({**json.loads(row["meta"]), "joined": joined}, sort_keys=True))
    at = table.schema.get_field_index("meta")
    return table.set_column(at, table.schema.field(at), pa.array(described, pa.string()))


def _by_answer(stored: Stored, exclude: Excluded, left_out: Counter[str]) -> dict[bytes, tuple[int, bytes]]:
    """Index of the first row with each prompt and chosen answer, and the digest of the whole pair."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for number, row in exclude.kept(stored, COLUMNS, left_out):
        digest = key(row, "answer")
        if digest in found:
            left_out[DUPLICATE] += 1
        else:
            found[digest] = (number, key(row, "pair"))
    return found
