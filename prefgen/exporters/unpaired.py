"""TRL's unpaired vision format, for KTO: Parquet with ``images``, ``prompt``, ``completion`` and ``label``.

A pair becomes two rows, its chosen answer with the label true and its rejected one with false; an answer that is chosen
in several pairs of one prompt stands there once. As JSON::

    {"images": [...], "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}],
     "completion": [{"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}], "label": true}
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefgen.carried import COLUMN, PAIRED_WITH, Carried, text_digest
from prefgen.errors import RowError
from prefgen.exporters.records import CARRIED_COLUMNS, Exported, Exporter, by_answer
from prefgen.rundir.reader import REJECTED_PATHS, Stored
from prefgen.rundir.schema import SCHEMA


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`; a pair that has a place counts as one row."""
    folder = out / "data"
    folder.mkdir()
    schema = _schema()
    left_out: Counter[str] = Counter()
    written = 0
    good: set[bytes] = set()
    with pq.ParquetWriter(folder / "train-00000-of-00001.parquet", schema, compression="zstd") as writer:
        for table in stored.tables():
            kept: list[dict[str, Any]] = []
            for row in table.select((*CARRIED_COLUMNS, "prompt", "chosen", "rejected")).to_pylist():
                try:
                    by_answer(row)
                except RowError as error:
                    left_out[error.reason] += 1
                    continue
                kept += _rows(row, good)
                written += 1
            writer.write_table(pa.Table.from_pylist(kept, schema=schema))
    return Exported(written, dict(left_out))


EXPORTER = Exporter(write, by_answer, (REJECTED_PATHS,))


def _rows(row: Mapping[str, Any], good: set[bytes]) -> Iterator[dict[str, Any]]:
    carried = Carried.of_row(row).to_json()
    told = json.dumps([row["prompt"], row["chosen_response"], json.loads(row["meta"])["images"]], sort_keys=True)
    key = hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    answer = text_digest(row["chosen_response"])
    for side, label in (("chosen", True), ("rejected", False)):
        if label and key in good:
            continue
        yield {
            "images": row["images"],
            "prompt": row["prompt"],
            "completion": row[side],
            "label": label,
            COLUMN: carried,
            PAIRED_WITH: None if label else answer,
        }
    good.add(key)


def _schema() -> pa.Schema:
    features = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    kept = {
        "images": features["images"],
        "prompt": features["prompt"],
        "completion": features["chosen"],
        "label": {"dtype": "bool", "_type": "Value"},
        COLUMN: {"dtype": "string", "_type": "Value"},
        PAIRED_WITH: {"dtype": "string", "_type": "Value"},
    }
    columns = [
        SCHEMA.field("images"),
        SCHEMA.field("prompt"),
        SCHEMA.field("chosen").with_name("completion"),
        pa.field("label", pa.bool_()),
        pa.field(COLUMN, pa.string()),
        pa.field(PAIRED_WITH, pa.string()),
    ]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": kept}})})
