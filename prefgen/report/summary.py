"""A run in figures: what was made, what was dropped and why, and how alike the two answers of a pair are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Summary:
    """A run in figures. Means and quantiles are None where there is nothing to take them of.

    Attributes:
        dropped: number of rows dropped, by reason.
        pending: planned rows that are neither pairs nor dropped yet.
        non_similar: figure 10 of the paper: of the rows that have a similarity, the share accepted as non-similar in
            iteration 1, in 1 or 2, and so on. Empty where the method has no threshold.
        similarity: quantiles of the pairs' similarity by name, ``p5`` to ``p95``.
        chosen_chars: mean length in characters; `chosen_words` in words; likewise for rejected.
        tokens: tokens generated, those for dropped rows included.
        kept_image_tokens: mean number of image tokens that could be attended to.
        flags: number of pairs with each flag.
        seconds: summed over shards; `pairs_per_second` is `pairs` by it.
    """

    planned: int
    pairs: int
    dropped: Mapping[str, int]
    pending: int
    non_similar: tuple[float, ...]
    similarity: Mapping[str, float]
    chosen_chars: float | None
    rejected_chars: float | None
    chosen_words: float | None
    rejected_words: float | None
    tokens: int
    image_tokens: float | None
    kept_image_tokens: float | None
    flags: Mapping[str, int]
    seconds: float
    pairs_per_second: float | None


def summarise(out: Path) -> Summary:
    """The figures of the run in `out`, finished or not."""
    raise NotImplementedError


def to_json(summary: Summary) -> str:
    """The summary as one JSON object; keys are the names of its fields."""
    raise NotImplementedError


def render(summary: Summary) -> RenderableType:
    """The summary as a table for the terminal."""
    raise NotImplementedError
