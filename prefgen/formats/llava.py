"""LLaVA's JSON in POVID's form (export only); `prefgen.formats.published.povid` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.errors import RowError
from prefgen.formats.base import Exported, Exporter, Format, by_answer
from prefgen.formats.writing import asked, write_list
from prefgen.rundir.reader import PATHS, REJECTED_PATHS, Stored

SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


def write(stored: Stored, out: Path, name: str) -> Exported:
    """POVID's form of LLaVA's JSON, for LLaVA's training code: one picture per row, no system turn.

    ``train.json`` and ``images/``, which is the root that ``image`` is relative to::

        {"id": "17", "image": "images/17.jpg",
         "conversations": [{"from": "human", "value": "<image>..."}, {"from": "gpt", "value": "chosen"}],
         "rejected_conversations": [{"from": "human", "value": "<image>..."}, {"from": "gpt", "value": "rejected"}]}
    """
    return write_list(stored, out / "train.json", _record, place)


def place(row: Mapping[str, Any]) -> None:
    """Refuse rows with several pictures or a system turn.

    Raises:
        RowError: ``REJECTED_BY_IMAGE``, ``IMG_COUNT``, ``ROW_SHAPE``.
    """
    by_answer(row)
    if len(row["images"]) != 1:
        raise RowError("IMG_COUNT", f"{len(row['images'])} pictures")
    if any(turn["role"] == "system" for turn in asked(row)):
        raise RowError("ROW_SHAPE", "a system turn")


def said(turn: Mapping[str, str]) -> dict[str, str]:
    """A turn in ShareGPT's form."""
    return {"from": SPEAKERS[turn["role"]], "value": turn["content"]}


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    before = [said(turn) for turn in asked(row)]
    return {
        "id": row["source_id"],
        "image": images[0],
        "conversations": [*before, {"from": "gpt", "value": row["chosen_response"]}],
        "rejected_conversations": [*before, {"from": "gpt", "value": row["rejected_response"]}],
    }


FORMAT = Format("llava", writer=Exporter(write, place, (PATHS, REJECTED_PATHS, "conversations")))
