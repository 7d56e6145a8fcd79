"""Checks of rows against a trainer's loader: its rules, and its own code if it is installed.

The rules come from the loaders' code and issues; a trainer of another version may have others. Where the trainer itself
is installed, `prefgen.formats.installed` asks it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from prefgen import sources
from prefgen.errors import RowError, UsageError
from prefgen.formats import IMPORTERS, LOADERS, installed, lengths
from prefgen.formats.base import Loader
from prefgen.images import MAX_PATH_CHARS, shown_otherwise
from prefgen.sources import SourceOptions
from prefgen.sources.row import Row

_ADDRESS = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_DAMAGE = (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError)


@dataclass(frozen=True)
class LoaderProblem:
    """A row that would fail, or whose answer or picture would be cut."""

    row: str
    detail: str


@dataclass(frozen=True)
class CheckResult:
    """Result of a check.

    Attributes:
        problems: by our rules, those of one row together; then by the trainer's own loader, then by length.
        loader: the trainer's version if it is installed here, so that its own loader was run as well; else empty.
        loaded: how many rows that loader was given at most; None is all.
    """

    rows: int
    problems: tuple[LoaderProblem, ...]
    loader: str = ""
    loaded: int | None = None


def check(
    src: Path,
    trainer: str,
    processor: str | None = None,
    max_length: int | None = None,
    loaded: int | None = None,
) -> CheckResult:
    """Apply a loader's rules to every row, and run the trainer's own loader if it is installed.

    Args:
        src: a run, an exported folder, or a file.
        trainer: one of `prefgen.formats.LOADERS`.
        processor: model whose processor counts tokens; None leaves lengths unchecked.
        max_length: the limit for them; None is the trainer's own default.
        loaded: first rows that an installed trainer's loader is given; None is all.

    Raises:
        UsageError: `trainer` is unknown, or `src` cannot be read.
        ModelUnreachable: the processor cannot be read.
    """
    if trainer not in LOADERS:
        raise UsageError(f"--with is {trainer!r}; give one of {', '.join(LOADERS)}")
    loader = LOADERS[trainer]
    given = src
    src, columns = loader.find(src)
    number = 0
    problems: list[LoaderProblem] = []
    for file in data_files(src):
        for row in sources.rows(str(file), SourceOptions()):
            number += 1
            pictures = _pictures(row, columns.get("images", "images"), file, trainer)
            found_here = [*_found(row, loader, columns), *pictures]
            problems += [LoaderProblem(_name(file, row), detail) for detail in found_here]
    if not number:
        raise UsageError(f"{src} has no rows")
    version = installed.version(loader)
    if version is not None:
        with redirect_stdout(sys.stderr):  # trainers print
            found = list(installed.broken(loader, src, data_files(src), columns, processor, loaded))
        problems += [LoaderProblem(row, f"{trainer} {version}: {detail}") for row, detail in found]
    if processor is not None:
        inputs = [given] if columns else data_files(src)  # what names its columns lies beside the data
        problems += _too_long(inputs, trainer, processor, lengths.limit(trainer, max_length))
    return CheckResult(number, tuple(problems), version or "", loaded)


def data_files(src: Path) -> list[Path]:
    """The files that a trainer reads of `src`: the file itself, or those in the folder, ``data/`` first.

    Raises:
        UsageError: there is none.
    """
    if src.is_file() or (src / "state.json").is_file() or (src / "dataset_dict.json").is_file():
        return [src]  # a file, or what `save_to_disk` wrote, which is read as a whole
    for folder in (src / "data", src):
        for kind in ("*.parquet", "*.jsonl", "train.json"):
            found = sorted(folder.glob(kind))
            if found:
                return found
    raise UsageError(f"{src} holds no Parquet file, no JSON Lines and no train.json: give the file")


def _too_long(inputs: list[Path], trainer: str, processor: str, max_length: int) -> Iterator[LoaderProblem]:
    measure = lengths.Lengths.load(processor).measure
    for path in inputs:
        for cut in lengths.cuts(path, IMPORTERS[trainer](), max_length, measure):
            yield LoaderProblem(f"{path.name} {cut.row}", cut.detail)


def _found(row: Row, loader: Loader, names: Mapping[str, str]) -> Iterator[str]:
    if isinstance(row.columns, RowError):
        yield str(row.columns)
        return
    columns = row.columns
    yield from loader.problems({role: columns.get(name) for role, name in names.items()} if names else columns)


def _pictures(row: Row, column: str, file: Path, trainer: str) -> Iterator[str]:
    """Pictures that do not exist relative to the row's file, its parent or here; and those shown differently."""
    columns = row.columns if isinstance(row.columns, dict) else {}
    for name in dict.fromkeys((column, "image", "rejected_images")):
        value = columns.get(name)
        pictures = value if isinstance(value, list) else [value]
        paths = [_path(picture) for picture in pictures]
        places = [_place(path, file) if path else None for path in paths]
        lost = [path for path, place in zip(paths, places, strict=True) if path and not place]
        if lost:
            yield f"{len(lost)} of {len(paths)} {name} do not exist, e.g. {lost[0][:200]}"
        for number, (picture, place) in enumerate(zip(pictures, places, strict=True), 1):
            data = picture.get("bytes") if isinstance(picture, Mapping) else None
            shown = _shown(data if isinstance(data, bytes) else place, trainer)
            if shown:
                yield f"{name} {number}{f' ({place.name})' if place else ''}: {shown}"


def _shown(picture: bytes | Path | None, trainer: str) -> str:
    """The difference between a picture as the trainer and as prefgen's engines show it, or its fault; empty if neither.

    Trainers open a picture and convert it to RGB. That drops transparency where prefgen composes it onto white, and
    clips 16-bit grey where prefgen scales it; some also leave an EXIF orientation unheeded (`Loader.turns_pictures`).
    What prefgen stores and exports is what it showed, so that such pictures are only found in the data of others. A
    processor of some models composes transparency itself, in a colour of its own.
    """
    if picture is None:
        return ""
    try:
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        found = shown_otherwise(data, turned=LOADERS[trainer].turns_pictures)
    except _DAMAGE as error:
        return f"cannot be read as a picture: {str(error)[:100]}"
    return (
        f"{trainer} shows other pixels than prefgen's engines ({found}); an import stores what they show"
        if found
        else ""
    )


def _path(picture: object) -> str | None:
    if isinstance(picture, Mapping) and not picture.get("bytes"):
        picture = picture.get("path") or picture.get("url")
    if not isinstance(picture, str) or len(picture) > MAX_PATH_CHARS or _ADDRESS.match(picture):
        return None
    return picture


def _place(path: str, file: Path) -> Path | None:
    candidates = (Path(folder, path) for folder in (file.parent, file.parent.parent, "."))
    try:
        return next((candidate for candidate in candidates if candidate.is_file()), None)
    except (OSError, ValueError):  # a name that is too long, or holds a null
        return None


def _name(file: Path, row: Row) -> str:
    own = row.columns.get("id") if isinstance(row.columns, dict) else None
    return f"{file.name} {row.where}" + (f" (id {own})" if isinstance(own, (str, int)) else "")
