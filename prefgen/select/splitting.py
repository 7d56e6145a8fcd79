"""Splits without a common picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from prefgen.errors import UsageError
from prefgen.rundir.reader import Stored
from prefgen.seeds import derive
from prefgen.select.keys import digests
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection, of_one

OTHER_SPLIT = "OTHER_SPLIT"


def parse_share(text: str) -> tuple[str, float]:
    """Parse ``NAME:0.9``: a split and its share of the rows.

    Raises:
        UsageError: it is something else.
    """
    name, _, number = text.rpartition(":")
    if not name.replace("-", "").replace("_", "").isalnum() or not number.replace(".", "", 1).isdigit():
        raise UsageError(f"{text!r} is no split: give a name and a share, such as train:0.9")
    return name, float(number)


def split(stored: Stored, shares: Mapping[str, float], seed: int, exclude: Excluded = NOTHING) -> dict[str, Selection]:
    """Assign every row to one split, so that no picture is in two.

    Rows that share a picture, directly or through other rows with several pictures, stay together. Such a group's draw
    depends on the seed and its pictures alone, so the shares are met on average and not to the row.

    Raises:
        UsageError: the shares are not positive, or do not add up to 1.
    """
    if not all(share > 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError(f"the shares of {', '.join(shares)} are {list(shares.values())}: they should add up to 1")
    left_out: Counter[str] = Counter()
    numbers: list[int] = []

    def kept() -> Iterable[Mapping[str, Any]]:
        for number, row in exclude.kept(stored, ("id", "meta"), left_out):
            numbers.append(number)
            yield row

    drawn = draws(kept(), seed, "split")
    rows: dict[str, list[int]] = {name: [] for name in shares}
    bounds = list(zip(shares, accumulate(shares.values()), strict=True))
    for number, draw in zip(numbers, drawn, strict=True):
        rows[next((name for name, bound in bounds if draw < bound), bounds[-1][0])].append(number)
    return {
        name: of_one(stored, chosen, +(left_out + Counter({OTHER_SPLIT: len(numbers) - len(chosen)})))
        for name, chosen in rows.items()
    }


def draws(rows: Iterable[Mapping[str, Any]], seed: int, purpose: str) -> list[float]:
    """A number in [0, 1) for each row, equal for rows that share a picture, directly or through others.

    Args:
        rows: with `id` and `meta`.
        purpose: draws for another purpose are independent of these.
    """
    groups = _Groups()
    first: list[int] = []
    for row in rows:
        pictures = [int(digest[:16], 16) for digest in digests(row)] or [int(row["id"], 16)]
        for other in pictures[1:]:
            groups.unite(pictures[0], other)
        first.append(pictures[0])
    return [derive(seed, f"{groups.smallest(picture):016x}", 0, purpose) / 2**64 for picture in first]


class _Groups:
    """Disjoint sets of numbers, each identified by its smallest member."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def smallest(self, member: int) -> int:
        path = []
        while (above := self._above.get(member, member)) != member:
            path.append(member)
            member = above
        for passed in path:
            self._above[passed] = member
        return member

    def unite(self, first: int, second: int) -> None:
        low, high = sorted((self.smallest(first), self.smallest(second)))
        if low != high:
            self._above[high] = low
