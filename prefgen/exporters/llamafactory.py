"""LLaMA-Factory's ShareGPT ranking format: ``train.json``, ``images/``, and ``dataset_info.json`` by which it is read.

::

    llamafactory-cli train dpo.yaml dataset_dir=OUT dataset=NAME

prefgen's own shards load as well; this is for editing by hand, and for versions that read no Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.exporters.llava import said
from prefgen.exporters.records import Exported, Exporter, asked, by_answer, write_list
from prefgen.rundir.reader import REJECTED_PATHS, Stored

COLUMNS = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`, listed under `name`."""
    exported = write_list(stored, out / "train.json", _record)
    entry = {"file_name": "train.json", "ranking": True, "formatting": "sharegpt", "columns": COLUMNS}
    (out / "dataset_info.json").write_text(json.dumps({name: entry}, indent=2) + "\n", encoding="utf-8")
    return exported


EXPORTER = Exporter(write, by_answer, (REJECTED_PATHS,))


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    return {
        "conversations": [said(turn) for turn in asked(row)],
        "chosen": {"from": "gpt", "value": row["chosen_response"]},
        "rejected": {"from": "gpt", "value": row["rejected_response"]},
        "images": images,
        "id": row["source_id"],
    }
