r"""MMPR (InternVL): https://huggingface.co/datasets/OpenGVLab/MMPR, licence per subset (see its card).

JSON Lines, one file per subset with a picture folder of its own, which is given as ``--image-root``::

    {"id": 7, "image": "images/00007.png", "question": "<image>\nHow many bars?", "chosen": "Five.", "rejected": "Six."}

``image`` is a list where a row has several pictures. ``prefgen export --to mmpr`` writes this.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.formats.base import Exported, Exporter, Format, by_answer
from prefgen.formats.reading import PairDraft, import_set, needed, question
from prefgen.formats.writing import asked, write_lines
from prefgen.records import Dropped, Pair
from prefgen.rundir.reader import REJECTED_PATHS, Stored
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class Mmpr:
    """Reader of a JSON Lines file of MMPR."""

    name: ClassVar[str] = "mmpr"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        asked, chosen, rejected = needed(columns, "question", "chosen", "rejected")
        yield PairDraft(
            question(asked), columns.get("image"), chosen, rejected, ("image", "question", "chosen", "rejected")
        )


def write(stored: Stored, out: Path, name: str) -> Exported:
    r"""InternVL's MMPR shape: ``train.jsonl`` with single-turn rows, ``images/``, and ``meta.json`` for InternVL.

    ``image`` is a list where there are several, and relative to the folder::

        {"id": "17", "image": "images/17.jpg", "question": "<image>\nWhat?", "chosen": "A.", "rejected": "B."}

    Paths in ``meta.json`` start with the folder's own name, as those of MMPR do: InternVL runs where the folder is::

        {"OUT": {"root": "OUT", "annotation": "OUT/train.jsonl", "data_augment": false, "repeat_time": 1,
                 "length": 5000}}
    """
    exported = write_lines(stored, out / "train.jsonl", _record, place)
    entry = {
        "root": name,
        "annotation": f"{name}/train.jsonl",
        "data_augment": False,
        "repeat_time": 1,
        "length": exported.rows,
    }
    (out / "meta.json").write_text(json.dumps({name: entry}, indent=2) + "\n", encoding="utf-8")
    return exported


def place(row: Mapping[str, Any]) -> None:
    """Refuse conversations of several turns.

    Raises:
        RowError: ``REJECTED_BY_IMAGE``, ``ROW_SHAPE``.
    """
    by_answer(row)
    if len(asked(row)) != 1:
        raise RowError("ROW_SHAPE", f"{len(asked(row))} turns before the answer")


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    return {
        "id": row["source_id"],
        "image": images[0] if len(images) == 1 else images,
        "question": asked(row)[0]["content"],
        "chosen": row["chosen_response"],
        "rejected": row["rejected_response"],
    }


FORMAT = Format("mmpr", reader=Mmpr, writer=Exporter(write, place, (REJECTED_PATHS, "conversations")))
