"""ms-swift's RLHF format: ``train.jsonl`` and ``images/``.

A preference between pictures has ``rejected_images`` in place of ``rejected_response``. Paths are relative to the
folder, and ms-swift takes them as relative to where it runs::

    cd OUT && swift rlhf --rlhf_type dpo --dataset train.jsonl --model MODEL
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.exporters.records import Exported, asked, write_lines
from prefgen.stored import Stored


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`."""
    return write_lines(stored, out / "train.jsonl", _record, rejected_images=True)


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    count = len(row["images"])
    # An answer that is the same on both sides is not said twice: ms-swift would refuse it.
    rejected = (
        {"rejected_images": images[count:]} if images[count:] else {"rejected_response": row["rejected_response"]}
    )
    return {
        "messages": [*asked(row), {"role": "assistant", "content": row["chosen_response"]}],
        "images": images[:count],
        **rejected,
        "id": row["source_id"],
    }
