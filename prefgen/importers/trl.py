"""TRL's vision preference format: https://huggingface.co/docs/trl/dataset_formats, no licence of its own.

Conversational; what ``prefgen export --to trl`` writes, and ``HuggingFaceH4/rlaif-v_formatted``::

    {"images": [{"bytes": b"...", "path": "a.jpg"}],
     "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}],
     "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}],
     "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "A dog."}]}]}

Also read: a single ``image``; content as plain text, whose pictures then go in front of the first user turn; answers
and prompts as plain strings (the standard format, where ``<image>`` may stand in the prompt; another model's own image
token cannot be told from text); and no ``prompt`` at all, when both answers are whole conversations that share it.
Text parts that hold ``<image>`` beside image parts are text. Parquet pads every part with every key: nulls are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.importers.building import Draft, Message, import_set, messages, needed, question
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class Trl:
    """Reads both of TRL's formats."""

    name: ClassVar[str] = "trl"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[Draft]:
        chosen, rejected = needed(columns, "chosen", "rejected")
        prompt = columns.get("prompt")
        if prompt is None:
            prompt, chosen, rejected = _shared(chosen, rejected)
        asked = question(prompt, "prompt") if isinstance(prompt, str) else messages("prompt", prompt)
        image = next((columns[name] for name in ("images", "image") if columns.get(name)), None)
        yield Draft(asked, image, chosen, rejected, ("images", "image", "prompt", "chosen", "rejected"))


def _shared(chosen: object, rejected: object) -> tuple[object, object, object]:
    """Prompt and answers of two conversations that differ in their last turn."""
    if not (isinstance(chosen, list) and isinstance(rejected, list) and len(chosen) > 1):
        raise RowError("ROW_SHAPE", "no prompt, and chosen and rejected are no conversations")
    better: list[Message] = messages("chosen", chosen)
    if better[:-1] != messages("rejected", rejected)[:-1]:
        raise RowError("ROW_SHAPE", "no prompt, and chosen and rejected differ before their last turn")
    return chosen[:-1], chosen[-1], rejected[-1]
