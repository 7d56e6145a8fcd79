"""All rows of a data set: scalar columns in memory, other columns read on demand."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prefgen.errors import UsageError
from prefgen.linting.pairs import edit_share
from prefgen.rundir.layout import Layout

SORTS = ("row", "similarity", "iteration", "length", "edit")
_SCALARS = ["id", "similarity", "iteration", "method", "variant", "source", "licence", "chosen_chars", "rejected_chars"]
_SHOWN = [*_SCALARS, "prompt", "chosen_response", "rejected_response", "spans", "swaps", "flags", "image_tokens"]
_SHOWN += ["kept_image_tokens", "source_id", "model", "meta"]
_SEARCHED = ["id", "source_id", "instruction", "chosen_response", "rejected_response"]
_IMAGES = ["images", "rejected_images"]
_IMAGE_NAMES = [f"{column}.list.element.path" for column in _IMAGES]
_ROWS_AT_ONCE = 5000


@dataclass(frozen=True)
class Query:
    """Filter and order of rows. An empty string or None means no condition.

    Attributes:
        search: part of a text, id or source id, in any case.
        iteration: as text, ``1``, or empty.
        flag, method, source, licence: to have.
        vote: ``good``, ``bad`` or ``tie``; ``any``: with a vote, ``none``: without one.
        low, high: range of the similarity; rows without one are outside of any range.
        sort: one of `SORTS`; ``length`` is that of the rejected answer by that of the chosen one.
    """

    search: str = ""
    flag: str = ""
    method: str = ""
    iteration: str = ""
    source: str = ""
    licence: str = ""
    vote: str = ""
    low: float | None = None
    high: float | None = None
    sort: str = "row"
    descending: bool = False


@dataclass(frozen=True)
class _RowGroup:
    """A Parquet row group, read as a whole. `start` is the position of its first row."""

    path: Path
    number: int
    start: int


class Collection:
    """The rows of a data set by position. Thread-safe.

    Raises:
        UsageError: if there are no rows, or the columns are not prefgen's.
    """

    def __init__(self, out: Path) -> None:
        self._groups: list[_RowGroup] = []
        self.rows = 0
        for path in Layout(out).parquet_files():
            metadata = pq.read_metadata(path)
            missing = {*_SHOWN, *_IMAGES} - {*metadata.schema.to_arrow_schema().names}
            if missing:
                raise UsageError(f"{path} has no column {', '.join(sorted(missing))}: import the data set first")
            for number in range(metadata.num_row_groups):
                self._groups.append(_RowGroup(path, number, self.rows))
                self.rows += metadata.row_group(number).num_rows
        if not self.rows:
            raise Layout(out).no_pairs()
        self.index = pa.Table.from_batches(self._index())
        self.flags: list[str] = sorted(pc.unique(pc.list_flatten(self.index["flags"])).to_pylist())
        self.methods: list[str] = sorted(pc.unique(self.index["method"]).to_pylist())
        self.sources: list[str] = sorted(pc.unique(self.index["source"]).to_pylist())
        self.licences: list[str] = sorted(pc.unique(self.index["licence"]).to_pylist())
        self.iterations: list[int] = sorted(pc.unique(self.index["iteration"]).to_pylist())
        self._starts = [group.start for group in self._groups]
        self._lock = threading.Lock()
        # Cached per collection; a group holds at most 100 rows, or 64 MB of pictures.
        self._texts = lru_cache(maxsize=64)(self._read_texts)
        self._images = lru_cache(maxsize=3)(self._read_images)
        self._found = lru_cache(maxsize=8)(self._search)

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for path in dict.fromkeys(group.path for group in self._groups):
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns)

    def _index(self) -> Iterator[pa.RecordBatch]:
        texts = ["spans", "chosen_response", "rejected_response"]
        for batch in self._batches([*_SCALARS, "flags", *texts]):
            edits = [
                edit_share(chosen, rejected, tuple((span["start"], span["end"]) for span in spans))
                for spans, chosen, rejected in zip(*(batch[name].to_pylist() for name in texts), strict=True)
            ]
            lengths = pc.divide(
                batch["rejected_chars"].cast(pa.float32()),
                pc.max_element_wise(batch["chosen_chars"].cast(pa.float32()), pa.scalar(1, pa.float32())),
            )
            kept = batch.select([*_SCALARS, "flags"])
            yield kept.append_column("edit", pa.array(edits, pa.float32())).append_column("length", lengths)

    def select(self, query: Query, votes: Mapping[str, str] | None = None) -> npt.NDArray[np.int64]:
        """Positions of the matching rows in the requested order; the sort is stable.

        Args:
            votes: the vote about each row id.

        Raises:
            UsageError: for an unknown sort.
        """
        if query.sort not in SORTS:
            raise UsageError(f"sort {query.sort!r} is unknown; choose from {', '.join(SORTS)}")
        wanted = np.ones(self.rows, dtype=bool)
        if query.search:
            wanted &= self._found(query.search)
        for name, value in (("method", query.method), ("source", query.source), ("licence", query.licence)):
            if value:
                wanted &= _numpy(pc.equal(self.index[name], value))
        if query.vote:
            cast = votes or {}
            given = [row for row, vote in cast.items() if query.vote in (vote, "any", "none")]
            voted = _numpy(pc.is_in(self.index["id"], pa.array(given, pa.string())))
            wanted &= ~voted if query.vote == "none" else voted
        if query.iteration:
            wanted &= _numpy(pc.equal(self.index["iteration"].cast(pa.string()), query.iteration))
        if query.flag:
            wanted &= np.array([query.flag in flags for flags in self.index["flags"].to_pylist()])
        for bound, compare in ((query.low, pc.greater_equal), (query.high, pc.less_equal)):
            if bound is not None:
                wanted &= _numpy(compare(self.index["similarity"], pa.scalar(bound, pa.float32())))
        positions = np.flatnonzero(wanted)
        if query.sort != "row":
            keys = self.index[query.sort].take(pa.array(positions)).to_numpy().astype(np.float64)
            missing = np.where(np.isnan(keys), np.inf, -keys if query.descending else keys)  # at the end either way
            return positions[np.argsort(missing, kind="stable")]
        return positions[::-1] if query.descending else positions

    def page_of(self, row_id: str, positions: npt.NDArray[np.int64], count: int) -> int:
        """Start of the page of `count` of these rows that contains a row; -1 if none does."""
        place = pc.index(self.index["id"], row_id).as_py()
        found = np.flatnonzero(positions == place)
        return int(found[0]) // count * count if place >= 0 and len(found) else -1

    def _search(self, text: str) -> npt.NDArray[np.bool_]:
        found = []
        for batch in self._batches(_SEARCHED):
            hits = [_numpy(pc.match_substring(batch[name], text, ignore_case=True)) for name in _SEARCHED]
            found.append(np.logical_or.reduce(hits))
        return np.concatenate(found)

    def row(self, position: int) -> dict[str, Any]:
        """The shown columns of a row; of images only the names."""
        return self._one(position, self._texts)

    def images(self, position: int) -> list[dict[str, Any]]:
        """The encoded images of a row, ``bytes`` and ``path`` each, rejected ones last."""
        return shown_images(self._one(position, self._images))

    def _one(self, position: int, read: Any) -> dict[str, Any]:
        """One row of the group that `read` reads. Concurrent readers of a group share one read."""
        if not 0 <= position < self.rows:
            raise IndexError(f"row {position} of {self.rows}")
        place = bisect.bisect_right(self._starts, position) - 1
        with self._lock:
            table = read(place)
        row: dict[str, Any] = table.slice(position - self._starts[place], 1).to_pylist()[0]
        return row

    def _read_texts(self, place: int) -> pa.Table:
        return self._read(place, [*_SHOWN, *_IMAGE_NAMES])

    def _read_images(self, place: int) -> pa.Table:
        return self._read(place, _IMAGES)

    def _read(self, place: int, columns: list[str]) -> pa.Table:
        group = self._groups[place]
        with pq.ParquetFile(group.path) as file:
            return file.read_row_group(group.number, columns=columns)


def shown_images(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row's images, followed by its rejected images."""
    return [*row["images"], *(row["rejected_images"] or ())]


def _numpy(condition: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """A condition as booleans; null is False."""
    values: npt.NDArray[np.bool_] = np.asarray(pc.fill_null(condition, False))
    return values
