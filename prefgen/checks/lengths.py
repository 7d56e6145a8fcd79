"""Which rows a length limit would cut, and whether it would cut image tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from prefgen.errors import RowError, UsageError
from prefgen.importers import IMPORTERS
from prefgen.records import Dropped, Pair
from prefgen.runner.pending import load_images
from prefgen.sources import SourceOptions

# What the trainers do when nothing is said: TRL's DPOConfig.max_length, LLaMA-Factory's cutoff_len.
DEFAULTS = {"trl": 1024, "llamafactory": 2048}


class Length(Protocol):
    """What `prefgen.engines.hf.lengths.Length` is."""

    @property
    def image_end(self) -> int:
        """Position behind the last image token."""

    @property
    def chosen(self) -> int:
        """Tokens of prompt and chosen answer."""

    @property
    def rejected(self) -> int:
        """Tokens of prompt and rejected answer."""


@dataclass(frozen=True)
class Cut:
    """A row that would be cut."""

    row: str
    detail: str


def limit(trainer: str, max_length: int | None) -> int:
    """The limit that holds.

    Raises:
        UsageError: the trainer has no default.
    """
    found = max_length or DEFAULTS.get(trainer)
    if found is None:
        raise UsageError(f"{trainer} has no length limit of its own: give --max-length")
    return found


def cuts(src: Path, trainer: str, max_length: int, measure: Callable[[Pair], Length]) -> Iterator[Cut]:
    """Rows of a file or folder that are longer; rows that are no pair are `prefgen.checks.check`'s business."""
    root = SourceOptions().root(str(src))
    for outcome in IMPORTERS[trainer]()(str(src)):
        if isinstance(outcome, Dropped):
            continue
        sample = load_images(outcome.sample, root, None)
        name = outcome.sample.source_id
        if isinstance(sample, Dropped):
            yield Cut(name, f"{sample.reason}: {sample.detail}")
            continue
        try:
            length = measure(replace(outcome, sample=sample))
        except RowError as error:
            yield Cut(name, str(error))
            continue
        if length.image_end > max_length:
            yield Cut(name, f"image tokens up to {length.image_end:,}: {max_length:,} cut into the picture")
        for side, tokens in (("chosen", length.chosen), ("rejected", length.rejected)):
            if length.image_end <= max_length < tokens:
                yield Cut(name, f"{side} ends at token {tokens:,}: {max_length:,} cut it off")
