r"""POVID: https://huggingface.co/datasets/YiyangAiLab/POVID_preference_data_for_VLLMs, CC-BY-4.0.

One JSON list; CSR and several later sets have the same shape, and so does what ``prefgen export --to llava`` writes::

    {"id": "COCO_train2014_000000000123", "image": "./data/coco/COCO_train2014_000000000123.jpg",
     "conversations": [{"from": "human", "value": "<image>\nDescribe this image."},
                       {"from": "gpt", "value": "Four people sit on a wall."}],
     "rejected_conversations": [{"from": "human", "value": "<image>\nDescribe this image."},
                                {"from": "gpt", "value": "Six people sit on a wall."}]}

The file of the set's README was replaced by ``POVID_preference_data_for_VLLMs_version_1.json``; both can be given, or
the folder that holds one of them. ``image`` holds a folder that the set's own script adds again (``--image_folder
./data/coco``): `prefgen.images.ImageRoot` tries the path as it is, joined, and with leading folders left off. The
pictures are those of COCO train2014 and must be had from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefgen.errors import RowError, UsageError
from prefgen.formats.reading import PairDraft, import_set, messages, needed
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions

FILES = ("POVID_preference_data_for_VLLMs_version_1.json", "POVID_preference_data_for_VLLMs.json")


@dataclass(frozen=True)
class PovidSet:
    """Reader of POVID and of sets in its form."""

    name: ClassVar[str] = "povid"
    licence: str = "cc-by-4.0"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(_file(src), self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        used = ("image", "conversations", "rejected_conversations")
        image, said, worse = needed(columns, *used)
        *prompt, chosen = messages("conversations", said)
        *repeated, rejected = messages("rejected_conversations", worse)
        if prompt != repeated:
            raise RowError("ROW_SHAPE", "conversations and rejected_conversations have different prompts")
        for name, (role, _) in (("conversations", chosen), ("rejected_conversations", rejected)):
            if role != "assistant":
                raise RowError("ROW_SHAPE", f"{name} should end with an answer, its last turn is the {role}'s")
        yield PairDraft(prompt, image, chosen[1], rejected[1], used)


def _file(src: str) -> str:
    folder = Path(src).expanduser()
    if not folder.is_dir():
        return src
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if not found:
        raise UsageError(f"INPUT_NOT_FOUND: {folder} holds neither {' nor '.join(FILES)}; give the file")
    return str(found[0])
