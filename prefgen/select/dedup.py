"""Removal of duplicates."""

from __future__ import annotations

from collections import Counter

from prefgen.rundir.reader import Stored
from prefgen.select.keys import COLUMNS, By, key
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection, of_one


def dedup(stored: Stored, by: By = "pair", exclude: Excluded = NOTHING) -> Selection:
    """The first row of each set of duplicates; texts are compared exactly, pictures by the digest of their bytes."""
    left_out: Counter[str] = Counter()
    seen: set[bytes] = set()
    rows: list[int] = []
    for number, row in exclude.kept(stored, COLUMNS, left_out):
        digest = key(row, by)
        if digest in seen:
            left_out["DUPLICATE"] += 1
        else:
            seen.add(digest)
            rows.append(number)
    return of_one(stored, rows, left_out)
