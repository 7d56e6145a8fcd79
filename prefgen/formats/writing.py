"""Writing of rows as JSON with pictures as files: the code shared by most exporters."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefgen.errors import RowError
from prefgen.formats.base import Exported, by_answer
from prefgen.formats.roundtrip_column import COLUMN, Carried
from prefgen.rundir.reader import Stored

IMAGES = "images"
MAX_NAME_BYTES = 180
CARRIED_COLUMNS = (
    "images",
    "rejected_images",
    "conversations",
    "chosen_response",
    "rejected_response",
    "method",
    "variant",
    "flags",
    "source",
    "source_id",
    "licence",
    "turn",
    "model",
    "meta",
)

Record = Callable[[Mapping[str, Any], list[str]], dict[str, Any]]
Place = Callable[[Mapping[str, Any]], None]


def write_list(stored: Stored, path: Path, record: Record, place: Place = by_answer) -> Exported:
    """Write one JSON list, row by row; `record` makes an object of a row's columns and picture paths.

    The paths of rejected pictures follow those of the others.
    """
    return _write(stored, path, record, place, ("[\n", ",\n", "\n]\n"))


def write_lines(stored: Stored, path: Path, record: Record, place: Place = by_answer) -> Exported:
    """Write JSON Lines; arguments as for `write_list`."""
    return _write(stored, path, record, place, ("", "\n", "\n"))


def rows(stored: Stored, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """These columns of every row, in order, with one row group in memory."""
    for table in stored.tables():
        yield from table.select(columns).to_pylist()


def asked(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The conversation before the answer, pictures as tags in the text."""
    return list(row["conversations"][:-1])


def _write(stored: Stored, path: Path, record: Record, place: Place, marks: tuple[str, str, str]) -> Exported:
    opening, between, closing = marks
    pictures = _Pictures(path.parent / IMAGES)
    left_out: Counter[str] = Counter()
    written = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(opening)
        for row in rows(stored, CARRIED_COLUMNS):
            try:
                place(row)
            except RowError as error:
                left_out[error.reason] += 1
                continue
            names = pictures.save([*row["images"], *(row["rejected_images"] or ())])
            value = record(row, [f"{IMAGES}/{name}" for name in names])
            value[COLUMN] = Carried.of_row(row).to_json()
            file.write((between if written else "") + json.dumps(value, ensure_ascii=False))
            written += 1
        file.write(closing)
    return Exported(written, dict(left_out))


class _Pictures:
    """A folder of pictures: each content once, under its own name unless that is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, tuple[str, bytes]] = {}  # name and digest, by name as case-insensitive disks compare it
        folder.mkdir()

    def save(self, images: Sequence[Mapping[str, Any]]) -> list[str]:
        """The file name of each picture; new ones are written."""
        return [self._saved(image) for image in images]

    def _saved(self, image: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(image["bytes"]).digest()
        name = image["path"] if _is_safe(image["path"]) else digest.hex()[:16]
        if self._held.get(name.lower(), (name, digest))[1] != digest:
            stem, suffix = os.path.splitext(name)
            name = f"{stem}-{digest.hex()[:16]}{suffix}"
        if name.lower() not in self._held:
            self._held[name.lower()] = (name, digest)
            (self._folder / name).write_bytes(image["bytes"])
        return self._held[name.lower()][0]


def _is_safe(name: str) -> bool:
    """True if a name from the data is a safe file name."""
    plain = name.isprintable() and not set(name) & set('/\\:*?"<>|')
    return plain and not name.startswith((".", "-", " ")) and 0 < len(name.encode()) <= MAX_NAME_BYTES
