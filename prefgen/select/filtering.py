"""Filtering of rows by a condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from prefgen.rundir.reader import Stored
from prefgen.select.expressions import Condition
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection, of_one

CONDITION = "CONDITION"
_VALUES = 8  # of a column that are named
_CHARS = 40


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


def values(stored: Stored, columns: Sequence[str]) -> str:
    """The values in these columns, one line each: the range of numbers, the most frequent texts."""
    found: dict[str, Counter[Hashable]] = {name: Counter() for name in columns if name not in _LONG}
    for row in stored.scan(list(found)):
        for name, counts in found.items():
            value = row[name]
            counts.update(value if isinstance(value, list) else [value])
    return "\n".join(f"  {name}: {_described(counts)}" for name, counts in found.items())


_LONG = ("meta", "chosen_response", "rejected_response", "instruction")


def _described(counts: Counter[Hashable]) -> str:
    numbers = [value for value in counts if isinstance(value, (int, float))]
    missing = f", {counts[None]:,} without" if counts[None] else ""
    if numbers:
        return f"{min(numbers):g} to {max(numbers):g}{missing}"
    texts = [(str(value)[:_CHARS], count) for value, count in counts.most_common(_VALUES) if value is not None]
    more = f" and {len(counts) - _VALUES:,} more" if len(counts) > _VALUES else ""
    return (", ".join(f"{text!r} {count:,}" for text, count in texts) or "nothing") + more + missing
