"""The interface of a format: reader, writer, and the loader of its trainer, each optional."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from prefgen.errors import RowError
from prefgen.records import Dropped, Pair
from prefgen.rundir.reader import Stored
from prefgen.sources import SourceOptions

REJECTED_BY_IMAGE = "REJECTED_BY_IMAGE"


class Importer(Protocol):
    """A reader of pairs: a frozen dataclass with options as fields."""

    name: ClassVar[str]

    def __init__(self, *, licence: str = ..., source: SourceOptions = ...) -> None: ...

    @property
    def licence(self) -> str:
        """Licence of the set."""

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of a file, folder or Hub id, streamed, images not loaded."""


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        left_out: number of rows that the format has no place for, by reason.
        already: whether an earlier call had written it.
    """

    rows: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    already: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Exporter:
    """A writer of a run's rows.

    Attributes:
        write: of a run's rows, a folder to fill and the name of the set.
        place: refuses a row that the format has no place for, by a `RowError`.
        reads: columns that `place` looks at; `PATHS` where their number of pictures is enough.
    """

    write: Callable[[Stored, Path, str], Exported]
    place: Callable[[Mapping[str, Any]], None]
    reads: tuple[str, ...]


def by_answer(row: Mapping[str, Any]) -> None:
    """Refuse a preference between pictures.

    Raises:
        RowError: ``REJECTED_BY_IMAGE``.
    """
    if row["rejected_images"]:
        raise RowError(REJECTED_BY_IMAGE, "the answers are the same")


Attempt = Callable[[Any], None]
"""Loads a `datasets.Dataset` as a trainer would, and raises whatever the trainer raises."""


def _as_given(src: Path) -> tuple[Path, Mapping[str, str]]:
    return src, {}


@dataclass(frozen=True)
class Loader:
    """A trainer's loader of a format: known rules, and its own code if it is installed.

    Attributes:
        problems: what the trainer would stumble over in a row.
        module: to import, by which an installed trainer is found.
        distribution: the package that it is of.
        load: of the folder of the data, the names of its columns and the name of a processor or None.
        max_length: tokens to which the trainer cuts a row by default; None: it has no default.
        turns_pictures: whether an EXIF orientation is applied.
        find: the data that a path means and the names of its columns by those that `problems` knows; empty: the same.
    """

    problems: Callable[[Mapping[str, Any]], Iterator[str]]
    module: str
    distribution: str
    load: Callable[[Path, Mapping[str, str], str | None], Attempt]
    max_length: int | None
    turns_pictures: bool
    find: Callable[[Path], tuple[Path, Mapping[str, str]]] = _as_given


@dataclass(frozen=True)
class Format:
    """A format, with its name in `prefgen import`, ``export --to`` and ``check --with``."""

    name: str
    reader: type[Importer] | None = None
    writer: Exporter | None = None
    loader: Loader | None = None
