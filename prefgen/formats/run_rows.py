"""Rows of a run saved again by `datasets` or another library: filtered, shuffled, or with further columns.

Parquet, JSON Lines, a folder of ``save_to_disk`` or a Hub set with the columns that a run's card lists, of which these
say what a pair is::

    {"images": [{"bytes": b"...", "path": "a.jpg"}],
     "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}],
     "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}],
     "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "A dog."}]}]}

Ids, method, options, iteration, similarity, spans and source come back as they were, the last four only where the texts
are still those that were generated. Columns of a model and an engine are those of the import; ``prefgen mix`` and
``filter`` read saved rows too, and keep every column. Every other importer restores the same from such columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.formats.base import Format
from prefgen.formats.reading import PairDraft, import_set, messages, needed
from prefgen.records import Dropped, Pair
from prefgen.rundir.schema import SCHEMA
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class RunRows:
    """Reader of rows of a run."""

    name: ClassVar[str] = "prefgen"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, _read)


def _read(columns: Mapping[str, Any]) -> Iterator[PairDraft]:
    asked, chosen, rejected = needed(columns, "prompt", "chosen", "rejected")
    others = columns.get("rejected_images")
    yield PairDraft(
        messages("prompt", asked), columns.get("images"), chosen, rejected, tuple(SCHEMA.names), rejected_images=others
    )


FORMAT = Format("prefgen", reader=RunRows)
