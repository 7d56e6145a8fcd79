"""TRL's conversational vision format and nothing else: Parquet with ``images``, ``prompt``, ``chosen``, ``rejected``.

``dpo.yaml`` sets what a vision run needs: TRL's default ``max_length`` of 1024 cuts image tokens away::

    trl dpo --config OUT/dpo.yaml --model_name_or_path MODEL
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prefgen.carried import COLUMN, Carried
from prefgen.exporters.records import REJECTED_BY_IMAGE, Exported, Exporter, by_answer
from prefgen.rundir.reader import REJECTED_PATHS, Stored
from prefgen.rundir.schema import SCHEMA

_KEPT = ("images", "prompt", "chosen", "rejected")
_GROUPS_PER_FILE = 5  # of some hundred rows each

CONFIG = """\
# Vision data: no token may be cut, or pictures and their placeholders differ in number.
dataset_name: {name}
max_length: null
"""


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`."""
    folder = out / "data"
    folder.mkdir()
    (out / "dpo.yaml").write_text(CONFIG.format(name=json.dumps(f"./{name}")), encoding="utf-8")
    schema = _schema()
    rows = left_out = 0
    writer: pq.ParquetWriter | None = None
    paths: list[Path] = []
    for number, whole in enumerate(stored.tables()):
        table = whole.filter(pc.is_null(whole["rejected_images"]))  # TRL has no place for preferences between pictures
        left_out += whole.num_rows - table.num_rows
        if number % _GROUPS_PER_FILE == 0:
            if writer is not None:
                writer.close()
            paths.append(folder / f"{len(paths):05d}.parquet")
            writer = pq.ParquetWriter(paths[-1], schema, compression="zstd", use_dictionary=False)
        carried = pa.array(
            [Carried.of_row(row).to_json() for row in table.drop_columns(["images", "rejected_images"]).to_pylist()]
        )
        if writer is not None:
            writer.write_table(table.select(_KEPT).append_column(COLUMN, carried).cast(schema))
        rows += table.num_rows
    if writer is not None:
        writer.close()
    for number, path in enumerate(paths):
        path.rename(folder / f"train-{number:05d}-of-{len(paths):05d}.parquet")
    return Exported(rows, {REJECTED_BY_IMAGE: left_out} if left_out else {})


EXPORTER = Exporter(write, by_answer, (REJECTED_PATHS,))


def _schema() -> pa.Schema:
    features = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    kept = {name: features[name] for name in _KEPT} | {COLUMN: {"dtype": "string", "_type": "Value"}}
    columns = [*(SCHEMA.field(name) for name in _KEPT), pa.field(COLUMN, pa.string())]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": kept}})})
