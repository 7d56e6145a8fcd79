"""Reader of a finished or saved run: scans columns, or takes rows by number."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefgen.errors import CorruptRun, UsageError
from prefgen.records import Image, Slot, Turn
from prefgen.rundir import saved
from prefgen.rundir.layout import Layout
from prefgen.rundir.schema import SCHEMA

# The one leaf of the pictures that is cheap to read.
PATHS = "images.list.element.path"
REJECTED_PATHS = f"rejected_{PATHS}"
_BATCH_ROWS = 1000
_CACHED_GROUPS = 4  # row groups are at most 64 MiB, a photograph set's some 10


class Stored:
    """The rows of a finished run, or of one that another library has saved again (`prefgen.rundir.saved`).

    Attributes:
        digest: SHA-256 of the run's manifest, which lists the digest of every file; else of the files' digests.

    Raises:
        UsageError: there is neither, or another version of prefgen wrote it.
        CorruptRun: a file is damaged.
    """

    def __init__(self, out: Path) -> None:
        at = Layout(out)
        self.name = out.resolve().name
        self._saved = [] if at.manifest_digest.exists() else saved.files(out)
        if self._saved:
            self.digest = saved.digest(self._saved)
        elif at.manifest_digest.exists():
            self.digest = at.manifest_digest.read_text(encoding="utf-8").split()[0]
        else:
            state = "is unfinished: repeat the command that started it" if at.plan.exists() else "holds no prefgen run"
            raise UsageError(f"{out} {state}")
        # thousands of a large run, so that they are open only while they are read
        self._paths = self._saved or at.parquet_files()
        self._groups: list[tuple[Path, int]] = []
        sizes: list[int] = []
        for path in self._paths:
            counts = saved.sizes(path) if self._saved else _sizes(path)
            self._groups += [(path, group) for group in range(len(counts))]
            sizes += counts
        self._starts = [0, *accumulate(sizes)]
        self._cache: OrderedDict[int, pa.Table] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def scan(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """These columns of every row, in order; `PATHS` reads the names of pictures without the pictures."""
        for path in self._saved:
            yield from saved.scan(path, columns)
        for path in () if self._saved else self._paths:
            with _opened(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                    yield from batch.to_pylist()

    def tables(self) -> Iterator[pa.Table]:
        """Every row group, in order: some hundred rows with their pictures."""
        for path, group in self._groups:
            yield self._read(path, group)

    def take(self, rows: Sequence[int]) -> pa.Table:
        """Whole rows by number, in the given order. Fast where they are close together."""
        pieces: list[pa.Table] = []
        at = 0
        while at < len(rows):
            group = bisect_right(self._starts, rows[at]) - 1
            end = at
            while end < len(rows) and self._starts[group] <= rows[end] < self._starts[group + 1]:
                end += 1
            pieces.append(self._group(group).take([row - self._starts[group] for row in rows[at:end]]))
            at = end
        return pa.concat_tables(pieces) if pieces else SCHEMA.empty_table()

    def _group(self, number: int) -> pa.Table:
        if number not in self._cache:
            self._cache[number] = self._read(*self._groups[number])
            if len(self._cache) > _CACHED_GROUPS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(number)
        return self._cache[number]

    def _read(self, path: Path, group: int) -> pa.Table:
        if self._saved:
            return saved.read(path, group)
        with _opened(path) as file:
            return file.read_row_group(group)


def asked(row: Mapping[str, Any]) -> tuple[Turn, ...]:
    """The conversation before the answer, from the column `prompt`."""
    return tuple(
        Turn(turn["role"], tuple(part["text"] if part["type"] == "text" else Slot.IMAGE for part in turn["content"]))
        for turn in row["prompt"]
    )


def loaded_images(row: Mapping[str, Any]) -> tuple[Image, ...]:
    """The images of the prompt, from the columns `images` and `meta`."""
    return _loaded(row, "images")


def rejected_images(row: Mapping[str, Any]) -> tuple[Image, ...]:
    """The rejected images of a pair of pictures, from the columns `rejected_images` and `meta`."""
    return _loaded(row, "rejected_images")


def _loaded(row: Mapping[str, Any], column: str) -> tuple[Image, ...]:
    described = json.loads(row["meta"])[column]
    return tuple(
        Image(image["bytes"], image["path"], known["width"], known["height"])
        for image, known in zip(row[column], described, strict=True)
    )


def _sizes(path: Path) -> list[int]:
    with _opened(path) as file:
        return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]


def _opened(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    except (pa.ArrowException, OSError) as error:
        raise CorruptRun(f"{path} cannot be read: {error}; `prefgen verify` says what is damaged") from error
    if not file.schema_arrow.equals(SCHEMA, check_metadata=True):
        raise UsageError(f"{path} was written by a version of prefgen with other columns: make or import it again")
    return file
