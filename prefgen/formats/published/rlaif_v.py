r"""RLAIF-V-Dataset: https://huggingface.co/datasets/openbmb/RLAIF-V-Dataset, CC-BY-NC-4.0.

Parquet shards with embedded pictures. ``question`` has no ``<image>``, and ``idx`` is a string here::

    {"ds_name": "RLAIF-V", "image": {"bytes": b"...", "path": "0.jpg"}, "question": "What is in the sky?",
     "chosen": "A kite.", "rejected": "Two birds.", "origin_dataset": "COCO", "idx": "17",
     "origin_split": "{\"models\": \"LLaVA-1.5\", \"type\": \"question_answering\"}",
     "image_path": "train2017/000000000017.jpg"}

The variant for training adds ``logps``, a JSON string that is an object in newer files and a list in older ones; it
is kept in ``meta`` unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.formats.published.rlhf_v import named_image, origin_meta
from prefgen.formats.reading import PairDraft, import_set, needed, question
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class RlaifV:
    """Reader of RLAIF-V."""

    name: ClassVar[str] = "rlaif-v"
    licence: str = "cc-by-nc-4.0"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        asked, chosen, rejected = needed(columns, "question", "chosen", "rejected")
        used = ("image", "question", "chosen", "rejected")
        yield PairDraft(question(asked), named_image(columns), chosen, rejected, used, meta=origin_meta(columns))
