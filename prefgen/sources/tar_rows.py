"""WebDataset tar shards: the members of one key, such as ``000.jpg`` and ``000.json``, are a row."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from prefgen.errors import RowError, UsageError
from prefgen.images import DEFAULT_LIMITS
from prefgen.remote import File
from prefgen.sources.row import Row, Skip

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def read_tar(path: File, skip: Skip | None = None) -> Iterator[Row]:
    """The rows of a tar file, compressed or not, in order, without unpacking.

    A ``.json`` member gives the columns, pictures become ``images`` in the order of their names, and a ``.txt`` member
    the column ``caption``.

    Args:
        skip: the first rows, which are passed over.

    Raises:
        UsageError: ``INPUT_UNREADABLE``.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            members = ((_key(member.name), member, archive) for member in archive if member.isfile())
            for key, group in groupby(members, lambda item: item[0]):
                if not (skip and skip.one()):
                    yield _row(key, group)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UsageError(f"INPUT_UNREADABLE: {path} is a damaged tar file: {error}; download it again") from error


def _key(name: str) -> str:
    """A member's name up to the first dot of its base name, as WebDataset groups them."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))


def _row(key: str, group: Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]) -> Row:
    columns: dict[str, Any] = {}
    pictures: dict[str, bytes] = {}
    fault: RowError | None = None
    for _, member, archive in group:
        suffix = PurePosixPath(member.name).suffix.lower()
        if suffix not in (*_PICTURES, ".json", ".txt"):
            continue
        stream = archive.extractfile(member)
        if member.size > DEFAULT_LIMITS.max_bytes or stream is None:
            fault = RowError("IMG_SIZE", f"{member.name} has {member.size:,} bytes")
            continue
        content = stream.read()
        if suffix in _PICTURES:
            pictures[member.name] = content
            continue
        try:
            value = json.loads(content) if suffix == ".json" else {"caption": content.decode()}
        except (ValueError, RecursionError) as error:
            fault = RowError("JSON_SYNTAX", f"{member.name}: {str(error)[:100]}")
            continue
        if isinstance(value, dict):
            columns |= value
        else:
            fault = RowError("ROW_SHAPE", f"{member.name}: an object is expected, found {type(value).__name__}")
    if pictures:  # what the JSON says of them is a path or address outside the archive
        columns = {"images": [{"bytes": pictures[name], "path": name} for name in sorted(pictures)]} | {
            name: value for name, value in columns.items() if name not in ("image", "images", "url")
        }
    return Row(f"member {key}", fault or columns)
