"""POVID's shape of LLaVA's JSON, for the training code of LLaVA and its kin: one picture a row, no system turn.

``train.json`` and ``images/``, which is the root that ``image`` is relative to::

    {"id": "17", "image": "images/17.jpg",
     "conversations": [{"from": "human", "value": "<image>..."}, {"from": "gpt", "value": "chosen"}],
     "rejected_conversations": [{"from": "human", "value": "<image>..."}, {"from": "gpt", "value": "rejected"}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.errors import RowError
from prefgen.exporters.records import Exported, asked, write_list
from prefgen.rundir.reader import Stored

SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`; rows with several pictures or a system turn have no place."""
    return write_list(stored, out / "train.json", _record)


def said(turn: Mapping[str, str]) -> dict[str, str]:
    """A turn in ShareGPT's words."""
    return {"from": SPEAKERS[turn["role"]], "value": turn["content"]}


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    if len(images) != 1:
        raise RowError("IMG_COUNT", f"{len(images)} pictures")
    prompt = asked(row)
    if any(turn["role"] == "system" for turn in prompt):
        raise RowError("ROW_SHAPE", "a system turn")
    before = [said(turn) for turn in prompt]
    return {
        "id": row["source_id"],
        "image": images[0],
        "conversations": [*before, {"from": "gpt", "value": row["chosen_response"]}],
        "rejected_conversations": [*before, {"from": "gpt", "value": row["rejected_response"]}],
    }
