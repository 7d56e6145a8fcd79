"""The loaders of installed trainers, applied to rows as before training.

What raises is given again by halves, until it is known which rows it was.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefgen.formats.base import Attempt, Loader

ROWS_AT_ONCE = 100
_DETAIL_CHARS = 300


def version(loader: Loader) -> str | None:
    """Version of the installed trainer, if any."""
    return importlib.metadata.version(loader.distribution) if importlib.util.find_spec(loader.module) else None


def broken(
    loader: Loader, src: Path, files: list[Path], columns: Mapping[str, str], processor: str | None, rows: int | None
) -> Iterator[tuple[str, str]]:
    """Names of the rows that the installed trainer's loader rejects, and its messages.

    Args:
        src: as given to `prefgen.formats.check`; `files` are those that it holds.
        columns: names of columns by those that the loader knows; empty where they are the same.
        processor: folder or Hub id of the model whose processor the loader collates with.
        rows: look at the first so many; None is all.

    Raises:
        ModelUnreachable: the processor cannot be read.
    """
    attempt = loader.load(files[0].parent, columns, processor)
    first = 1
    try:
        for chunk in _chunks(src, files, rows):
            yield from _isolated(chunk, first, attempt)
            first += len(chunk)
    except Exception as error:  # noqa: BLE001  # whatever `datasets` raises where it can make no table of it
        yield f"from row {first:,} on", _told(error)


def _chunks(src: Path, files: list[Path], rows: int | None) -> Iterator[Any]:
    """`datasets.Dataset`s of some rows, loaded by the trainer's own version of `datasets`."""
    import datasets

    if files == [src] and src.is_dir():
        loaded = datasets.load_from_disk(str(src))
        stream = loaded.get("train", next(iter(loaded.values()))) if isinstance(loaded, dict) else loaded
        stream = stream.to_iterable_dataset()
    elif src.is_dir() and files[0].suffix == ".parquet":
        stream = datasets.load_dataset(str(src), split="train", streaming=True)
    else:
        kind = "parquet" if files[0].suffix == ".parquet" else "json"
        stream = datasets.load_dataset(kind, data_files=[str(file) for file in files], split="train", streaming=True)
    tables = stream.with_format("arrow").iter(batch_size=ROWS_AT_ONCE)
    seen = 0
    for table in tables:
        left = table.num_rows if rows is None else rows - seen
        if left <= 0:
            return
        seen += table.num_rows
        yield datasets.Dataset(table.slice(0, left), info=datasets.DatasetInfo(features=stream.features))


def _isolated(chunk: Any, first: int, attempt: Attempt) -> Iterator[tuple[str, str]]:
    try:
        attempt(chunk)
    except Exception as error:  # noqa: BLE001  # whatever a trainer raises is the answer
        if len(chunk) == 1:
            own = f" (id {chunk[0]['id']})" if "id" in chunk.column_names else ""
            yield f"row {first:,}{own}", _told(error)
            return
        middle = len(chunk) // 2
        halves = ((0, middle), (middle, len(chunk)))
        found = [
            problem
            for start, stop in halves
            for problem in _isolated(chunk.select(range(start, stop)), first + start, attempt)
        ]
        yield from found or [(f"rows {first:,} to {first + len(chunk) - 1:,} together", _told(error))]


def _told(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _DETAIL_CHARS else text[: _DETAIL_CHARS - 1] + "…"
