"""Folders with row files and pictures.

`datasets` takes the pictures of such a folder for its rows unless a file is called ``metadata`` or by its split.
"""

from __future__ import annotations

import re
from pathlib import Path

from prefgen.errors import UsageError

_ROWS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
_OPENED_BY_DATASETS = ("metadata.jsonl", "metadata.csv", "metadata.parquet", "dataset_dict.json", "state.json")
_NO_ROWS = ("dataset_info.json", "dataset_infos.json", "config.json", "package.json")
_SPLIT = re.compile(r"(?<![a-z])(?:(train(?:ing)?)|(test(?:ing)?|eval(?:uation)?)|(val(?:id(?:ation)?)?|dev))(?![a-z])")
_SPLITS = ("train", "test", "validation")


def row_files(folder: Path, split: str | None) -> list[Path]:
    """The row files in a folder and in its subfolders named after splits, sorted by name.

    Empty where there are none, or `datasets` opens the folder: it saved it, or there is a ``metadata`` file.

    Args:
        split: None means ``train``, or the only one there is.

    Raises:
        UsageError: the split is not there.
    """
    if any((part / name).is_file() for part in (folder, *_split_folders(folder)) for name in _OPENED_BY_DATASETS):
        return []
    named = [(file.name, file) for file in _files(folder)]
    named = named or [(part.name, file) for part in _split_folders(folder) for file in _files(part)]
    by_split: dict[str, list[Path]] = {}
    for name, file in named:
        by_split.setdefault(_split_of(name) or "train", []).append(file)
    if not by_split:
        return []
    chosen = split or ("train" if "train" in by_split or len(by_split) != 1 else next(iter(by_split)))
    if chosen not in by_split:
        raise UsageError(f"{folder} has no split {chosen!r}; set --split to one of: {', '.join(by_split)}")
    return by_split[chosen]


def _split_folders(folder: Path) -> list[Path]:
    return [part for part in sorted(folder.iterdir()) if _SPLIT.fullmatch(part.name.lower()) and part.is_dir()]


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if _has_rows(file)]


def _has_rows(file: Path) -> bool:
    name = file.name.lower().removesuffix(".gz").removesuffix(".zst")
    return name.endswith(_ROWS) and not name.startswith(".") and name not in _NO_ROWS and file.is_file()


def _split_of(name: str) -> str:
    """The split in the name of a file or folder, or an empty string."""
    match = _SPLIT.search(name.lower())
    return _SPLITS[next(number for number, group in enumerate(match.groups()) if group)] if match else ""
