"""ms-swift's RLHF format: ``train.jsonl`` and ``images/``.

Paths are relative to the folder, and ms-swift takes them as relative to where it runs::

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
    return write_lines(stored, out / "train.jsonl", _record)


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    return {
        "messages": [*asked(row), {"role": "assistant", "content": row["chosen_response"]}],
        "images": images,
        "rejected_response": row["rejected_response"],
        "id": row["source_id"],
    }
