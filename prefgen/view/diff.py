"""The two answers of a pair, split into marked ranges."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

CHANGED, GENERATED, SWAPPED = 1, 2, 4
_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")
_TOKENS_MAX = 1500  # of an answer; the time of a diff grows with the square

Part = tuple[str, int]


def parts(
    chosen: str, rejected: str, spans: Iterable[tuple[int, int]] = (), swaps: Iterable[tuple[int, int]] = ()
) -> tuple[list[Part], list[Part]]:
    """Both answers as ranges of text with marks; joined, the texts are the answers.

    `CHANGED` words are not in the other answer. `GENERATED` stretches, given by `spans`, were written by the model, and
    `SWAPPED` ones are exchanged yes/no words; both are offsets into `rejected`. What lies outside of it is ignored.
    """
    marks = bytearray(len(chosen)), bytearray(len(rejected))
    before, after = (list(_TOKENS.finditer(text)) for text in (chosen, rejected))
    if max(len(before), len(after)) <= _TOKENS_MAX:
        words = [match.group() for match in before], [match.group() for match in after]
        for kind, first, last, other_first, other_last in difflib.SequenceMatcher(
            None, *words, autojunk=False
        ).get_opcodes():
            if kind != "equal":
                for token in before[first:last]:
                    _set(marks[0], token.start(), token.end(), CHANGED)
                for token in after[other_first:other_last]:
                    _set(marks[1], token.start(), token.end(), CHANGED)
        for mark, tokens in zip(marks, (before, after), strict=True):
            _close_gaps(mark, tokens)
    for start, end in spans:
        _set(marks[1], start, end, GENERATED)
    for start, end in swaps:
        _set(marks[1], start, end, SWAPPED)
    return _grouped(chosen, marks[0]), _grouped(rejected, marks[1])


def _close_gaps(marks: bytearray, tokens: Sequence[re.Match[str]]) -> None:
    """Treat white space between two changed words as changed."""
    for left, gap, right in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if gap.group().isspace() and marks[left.start()] & CHANGED and marks[right.start()] & CHANGED:
            _set(marks, gap.start(), gap.end(), CHANGED)


def _set(marks: bytearray, start: int, end: int, bit: int) -> None:
    for place in range(max(start, 0), min(end, len(marks))):
        marks[place] |= bit


def _grouped(text: str, marks: bytearray) -> list[Part]:
    found, start = [], 0
    for mark, run in groupby(marks):
        end = start + sum(1 for _ in run)
        found.append((text[start:end], mark))
        start = end
    return found
