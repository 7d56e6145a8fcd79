"""ms-swift's RLHF format: ``train.jsonl`` and ``images/``.

A set with preferences between pictures has ``rejected_messages`` and ``rejected_images`` in all its rows, in place of
``rejected_response``: ms-swift takes what only some rows have for a mistake in the others. Paths are relative to the
folder, and ms-swift takes them as relative to where it runs; ``objects``, the boxes of grounding rows, are kept::

    cd OUT && swift rlhf --rlhf_type dpo --dataset train.jsonl --model MODEL
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.exporters.records import Exported, Exporter, asked, write_lines
from prefgen.rundir.reader import REJECTED_PATHS, Stored


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`."""
    by_image = any(row["rejected_images"] for row in stored.scan((REJECTED_PATHS,)))
    return write_lines(stored, out / "train.jsonl", functools.partial(_record, by_image=by_image), place)


def place(row: Mapping[str, Any]) -> None:
    """Refuse nothing: every row has a place."""


EXPORTER = Exporter(write, place, ("id",))


def _record(row: Mapping[str, Any], images: list[str], *, by_image: bool) -> dict[str, Any]:
    prompt, count = asked(row), len(row["images"])
    chosen, rejected = ({"role": "assistant", "content": row[f"{side}_response"]} for side in ("chosen", "rejected"))
    return {
        "messages": [*prompt, chosen],
        "images": images[:count],
        **(
            {"rejected_messages": [*prompt, rejected], "rejected_images": images[count:] or images}
            if by_image
            else {"rejected_response": rejected["content"]}
        ),
        "id": row["source_id"],
        **_objects(row),
    }


def _objects(row: Mapping[str, Any]) -> dict[str, Any]:
    """The boxes of a grounding row; none of their placeholders is left in the texts."""
    objects = json.loads(row["meta"])["source"].get("objects")
    return {"objects": {"ref": [], "bbox": [], **objects}} if isinstance(objects, dict) else {}
