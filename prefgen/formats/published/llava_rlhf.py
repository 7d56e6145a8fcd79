r"""LLaVA-RLHF preferences: https://huggingface.co/datasets/zhiqings/LLaVA-Human-Preference-10K, Apache-2.0.

One JSON list; the pictures are COCO's and not part of it::

    {"id": "000000000123", "image": "000000000123.jpg",
     "conversations": [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A market."},
                       {"from": "human", "value": "What is for sale?"}],
     "output_1": {"from": "llava", "value": "Fruit."}, "output_2": {"from": "llava", "value": "Fruit and fish."},
     "preference": 2, "hallucination": true}

``preference`` counts from 1. Conversations of several turns are common, and may be nested one list deep. What
``hallucination`` says is documented nowhere; it is kept in ``meta``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.formats.reading import PairDraft, import_set, messages, needed
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class LlavaRlhf:
    """Reader of the 10k human preferences of LLaVA-RLHF."""

    name: ClassVar[str] = "llava-rlhf"
    licence: str = "apache-2.0"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        used = ("image", "conversations", "output_1", "output_2", "preference")
        image, said, first, second, preference = needed(columns, *used)
        if isinstance(said, list) and len(said) == 1 and isinstance(said[0], list):
            said = said[0]
        if type(preference) is not int or preference not in (1, 2):
            raise RowError("ROW_SHAPE", f"preference should be 1 or 2, found {preference!r}")
        outputs = [_output(name, value) for name, value in (("output_1", first), ("output_2", second))]
        chosen, rejected = outputs if preference == 1 else outputs[::-1]
        yield PairDraft(messages("conversations", said), image, chosen, rejected, used)


def _output(name: str, value: object) -> str:
    text = value.get("value") if isinstance(value, dict) else value  # the speaker is "llava", which is no role
    if not isinstance(text, str):
        raise RowError("ROW_SHAPE", f"{name} should be a message, found {type(value).__name__}")
    return text
