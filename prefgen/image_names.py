"""Spellings of image paths, in the order in which they are tried. Opens no file.

A path means one picture. By default (``exact``) a file is that picture only if its place accounts for every folder that
the path names: the path as given, or joined to a folder of images, where folders that the root's own name repeats
may be left off (``./data/coco/x.jpg`` under ``data/coco``); COCO's spellings, whose numbers are unique across splits.
Other ways to write the same name (backslashes, ``%20``, composed or decomposed letters) are tried where nothing has the
name as it is written. ``tail`` also leaves off leading folders as long as one is left, ``name`` all of them; both take
another extension or case where nothing else fits. Where several files fit, none is taken.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote

Match = Literal["exact", "tail", "name"]

COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})\.jpg")
COCO_PREFIXES = ("", "COCO_train2014_", "COCO_val2014_")
COCO_SPLITS = ("train2017/", "train2014/", "val2014/", "val2017/")
COCO_FOLDERS = ("", *(top + split for top in ("", "coco/") for split in COCO_SPLITS))
_COCO_WORDS = {"data", "coco", "mscoco", "coco2014", "coco2017", *(split[:-1] for split in COCO_SPLITS)}
_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

Exists = Callable[[str], bool]


def spellings(path: str) -> list[str]:
    """The path as given, then other spellings of the same name."""
    found = [path]
    slashed = _DRIVE.sub("", path.strip()).replace("\\", "/")
    for base in (slashed, unquote(slashed, errors="surrogateescape")):
        if "\0" not in base:
            found += [base, *(unicodedata.normalize(form, base) for form in ("NFC", "NFD"))]
    return list(dict.fromkeys(found))


def accounted(folder: str, path: str) -> Iterator[str]:
    """Places below a folder that contain every folder of `path`."""
    parts = _parts(path)
    if not parts:
        return
    yield _join(folder, parts)
    for root in dict.fromkeys((folder, _real(folder))):
        above = _parts(root)
        for count in range(1, len(parts)):
            if above[-count:] == parts[:count]:
                yield _join(folder, parts[count:])


def coco(folder: str, path: str, exists: Exists) -> Iterator[str]:
    """COCO's own names for a numbered file, unless the path names a folder that is not COCO's."""
    parts = _parts(path)
    numbered = COCO_NAME.fullmatch(parts[-1]) if parts else None
    if numbered is None or not _COCO_WORDS.issuperset(part.lower() for part in parts[:-1]):
        return
    for directory in COCO_FOLDERS:
        if not directory or exists(f"{folder}/{directory[:-1]}"):
            for prefix in COCO_PREFIXES:
                yield f"{folder}/{directory}{prefix}{numbered[1]}.jpg"


def shortened(folder: str, path: str, match: Match) -> Iterator[str]:
    """Places below a folder without some leading folders of `path`, or with ``name`` without any."""
    parts = _parts(path)
    for start in range(1, len(parts) - (match == "tail")):
        yield _join(folder, parts[start:])


def like(place: str) -> list[str]:
    """Existing files that differ from `place` only in case or extension."""
    stem, extension = os.path.splitext(place.casefold())
    if extension not in EXTENSIONS:
        stem = place.casefold()
    folder = os.path.dirname(place)
    found = []
    for real in [folder] if os.path.isdir(folder) else _folders_like(folder):
        found += [os.path.join(real, name) for name in _stems(real).get(os.path.basename(stem), ())]
    return found


def _folders_like(folder: str) -> list[str]:
    above, name = os.path.split(folder)
    if not name or not os.path.isdir(above):
        return []
    try:
        return [entry.path for entry in os.scandir(above) if entry.name.casefold() == name.casefold()]
    except OSError:
        return []


def _stems(folder: str) -> dict[str, list[str]]:
    try:
        return _listed(folder, os.stat(folder).st_mtime_ns)
    except OSError:  # not a folder, or not ours to read
        return {}


@lru_cache(maxsize=64)
def _listed(folder: str, _changed: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        stem, extension = os.path.splitext(name.casefold())
        if extension in EXTENSIONS:
            found.setdefault(stem, []).append(name)
    return found


@lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _parts(path: str) -> list[str]:
    return [part for part in PurePosixPath(path).parts if part != "/"]


def _join(folder: str, parts: list[str]) -> str:
    return os.path.normpath(os.path.join(folder, *parts))


def distinct(places: list[str]) -> list[str]:
    """The given places without repetitions of one file."""
    if len(places) < 2:
        return places
    return list({os.path.realpath(place): place for place in reversed(places)}.values())[::-1]


def nearest(folders: tuple[Path, ...], path: str) -> str | None:
    """An existing file with the same name in another case or extension, for hints."""
    for folder in folders:
        base = os.path.abspath(folder)
        for spelling in spellings(path):
            for place in accounted(base, spelling):
                if place.startswith(os.path.join(base, "")):
                    for found in like(place):
                        return os.path.relpath(found, base)
    return None
