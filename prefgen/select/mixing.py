"""Mixtures and random subsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest

import numpy as np

from prefgen.errors import UsageError
from prefgen.rundir.reader import Stored
from prefgen.seeds import derive
from prefgen.select.keys import rejected
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Numbers, Selection, renamed

NOT_DRAWN = "NOT_DRAWN"
DUPLICATE = "DUPLICATE"


@dataclass(frozen=True)
class Amount:
    """The amount of an input: a number of rows, or a share of them in (0, 1]."""

    rows: int | None = None
    share: float = 1.0

    def of(self, available: int, name: str) -> int:
        """The number of rows, of so many.

        Raises:
            UsageError: there are not as many.
        """
        wanted = round(self.share * available) if self.rows is None else self.rows
        if wanted > available:
            raise UsageError(f"{name} has {available:,} usable rows, fewer than the {wanted:,} that are wanted")
        return wanted


def parse_amount(text: str) -> tuple[str, Amount]:
    """Parse ``OUT``, ``OUT:0.5`` and ``OUT:5000``: all, half, or 5,000 rows of the run in OUT.

    Raises:
        UsageError: the number is out of range.
    """
    path, colon, number = text.rpartition(":")
    if not colon or not path or not number.replace(".", "", 1).isdigit():
        return text, Amount()
    amount = Amount(share=float(number)) if "." in number else Amount(rows=int(number))
    if not (0 < amount.share <= 1 and (amount.rows is None or amount.rows > 0)):
        raise UsageError(f"{text}: give a share in (0, 1] with a point (0.5, 1.0), or a number of rows (5000)")
    return path, amount


def mix(
    inputs: Sequence[tuple[Stored, Amount]], seed: int, exclude: Excluded = NOTHING, purpose: str = "mix"
) -> Selection:
    """Random rows of each input, interleaved so that every part of the output has the overall proportions.

    A row's draw depends on the seed and its id alone. Within an input the order stays. Two runs over the same samples
    give rows of one id: such a row gets another id if its rejected answer differs, and is left out if not.

    Raises:
        UsageError: an input has fewer rows than wanted.
    """
    left_out: Counter[str] = Counter()
    seen: set[int] = set()
    chosen: list[list[int]] = []
    for stored, amount in inputs:
        candidates: list[tuple[int, int]] = []
        for number, row in exclude.kept(stored, ("id", "rejected_response", "meta"), left_out):
            content = int(renamed(row["id"], rejected(row)), 16)
            if content not in seen:
                seen.add(content)
                candidates.append((derive(seed, row["id"], 0, purpose), number))
            else:
                left_out[DUPLICATE] += 1
        wanted = amount.of(len(candidates), stored.name)
        drawn = candidates if wanted == len(candidates) else nsmallest(wanted, candidates)
        left_out[NOT_DRAWN] += len(candidates) - wanted
        chosen.append(sorted(number for _, number in drawn))
    which, rows = interleaved(chosen)
    return Selection(tuple(stored for stored, _ in inputs), which, rows, +left_out)


def interleaved(chosen: Sequence[Sequence[int]]) -> tuple[Numbers, Numbers]:
    """Input and index of each row, with every list spread evenly over the whole."""
    places = np.concatenate([(np.arange(len(rows)) + 0.5) / max(len(rows), 1) for rows in chosen])
    which = np.concatenate([np.full(len(rows), number, np.int64) for number, rows in enumerate(chosen)])
    rows = np.concatenate([np.asarray(rows, np.int64) for rows in chosen])
    order = np.argsort(places, kind="stable")
    return which[order], rows[order]
