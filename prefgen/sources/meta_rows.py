"""InternVL's meta files: annotation files with their image roots and repetitions.

``{"set": {"root": "data/coco/", "annotation": "coco.jsonl", "repeat_time": 1, "length": 1000}}``; MMPR has the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prefgen.errors import RowError, UsageError
from prefgen.remote import File
from prefgen.sources.row import Row

_IMAGE_COLUMNS = ("image", "images")


def is_meta(value: object) -> bool:
    """True if a JSON value has the form of a meta file."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(entry, Mapping) and isinstance(entry.get("annotation"), str) for entry in value.values())
    )


def annotation_files(path: File, meta: Mapping[str, Any]) -> list[File]:
    """The annotation files of a meta file, found as given, beside it, or with its folder as a prefix.

    Raises:
        UsageError: ``INPUT_NOT_FOUND``.
    """
    found: list[File] = []
    for name, entry in meta.items():
        folders = [path.parent, path.parent.parent]
        if isinstance(path, Path):  # a file from elsewhere does not say what is read of this machine
            folders = [path.absolute().parent, path.absolute().parent.parent, Path()]
        candidates: list[File] = [folder / entry["annotation"] for folder in folders]
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            raise UsageError(
                f"INPUT_NOT_FOUND: {path}, entry {name}: the annotation {entry['annotation']} is not there"
            )
        found.append(file)
    return found


def read_meta(path: File, meta: Mapping[str, Any], read: Callable[[File], Iterator[Row]]) -> Iterator[Row]:
    """The rows of all entries, image paths below the entry's root, repeated `repeat_time` times.

    A fraction of `repeat_time` takes that share of the entry's `length`, from its beginning. A repeated row has an id
    of its own (``7#2``), so that each repeat draws anew.

    Raises:
        UsageError: ``INPUT_NOT_FOUND``, ``SCHEMA``.
    """
    for file, (name, entry) in zip(annotation_files(path, meta), meta.items(), strict=True):
        repeats = entry.get("repeat_time", 1)
        if isinstance(repeats, bool) or not isinstance(repeats, (int, float)) or not 0 <= repeats <= 1000:
            raise UsageError(f"SCHEMA: {path}, entry {name}: repeat_time is {repeats!r}; give a number from 0 to 1000")
        whole, rest = int(repeats), repeats - int(repeats)
        share = int(rest * (entry.get("length") or sum(1 for _ in read(file)))) if rest else 0
        for turn in range(1, whole + 2):
            for number, row in enumerate(read(file)):
                if turn > whole and number >= share:
                    break
                yield _placed(row, f"{name}, {row.where}", str(entry.get("root") or ""), turn)


def _placed(row: Row, where: str, root: str, turn: int) -> Row:
    if isinstance(row.columns, RowError):
        return Row(where, row.columns)
    columns = dict(row.columns)
    for name in _IMAGE_COLUMNS:
        value = columns.get(name)
        if isinstance(value, list):
            columns[name] = [_under(root, item) for item in value]
        elif name in columns:
            columns[name] = _under(root, value)
    if turn > 1:
        columns["id"] = f"{columns.get('id', where)}#{turn}"
    return Row(where, columns)


def _under(root: str, image: object) -> object:
    if not (isinstance(image, str) and image and root) or image.startswith("data:") or "://" in image:
        return image
    return str(Path(root) / image)
