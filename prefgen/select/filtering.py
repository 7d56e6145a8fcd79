"""Rows that meet a condition."""

from __future__ import annotations

from collections import Counter

from prefgen.rundir.reader import Stored
from prefgen.select.expressions import Condition
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection, of_one

CONDITION = "CONDITION"


def keep(stored: Stored, condition: Condition, exclude: Excluded = NOTHING) -> Selection:
    """The rows of `stored` that meet `condition`, in order."""
    left_out: Counter[str] = Counter()
    rows: list[int] = []
    columns = condition.columns or ("id",)  # a condition without a column still meets every row
    for number, row in exclude.kept(stored, columns, left_out):
        if condition(row):
            rows.append(number)
        else:
            left_out[CONDITION] += 1
    return of_one(stored, rows, left_out)
