"""ms-swift's RLHF format: https://swift.readthedocs.io, Custom-dataset, no licence of its own.

JSON Lines; what ``prefgen export --to ms-swift`` writes::

    {"messages": [{"role": "user", "content": "<image>What is this?"}, {"role": "assistant", "content": "A cat."}],
     "images": ["kitten.png"], "rejected_response": "A dog."}

``rejected_response`` may be a list of answers, all of which are kept, or of one message. ``conversations`` stands for
``messages``, and instead of ``rejected_response`` there may be ``rejected_messages``, the
whole conversation again, with its ``rejected_images``. A column ``rejected`` means nothing to ms-swift, nor here.
Missing ``<image>`` tags are tolerated: all pictures then go in front of the first user turn. Other ``rejected_images``
to the same answer are a preference between *pictures*; rows that reject both an answer and pictures are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.importers.building import Draft, import_set, messages
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions
from prefgen.sources.image_columns import has_image


@dataclass(frozen=True)
class MsSwift:
    """Reads ms-swift's spellings of a rejected answer, and rejected pictures."""

    name: ClassVar[str] = "ms-swift"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[Draft]:
        images = columns.get("images")
        name = "messages" if columns.get("messages") is not None else "conversations"
        *prompt, (role, chosen) = messages(name, columns.get(name))
        if role != "assistant":
            raise RowError("ROW_SHAPE", f"{name} should end with the chosen answer")
        rejected = columns.get("rejected_response")
        if columns.get("rejected_messages") is not None:
            *repeated, (_, rejected) = messages("rejected_messages", columns["rejected_messages"])
            if repeated != prompt:
                raise RowError("ROW_SHAPE", "messages and rejected_messages have different prompts")
        others = columns.get("rejected_images")
        if rejected is None and not has_image(others):
            raise RowError("ROW_SHAPE", "neither rejected_response nor rejected_messages nor rejected_images")
        rejected = chosen if rejected is None else rejected
        used = (name, "images", "rejected_response", "rejected_messages", "rejected_images")
        yield Draft(prompt, images, chosen, rejected, used, rejected_images=others)
