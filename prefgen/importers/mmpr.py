r"""MMPR (InternVL): https://huggingface.co/datasets/OpenGVLab/MMPR, licence per subset (see its card).

JSON Lines, one file per subset with a picture folder of its own, which is given as ``--image-root``::

    {"id": 7, "image": "images/00007.png", "question": "<image>\nHow many bars?", "chosen": "Five.", "rejected": "Six."}

``image`` is a list where a row has several pictures. ``prefgen export --to mmpr`` writes this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.importers.building import Draft, import_set, needed, question
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class Mmpr:
    """Reads one JSON Lines file of MMPR."""

    name: ClassVar[str] = "mmpr"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[Draft]:
        asked, chosen, rejected = needed(columns, "question", "chosen", "rejected")
        yield Draft(
            question(asked), columns.get("image"), chosen, rejected, ("image", "question", "chosen", "rejected")
        )
