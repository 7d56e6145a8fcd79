"""Sample pairs of the data-set card: texts and small copies of pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq

from prefgen import images
from prefgen.records import Image
from prefgen.rundir.layout import Layout

SHOWN = 3
_SIDE = 256  # pixels
# What Pillow raises for a picture that a foreign data set brought broken; our own were checked.
_DAMAGE = (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError)
_PLACEHOLDER = PIL.Image.new("RGB", (64, 64), (128, 128, 128))


def rows(out: Path) -> list[dict[str, Any]]:
    """`SHOWN` rows at even distances, or all if there are fewer."""
    paths = Layout(out).parquet_files()  # thousands of them; an open one takes a third of a megabyte
    ends = np.cumsum([pq.read_metadata(path).num_rows for path in paths], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    found = []
    for position in np.unique(np.linspace(0, total - 1, SHOWN).round().astype(int)) if total else ():
        place = int(np.searchsorted(ends, position, side="right"))
        with pq.ParquetFile(paths[place]) as file:
            found.append(_row(file, int(position - ends[place]) + file.metadata.num_rows))
    return found


def _row(file: pq.ParquetFile, number: int) -> dict[str, Any]:
    """A row of a file; reads only its row group."""
    group = 0
    while number >= file.metadata.row_group(group).num_rows:
        number -= file.metadata.row_group(group).num_rows
        group += 1
    row: dict[str, Any] = file.read_row_group(group).slice(number, 1).to_pylist()[0]
    return row


def pictures(out: Path) -> dict[str, bytes]:
    """The pictures of those rows as WebP, by file name."""
    return {
        name(number, place): webp(decoded(image["bytes"], image["path"]), _SIDE)
        for number, row in enumerate(rows(out))
        for place, image in enumerate(row["images"])
    }


def name(number: int, place: int) -> str:
    """File name of a picture: index of the row among the samples, and of the picture in the row."""
    return f"{number + 1}-{place + 1}.webp"


def decoded(data: bytes, path: str) -> PIL.Image.Image:
    """A stored picture; a gray square if it cannot be decoded."""
    try:
        return images.decode(Image(data, path, 0, 0))
    except _DAMAGE:
        return _PLACEHOLDER.copy()


def webp(picture: PIL.Image.Image, side: int) -> bytes:
    """A picture of at most `side` pixels, re-encoded so that no metadata is published."""
    picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=80)
    return file.getvalue()
