r"""Flat JSON Lines: ``train.jsonl`` and ``images/``, with the columns that ``prefgen import jsonl`` reads by default.

::

    {"id": "17", "images": ["images/17.jpg"], "prompt": "<image>\nWhat?", "chosen": "A.", "rejected": "B."}

Every column has one type in all rows, so that conversations of several turns have no place. ``images`` are relative to
the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.exporters.mmpr import place
from prefgen.exporters.records import Exported, Exporter, asked, write_lines
from prefgen.rundir.reader import REJECTED_PATHS, Stored


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`."""
    return write_lines(stored, out / "train.jsonl", _record, place)


EXPORTER = Exporter(write, place, (REJECTED_PATHS, "conversations"))


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    return {
        "id": row["source_id"],
        "images": images,
        "prompt": asked(row)[0]["content"],
        "chosen": row["chosen_response"],
        "rejected": row["rejected_response"],
    }
