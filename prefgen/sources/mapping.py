"""Renaming of columns (``--columns question=problem``) and speakers (``--roles user=Human``), with suggestions.

A row's columns are renamed before anything else reads them, so that every reader and importer has these options.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import PurePath
from typing import Any, cast, get_args

from prefgen.errors import RowError, UsageError
from prefgen.records import Role
from prefgen.sources.row import Row

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_NO_TEXTS = (
    "id",
    "source",
    "url",
    "license",
    "licence",
    "split",
    "type",
    "category",
)  # strings that are no question or answer


@lru_cache(maxsize=8)
def parse_columns(given: str) -> dict[str, str]:
    """Column names of the input by prefgen's name; an empty one is left out.

    Raises:
        UsageError: `given` is not ``name=column,…``, or gives a name twice.
    """
    names: dict[str, str] = {}
    for name, column in _pairs("--columns", given, "question=problem,answer=solution"):
        if name in names:
            raise UsageError(f"--columns has {name} twice: {name}={names[name]} and {name}={column}")
        names[name] = column
    return names


@lru_cache(maxsize=8)
def parse_roles(given: str) -> dict[str, Role]:
    """Roles by the speaker's name in lower case.

    Raises:
        UsageError: `given` is not ``role=speaker,…``, or the role is none.
    """
    roles: dict[str, Role] = {}
    for role, speaker in _pairs("--roles", given, "user=Human,assistant=Bot"):
        if role not in get_args(Role) or not speaker:
            raise UsageError(f"--roles {role}={speaker}: give one of {', '.join(get_args(Role))} and a speaker's name")
        roles[speaker.lower()] = cast("Role", role)
    return roles


def _pairs(option: str, given: str, example: str) -> Iterator[tuple[str, str]]:
    for part in filter(str.strip, given.split(",")):
        left, sign, right = (piece.strip() for piece in part.partition("="))
        if not sign or not left:
            raise UsageError(f"{option} {given!r}: {part.strip()!r} should be like {example}")
        yield left, right


def renamed(rows: Iterable[Row], columns: str, roles: str, *, complete: bool = True) -> Iterator[Row]:
    """Rows with the column and speaker names that prefgen knows.

    Args:
        complete: whether these are all rows of an input.

    Raises:
        UsageError: a column is in no row of all.
    """
    if not columns and not roles:
        yield from rows
        return
    names, speakers = parse_columns(columns), parse_roles(roles)
    lacking = {column for column in names.values() if column}
    found: Sequence[str] = ()
    for row in rows:
        if isinstance(row.columns, RowError):
            yield row
            continue
        found = found or list(map(str, row.columns))
        lacking -= {column for column in lacking if _at(row.columns, column) is not _ABSENT}
        values = _with_names(row.columns, names)
        yield replace(
            row, columns={name: _with_roles(value, speakers) for name, value in values.items()} if roles else values
        )
    if lacking and found and complete:
        column = min(lacking)
        close = get_close_matches(column, found, n=1)
        hint = f"is it {close[0]}?" if close else f"the first row has {', '.join(found)[:300]}"
        raise UsageError(f"--columns: no row has a column {column!r}; {hint}")


_ABSENT = object()


def _at(columns: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or of ``column.key.key`` or ``column.0`` inside it."""
    if path in columns:
        return columns[path]
    value: Any = columns
    for key in path.split("."):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return _ABSENT
    return value


def _with_names(columns: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The columns renamed. A column whose name is given to another is kept as ``source_NAME``."""
    moved = {name: value for name, column in names.items() if column and (value := _at(columns, column)) is not _ABSENT}
    left = set(names.values())
    kept = {name: value for name, value in columns.items() if name not in left and names.get(name) != ""}
    displaced = {f"source_{name}": kept.pop(name) for name in moved if name in kept}
    return {**kept, **displaced, **moved}


def _with_roles(value: Any, roles: Mapping[str, Role]) -> Any:
    """A column of messages with the speakers replaced by their roles."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", '{"'):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return value
    if isinstance(value, list):
        return [_with_roles(item, roles) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _role(item, roles) if key in ("from", "role") else item for key, item in value.items()}


def _role(speaker: Any, roles: Mapping[str, Role]) -> Any:
    if isinstance(speaker, list):  # of an object of lists
        return [_role(one, roles) for one in speaker]
    return roles.get(speaker.strip().lower(), speaker) if isinstance(speaker, str) else speaker


def suggest_roles(speakers: Sequence[str], known: Mapping[str, Role]) -> str:
    """The `--roles` option for unknown speakers, in the order in which they speak: user, then assistant."""
    taken = [known[speaker.strip().lower()] for speaker in speakers if speaker.strip().lower() in known]
    roles = []
    for speaker in dict.fromkeys(speakers):
        if speaker.strip().lower() not in known:
            role: Role = "assistant" if "user" in taken else "user"
            taken.append(role)
            roles.append(f"{role}={speaker.strip()}")
    return f"--roles '{','.join(roles)[:200]}'"


def suggest_columns(columns: Mapping[str, Any], known: Iterable[str]) -> str:
    """The `--columns` option for unknown columns, guessed from their values; empty if nothing fits."""
    known = set(known)
    guessed: dict[str, str] = {}
    texts = []
    for name, value in columns.items():
        if looks_like_image(value):
            if name not in known:
                guessed.setdefault("image", name)
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            guessed.setdefault("messages", name)
        elif isinstance(value, str) and value.strip() and name.lower() not in _NO_TEXTS and not name.endswith("_id"):
            texts.append(name)
    if "messages" not in guessed and texts:
        guessed |= dict(zip(("question", "answer"), texts, strict=False)) if len(texts) > 1 else {"answer": texts[0]}
    return (
        "--columns " + ",".join(f"{name}={column}" for name, column in guessed.items() if name != column)
        if guessed
        else ""
    )


def looks_like_image(value: object) -> bool:
    """True if a value looks like a picture: bytes, or a path with the extension of one, or a list of these."""
    if isinstance(value, list):
        return bool(value) and all(looks_like_image(item) for item in value)
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes) or looks_like_image(value.get("path"))
    if isinstance(value, str):
        return PurePath(value.strip().replace("\\", "/")).suffix.lower() in _IMAGE_SUFFIXES
    return isinstance(value, bytes)
