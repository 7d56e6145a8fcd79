"""Runs saved again by `datasets` or another library: Parquet files, or a folder of `save_to_disk`.

Such a file has the columns of `prefgen.rundir.schema.SCHEMA`, in types that another writer may spell differently,
and possibly others. There is no manifest, so rows are checked by their content alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefgen.errors import UsageError
from prefgen.rundir.layout import Layout
from prefgen.rundir.schema import ROW_GROUP_ROWS, SCHEMA

_FAULTS = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)


def files(path: Path) -> list[Path]:
    """The files of a saved run at a path, in row order; empty if it holds no run's rows, or is a run itself."""
    if Layout(path).plan.exists():
        return []
    try:
        found = _candidates(path)
        return found if found and all(set(SCHEMA.names) <= set(_names(file)) for file in found) else []
    except _FAULTS:  # no rows of ours, whatever it is
        return []


def digest(paths: Sequence[Path]) -> str:
    """SHA-256 of the files' digests."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def sizes(path: Path) -> list[int]:
    """Numbers of rows of a file's groups; a group is read at once."""
    if path.suffix == ".parquet":
        metadata = pq.read_metadata(path)
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    rows = _arrow(path).num_rows
    return [min(ROW_GROUP_ROWS, rows - start) for start in range(0, rows, ROW_GROUP_ROWS)]


def read(path: Path, group: int) -> pa.Table:
    """A group with the columns and types of a run.

    Raises:
        UsageError: a column holds something else.
    """
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                table = file.read_row_group(group, columns=SCHEMA.names)
        else:
            table = _arrow(path).slice(group * ROW_GROUP_ROWS, ROW_GROUP_ROWS)
        return table.select(SCHEMA.names).cast(SCHEMA)
    except _FAULTS as error:
        raise UsageError(f"{path} has the columns of a run but not its types: {error}") from error


def scan(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """These columns of every row; of nested names such as ``images.list.element.path`` only that part."""
    for group in range(len(sizes(path))):
        for row in (
            read(path, group).select(list(dict.fromkeys(name.partition(".")[0] for name in columns))).to_pylist()
        ):
            for name in columns:
                column, _, leaf = name.partition(".list.element.")
                if leaf and row[column] is not None:
                    row[column] = [{leaf: item[leaf]} for item in row[column]]
            yield row


def _candidates(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in (".parquet", ".arrow") else []
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        return _candidates(path / ("train" if "train" in splits or len(splits) != 1 else str(splits[0])))
    if (path / "state.json").is_file():
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        return [path / Path(entry["filename"]).name for entry in state["_data_files"]]
    return sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))


def _names(path: Path) -> list[str]:
    return list(pq.read_schema(path).names if path.suffix == ".parquet" else _arrow(path).schema.names)


@lru_cache(maxsize=4)
def _arrow(path: Path) -> pa.Table:
    """An Arrow file, memory-mapped: rows are read when they are used."""
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
