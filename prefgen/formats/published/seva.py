"""SeVa: https://github.com/Kevinz-code/SeVa, no licence stated.

One JSON list; the pictures are COCO's, TextVQA's and OCR-VQA's. The worse answer is ``reject``, not ``rejected``::

    {"image_id": "000000000123.jpg", "question": "What is on the sign?", "chosen": "Stop.", "reject": "Shop."}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.formats.reading import PairDraft, import_set, needed, question
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class Seva:
    """Reader of SeVa."""

    name: ClassVar[str] = "seva"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        used = ("image_id", "question", "chosen", "reject")
        image, asked, chosen, rejected = needed(columns, *used)
        yield PairDraft(question(asked), image, chosen, rejected, used)
