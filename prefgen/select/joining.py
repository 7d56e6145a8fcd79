"""Several rejected answers for one chosen: the union of sets, for losses that average over them.

A row has one rejected answer, in every trainer's format. So the rows of one prompt and one chosen answer stand next to
each other in the output, one per input, as ``POVID ∪ BDHS`` (equation 5 of arXiv 2407.02477: the average of their DPO
losses is what a trainer minimises that sees each of them equally often).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from prefgen.select.keys import COLUMNS, key
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection
from prefgen.stored import Stored

UNMATCHED = "UNMATCHED"
DUPLICATE = "DUPLICATE"


def join(inputs: Sequence[Stored], exclude: Excluded = NOTHING) -> Selection:
    """For each prompt with the same chosen answer in every input, one row of each, in the order of the first input.

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
    return Selection(tuple(inputs), np.array(which, np.int64), np.array(rows, np.int64), +left_out)


def _by_answer(stored: Stored, exclude: Excluded, left_out: Counter[str]) -> dict[bytes, tuple[int, bytes]]:
    """Number of the first row with each prompt and chosen answer, and the digest of the whole pair."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for number, row in exclude.kept(stored, COLUMNS, left_out):
        digest = key(row, "answer")
        if digest in found:
            left_out[DUPLICATE] += 1
        else:
            found[digest] = (number, key(row, "pair"))
    return found
