"""Checks of the difference between both answers: identical, nearly identical, edit size."""

from __future__ import annotations

import difflib
import re
from array import array
from collections.abc import Iterator

import numpy as np

from prefgen.linting import thresholds
from prefgen.linting.findings import Finding, RowTally
from prefgen.linting.rows import PairRow

_LETTERS = re.compile(r"[^\w]+")
_TOKENS = re.compile(r"\w+|[^\w\s]")
_DIFFED_TOKENS = 1000  # of each answer; the time of a diff grows with the square


class Identical:
    """Pairs that are equal, equal apart from case and punctuation, or equal after a trainer's truncation."""

    def __init__(self, truncated_chars: int) -> None:
        self._chars = truncated_chars
        self._equal, self._near, self._cut = RowTally(), RowTally(), RowTally()

    def see(self, row: PairRow) -> None:
        """Compare a pair in three ways; it counts under the first that applies."""
        if row.rejected_pictures not in ((), row.pictures):
            return  # a preference between pictures: the answers are meant to be equal
        chosen, rejected = row.chosen.strip(), row.rejected.strip()
        if chosen == rejected:
            self._equal.add(row, rejected)
        elif _LETTERS.sub(" ", chosen).strip().casefold() == _LETTERS.sub(" ", rejected).strip().casefold():
            self._near.add(row, rejected)
        elif chosen[: self._chars] == rejected[: self._chars]:
            self._cut.add(row, rejected[self._chars : self._chars + 200])

    def findings(self, rows: int) -> Iterator[Finding]:
        """Three findings."""
        yield self._equal.finding(
            "identical", "error", rows, f"{self._equal.count:,} pairs are equal", "Drop them: they only add noise."
        )
        yield self._near.finding(
            "near-identical",
            thresholds.NEAR_IDENTICAL_SHARE,
            rows,
            f"{self._near.count:,} pairs differ in case, punctuation or white space only",
            "Drop them, or lower --similarity-threshold when making the data.",
        )
        yield self._cut.finding(
            "identical-when-cut",
            thresholds.TRUNCATED_SHARE,
            rows,
            f"{self._cut.count:,} pairs are equal in their first {self._chars:,} characters",
            "Raise the trainer's length limit, or drop these rows.",
        )


class Similarity:
    """Similarity of the sentence embeddings of both answers."""

    def __init__(self) -> None:
        self._similar = RowTally()
        self._values = array("f")

    def see(self, row: PairRow) -> None:
        """Record a pair's similarity."""
        if row.similarity is None:
            return
        self._values.append(row.similarity)
        if "similar" in row.flags or row.similarity >= thresholds.SIMILAR:
            self._similar.add(row, row.rejected)

    def findings(self, rows: int) -> Iterator[Finding]:
        """The distribution of similarities."""
        if not self._values:
            yield Finding("similarity", "info", 0, 0.0, "no similarity is recorded")
            return
        grave = self._similar.count >= thresholds.SIMILAR_SHARE * rows
        yield self._similar.finding(
            "similarity",
            "warning" if grave else "info",
            rows,
            f"cosine {quantiles(self._values)}; {self._similar.count:,} are flagged similar, "
            f"or at least {thresholds.SIMILAR}",
            "Make them again with --drop-similar or more --iterations; hide more of the image." if grave else "",
        )


class EditSize:
    """Share of the rejected answer that is new, by recorded spans or a word diff."""

    def __init__(self) -> None:
        self._shares = array("f")
        self._recorded = 0

    def see(self, row: PairRow) -> None:
        """Measure a pair."""
        self._recorded += bool(row.spans)
        self._shares.append(edit_share(row.chosen, row.rejected, row.spans))

    def findings(self, rows: int) -> Iterator[Finding]:
        """The distribution of edit sizes."""
        how = "recorded spans" if self._recorded == rows else f"spans of {self._recorded:,} rows, a word diff elsewhere"
        message = f"share of the rejected answer that is new {quantiles(self._shares)}, by {how}"
        yield Finding("edit-size", "info", rows, 1.0, message)


def edit_share(chosen: str, rejected: str, spans: tuple[tuple[int, int], ...]) -> float:
    """Share of `rejected` that is not from `chosen`, in [0, 1]: of characters by spans, else of words."""
    if spans:
        return sum(end - start for start, end in spans) / max(len(rejected), 1)
    before, after = (_TOKENS.findall(text)[:_DIFFED_TOKENS] for text in (chosen, rejected))
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return 1.0 - sum(block.size for block in blocks) / len(after) if after else 0.0


def quantiles(values: array[float]) -> str:
    """Three quantiles as text."""
    low, middle, high = np.quantile(np.frombuffer(values, dtype=np.float32), [0.05, 0.5, 0.95])
    return f"p5 {low:.2f}, median {middle:.2f}, p95 {high:.2f}"
