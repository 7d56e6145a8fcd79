r"""RLHF-V-Dataset: https://huggingface.co/datasets/openbmb/RLHF-V-Dataset, CC-BY-NC-4.0.

Parquet with embedded pictures; ``text`` and ``origin_split`` are JSON *inside strings*::

    {"ds_name": "RLHF-V", "image": {"bytes": b"...", "path": null}, "idx": 0,
     "text": "{\"question\": \"What is he doing?\", \"chosen\": \"He reads.\", \"rejected\": \"He runs.\"}",
     "origin_dataset": "LCS-558K", "image_path": "llava1.5_split/0001.jpg",
     "origin_split": "{\"model\": \"Muffin\", \"type\": \"detailed_description\"}"}

An older JSON Lines form has ``question``, ``chosen`` and ``rejected`` as columns and is read as well. The mirror
``llamafactory/RLHF-V`` is for the importer ``llamafactory``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.formats.reading import PairDraft, decoded, import_set, needed, question
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class RlhfV:
    """Reader of RLHF-V."""

    name: ClassVar[str] = "rlhf-v"
    licence: str = "cc-by-nc-4.0"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        text = decoded("text", columns.get("text")) or columns
        if not isinstance(text, Mapping):
            raise RowError("ROW_SHAPE", f"text should hold an object, found {type(text).__name__}")
        asked, chosen, rejected = needed(text, "question", "chosen", "rejected")
        used = ("image", "text", "question", "chosen", "rejected")
        yield PairDraft(question(asked), named_image(columns), chosen, rejected, used, meta=origin_meta(columns))


def named_image(columns: Mapping[str, Any]) -> object:
    """The embedded picture with the file name from its own column."""
    (image,) = needed(columns, "image")
    if isinstance(image, dict) and image.get("bytes") and not image.get("path"):
        return {**image, "path": columns.get("image_path")}
    return image


def origin_meta(columns: Mapping[str, Any]) -> dict[str, Any]:
    """``origin_split``, which is JSON in a string."""
    split = columns.get("origin_split")
    return {} if split is None else {"origin_split": decoded("origin_split", split)}
