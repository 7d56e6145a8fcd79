"""Rows as lint reads them: text columns and descriptions of pictures, not the pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prefgen.errors import UsageError
from prefgen.rundir import saved
from prefgen.rundir.layout import Layout
from prefgen.rundir.reader import Stored
from prefgen.rundir.schema import IMAGE_TAG

_COLUMNS = [
    "id",
    "chosen_response",
    "rejected_response",
    "instruction",
    "similarity",
    "flags",
    "spans",
    "meta",
    "iteration",
]
# Of the columns `images` and `rejected_images`, without their bytes.
_IMAGE_NAMES = ["images.list.element.path", "rejected_images.list.element.path"]
_ROWS_AT_ONCE = 1000
_META_START = '{"images": '  # of the JSON of nearly every row, keys being sorted
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Picture:
    """Size and digest of an image, from its row."""

    sha256: str
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class PairRow:
    """A pair without its pictures.

    Attributes:
        prompt: the last user turn, image tags left out.
        rejected_pictures: those that are rejected in place of `pictures`; empty where the answers differ.
        imported: whether its answers came with it, so that no option of prefgen's made them.
        spans: what was generated, as (start, end) in characters of `rejected`; empty where that was not recorded.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    similarity: float | None
    flags: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    pictures: tuple[Picture, ...]
    rejected_pictures: tuple[Picture, ...] = ()
    imported: bool = False


def read(out: Path) -> Iterator[PairRow]:
    """All rows of a data set, in order.

    Raises:
        UsageError: if a file lacks prefgen's columns.
    """
    if saved.files(out):
        yield from map(_row, Stored(out).scan([*_COLUMNS, *_IMAGE_NAMES]))
        return
    for path in Layout(out).parquet_files():
        with pq.ParquetFile(path) as file:
            missing = [name for name in (*_COLUMNS, "images", "rejected_images") if name not in file.schema_arrow.names]
            if missing:
                raise UsageError(f"{path} has no column {', '.join(missing)}: import the data set first")
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[*_COLUMNS, *_IMAGE_NAMES]):
                yield from map(_row, batch.to_pylist())


def _row(values: Mapping[str, Any]) -> PairRow:
    meta, rejected = values["meta"], values["rejected_images"]
    if meta.startswith(_META_START) and not rejected:  # no more of it is needed
        described, described_rejected = _DECODER.raw_decode(meta, len(_META_START))[0], []
    else:
        known = json.loads(meta)
        described, described_rejected = known.get("images", []), known.get("rejected_images", [])
    return PairRow(
        id=values["id"],
        prompt=values["instruction"].replace(IMAGE_TAG, "").strip(),
        chosen=values["chosen_response"],
        rejected=values["rejected_response"],
        similarity=values["similarity"],
        flags=tuple(values["flags"]),
        spans=tuple((span["start"], span["end"]) for span in values["spans"]),
        pictures=_pictures(values["images"], described),
        imported=values["iteration"] == 0,
        rejected_pictures=_pictures(rejected or [], described_rejected),
    )


def _pictures(images: list[dict[str, str]], described: list[dict[str, Any]]) -> tuple[Picture, ...]:
    return tuple(
        Picture(known["sha256"], image["path"], known["width"], known["height"])
        for image, known in zip(images, described, strict=False)
    )
