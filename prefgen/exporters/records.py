"""Rows as JSON with pictures as files beside it: what every exporter but TRL's does alike."""

from __future__ import annotations

import hashlib
import json
import os
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefgen.carried import COLUMN, Carried
from prefgen.errors import RowError
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


@dataclass(frozen=True)
class Exported:
    """What was written, and how many rows the format has no place for, by reason."""

    rows: int
    left_out: Mapping[str, int] = field(default_factory=dict)


REJECTED_BY_IMAGE = "REJECTED_BY_IMAGE"


def write_list(stored: Stored, path: Path, record: Record) -> Exported:
    """One JSON list, written row by row; `record` makes a row's object of its columns and its pictures' paths."""
    return _write(stored, path, record, ("[\n", ",\n", "\n]\n"))


def write_lines(stored: Stored, path: Path, record: Record, *, rejected_images: bool = False) -> Exported:
    """JSON Lines, likewise.

    Args:
        rejected_images: the format has a place for them; `record` then gets their paths behind those of the images.
    """
    return _write(stored, path, record, ("", "\n", "\n"), rejected_images=rejected_images)


def rows(stored: Stored, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """These columns of every row, in order, a row group in memory at a time."""
    for table in stored.tables():
        yield from table.select(columns).to_pylist()


def asked(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The conversation before the answer, pictures as tags in the text."""
    return list(row["conversations"][:-1])


def _write(
    stored: Stored, path: Path, record: Record, marks: tuple[str, str, str], *, rejected_images: bool = False
) -> Exported:
    opening, between, closing = marks
    pictures = _Pictures(path.parent / IMAGES)
    left_out: Counter[str] = Counter()
    written = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(opening)
        for row in rows(stored, CARRIED_COLUMNS):
            try:
                if row["rejected_images"] and not rejected_images:
                    raise RowError(REJECTED_BY_IMAGE, "the answers are the same")
                # the names first: a row without a place must leave no picture behind
                shown = [*row["images"], *(row["rejected_images"] or ())]
                names = pictures.names(shown)
                value = record(row, [f"{IMAGES}/{name}" for name in names])
            except RowError as error:
                left_out[error.reason] += 1
                continue
            pictures.save(names, shown)
            value[COLUMN] = Carried.of_row(row).to_json()
            file.write((between if written else "") + json.dumps(value, ensure_ascii=False))
            written += 1
        file.write(closing)
    return Exported(written, dict(left_out))


class _Pictures:
    """A folder of pictures: each content once, under its own name unless another content has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, tuple[str, bytes]] = {}  # name and digest, by name as case-insensitive disks compare it
        folder.mkdir()

    def names(self, images: Sequence[Mapping[str, Any]]) -> list[str]:
        """The file name of each picture."""
        held = ChainMap({}, self._held)  # earlier pictures of the same row count as well
        return [self._name(image, held) for image in images]

    def save(self, names: Sequence[str], images: Sequence[Mapping[str, Any]]) -> None:
        """Write the pictures that are not there yet."""
        for name, image in zip(names, images, strict=True):
            if name.lower() not in self._held:
                self._held[name.lower()] = (name, hashlib.sha256(image["bytes"]).digest())
                (self._folder / name).write_bytes(image["bytes"])

    def _name(self, image: Mapping[str, Any], held: ChainMap[str, tuple[str, bytes]]) -> str:
        digest = hashlib.sha256(image["bytes"]).digest()
        name = image["path"] if _is_safe(image["path"]) else digest.hex()[:16]
        if held.get(name.lower(), (name, digest))[1] != digest:
            stem, suffix = os.path.splitext(name)
            name = f"{stem}-{digest.hex()[:16]}{suffix}"
        return held.setdefault(name.lower(), (name, digest))[0]


def _is_safe(name: str) -> bool:
    """Whether a name from the data can be a file's name."""
    plain = name.isprintable() and not set(name) & set('/\\:*?"<>|')
    return plain and not name.startswith((".", "-", " ")) and 0 < len(name.encode()) <= MAX_NAME_BYTES
