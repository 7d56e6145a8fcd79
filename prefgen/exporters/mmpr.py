r"""InternVL's MMPR shape: ``train.jsonl`` with single-turn rows, ``images/``, and ``meta.json`` that InternVL is given.

``image`` is a list where there are several, and relative to the folder::

    {"id": "17", "image": "images/17.jpg", "question": "<image>\nWhat?", "chosen": "A.", "rejected": "B."}

Paths in ``meta.json`` start with the folder's own name, as those of MMPR do: InternVL runs where the folder is::

    {"OUT": {"root": "OUT", "annotation": "OUT/train.jsonl", "data_augment": false, "repeat_time": 1, "length": 5000}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.errors import RowError
from prefgen.exporters.records import Exported, Exporter, asked, by_answer, write_lines
from prefgen.rundir.reader import REJECTED_PATHS, Stored


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`, listed under `name`."""
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


EXPORTER = Exporter(write, place, (REJECTED_PATHS, "conversations"))


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    return {
        "id": row["source_id"],
        "image": images[0] if len(images) == 1 else images,
        "question": asked(row)[0]["content"],
        "chosen": row["chosen_response"],
        "rejected": row["rejected_response"],
    }
