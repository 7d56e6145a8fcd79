r"""InternVL's MMPR shape: ``train.jsonl`` with single-turn rows, and ``images/``.

``image`` is a list where there are several, and relative to the folder::

    {"id": "17", "image": "images/17.jpg", "question": "<image>\nWhat?", "chosen": "A.", "rejected": "B."}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.errors import RowError
from prefgen.exporters.records import Exported, asked, write_lines
from prefgen.rundir.reader import Stored


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`; conversations of several turns have no place."""
    return write_lines(stored, out / "train.jsonl", _record)


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    prompt = asked(row)
    if len(prompt) != 1:
        raise RowError("ROW_SHAPE", f"{len(prompt)} turns before the answer")
    return {
        "id": row["source_id"],
        "image": images[0] if len(images) == 1 else images,
        "question": prompt[0]["content"],
        "chosen": row["chosen_response"],
        "rejected": row["rejected_response"],
    }
