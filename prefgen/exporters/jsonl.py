r"""Flat JSON Lines: ``train.jsonl`` and ``images/``, with the columns that ``prefgen import jsonl`` reads by default.

::

    {"id": "17", "image": "images/17.jpg", "prompt": "<image>\nWhat?", "chosen": "A.", "rejected": "B."}

``image`` is a list where there are several, and relative to the folder. ``prompt`` is a list of messages where there
are several turns, or a system turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.exporters.records import Exported, Exporter, asked, by_answer, write_lines
from prefgen.stored import REJECTED_PATHS, Stored


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`."""
    return write_lines(stored, out / "train.jsonl", _record)


EXPORTER = Exporter(write, by_answer, (REJECTED_PATHS,))


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    prompt = asked(row)
    return {
        "id": row["source_id"],
        "image": images[0] if len(images) == 1 else images,
        "prompt": prompt[0]["content"] if len(prompt) == 1 else prompt,
        "chosen": row["chosen_response"],
        "rejected": row["rejected_response"],
    }
