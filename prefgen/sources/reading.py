"""Reading of an input: finds it, streams its rows, makes samples, drops duplicates, takes a subset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from prefgen.errors import UsageError
from prefgen.records import Dropped, Sample
from prefgen.remote import File, RemoteFile
from prefgen.sources.columns import outcomes
from prefgen.sources.csv_rows import CSV_SUFFIXES, read_csv
from prefgen.sources.dataset_rows import hub_commit, read_folder, read_hub
from prefgen.sources.drawing import drawn
from prefgen.sources.finding import HubSet, Inputs, Source, find, label, shown, source_name, unreadable
from prefgen.sources.folder_rows import row_files
from prefgen.sources.json_rows import read_json, whole_object
from prefgen.sources.mapping import renamed
from prefgen.sources.meta_rows import annotation_files, is_meta
from prefgen.sources.options import SourceOptions
from prefgen.sources.parquet_rows import read_parquet
from prefgen.sources.reasons import Reasons, listed, note
from prefgen.sources.row import Row, Skip
from prefgen.sources.tar_rows import read_tar


@dataclass
class Position:
    """A position in an input, between two outcomes.

    Attributes:
        rows: rows of the input before the one that the next outcome is of.
        given: outcomes of that row before it.
        number: all outcomes before it.
        repeats: numbers of the outcomes that repeat an earlier sample, if an earlier reading has found them; None to
            find them.
    """

    rows: int = 0
    given: int = 0
    number: int = 0
    repeats: frozenset[int] | None = field(default=None, repr=False)


def read(input: Inputs, options: SourceOptions, position: Position | None = None) -> Iterator[Sample | Dropped]:
    """The samples of an input in a fixed order, streamed, with a `Dropped` for every row that gives none.

    Args:
        input: a JSON list, JSON Lines or Parquet file or a tar shard (recognised by content; gzip and Zstandard too), a
            ``.csv`` or ``.tsv`` table, here or at an address; a folder that `datasets` opens, or the id of a Hub data
            set (``owner/name``); patterns of such names (``part-*.jsonl``), or several of all these.
        position: of the first outcome, if that is not the input's first; moves along with reading. Ignored where rows
            are drawn (`SourceOptions.sample`).

    Raises:
        UsageError: the input as a whole cannot be used; the message starts with a code word such as ``INPUT_NOT_FOUND``
            and names file, place and remedy. Errors late in a file are raised when reading gets there.
        StoreUnreachable: the network fails.
    """
    if options.sample is not None:
        return islice(_drawn(input, options, options.sample), options.limit)
    position = position or Position()
    rest = None if options.limit is None else max(options.limit - position.number, 0)
    return islice(_outcomes(input, options, position), rest)


def _drawn(input: Inputs, options: SourceOptions, count: int) -> Iterator[Sample | Dropped]:
    """Samples drawn at random; if there are none, the dropped rows with their reasons."""
    found = drawn(lambda: _outcomes(input, options, Position()), _sample_id, count, options.seed)
    first = next(found, None)
    if first is None:
        yield from _outcomes(input, options, Position())
    else:
        yield first
        yield from found


def _sample_id(outcome: Sample | Dropped) -> str | None:
    return outcome.id if isinstance(outcome, Sample) else None


def fingerprint(input: Inputs, options: SourceOptions) -> str:
    """A string that changes with the input.

    SHA-256 of a local file's bytes, of a folder's files of rows, or of the names and digests of all files that are not
    hidden where `datasets` opens the folder; the commit of a Hub set; address, tag (or digest, or time) and size of a
    file at an address; a digest of all these where there are several inputs.

    Raises:
        UsageError: ``INPUT_NOT_FOUND``, ``INPUT_UNREADABLE``.
        StoreUnreachable: the network fails.
    """
    found = find(input, options.allow_urls)
    if len(found) == 1:
        return _identity(found[0], options)
    whole = hashlib.sha256()
    for source in found:
        whole.update(f"{source}\0{_identity(source, options)}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{whole.hexdigest()}"


def _identity(source: Source, options: SourceOptions) -> str:
    if isinstance(source, HubSet):
        return hub_commit(source.name, options)
    try:
        if isinstance(source, Path) and not source.is_file():
            return _folder_digest(source, options)
        meta = whole_object(source) if _reader(source) is read_json else None
        if not is_meta(meta):
            return _digest(source)
        digests = [_digest(file).removeprefix("sha256:") for file in (source, *annotation_files(source, meta or {}))]
    except OSError as error:
        raise unreadable(source, error) from error
    return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"


def _folder_digest(folder: Path, options: SourceOptions) -> str:
    whole = hashlib.sha256()
    if files := row_files(folder, options.split):
        whole.update(" ".join(map(_sha256, files)).encode())
        return f"sha256:{whole.hexdigest()}"
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            whole.update(f"{name.as_posix()}\0{_sha256(file)}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{whole.hexdigest()}"


def _digest(file: File) -> str:
    return f"sha256:{_sha256(file)}" if isinstance(file, Path) else f"{file} {file.state()}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _outcomes(input: Inputs, options: SourceOptions, position: Position) -> Iterator[Sample | Dropped]:
    """Every outcome from `position` on, which moves along; duplicates dropped."""
    first, given = position.rows, position.given
    number = first
    seen: set[int] = set()  # ids of samples
    reasons: Reasons = {}
    shapeless = not position.number  # no row has had a shape that prefgen knows
    for number, row in enumerate(rows(input, options, first), first + 1):
        position.rows = number - 1
        for position.given, outcome in enumerate(outcomes(row, row.source, options)):
            if number == first + 1 and position.given < given:
                continue
            if isinstance(outcome, Sample) and _repeats(outcome, position, seen):
                outcome = Dropped(
                    "DUPLICATE",
                    f"{row.where}: the same images, prompt and answer are in an earlier row",
                    row.source,
                    outcome.source_id,
                    id=outcome.id,
                    turn=outcome.turn,
                )
            if isinstance(outcome, Dropped):
                note(reasons, outcome)
            shapeless = shapeless and isinstance(outcome, Dropped) and outcome.reason in ("ROW_SHAPE", "JSON_SYNTAX")
            yield outcome
            position.number += 1
    if number == 0:
        raise UsageError(f"INPUT_EMPTY: {shown(input)} has no rows")
    if shapeless:
        raise UsageError(
            f"SCHEMA: none of the {number:,} rows of {shown(input)} can be used:\n{listed(reasons)}\n"
            "`prefgen guide data-in` lists the columns that are understood"
        )


def _repeats(sample: Sample, position: Position, seen: set[int]) -> bool:
    """True if an earlier row is the same sample."""
    if position.repeats is not None:
        return position.number in position.repeats
    key = int(sample.id, 16)
    if key in seen:
        return True
    seen.add(key)
    return False


def rows(input: Inputs, options: SourceOptions, first: int = 0) -> Iterator[Row]:
    """The rows of an input, columns renamed by `options` but not interpreted.

    Args:
        first: number of the first row that is given, from 0; those before it are passed over.

    Raises:
        UsageError: as `read`.
    """
    return renamed(_rows(input, options, Skip(first)), options.columns, options.roles, complete=not first)


def _rows(input: Inputs, options: SourceOptions, skip: Skip) -> Iterator[Row]:
    """Rows with their source, which `where` names as well if there are several."""
    found = find(input, options.allow_urls)
    for source in found:
        unique, name = label(source, found), source_name(source)
        for row in _rows_of(source, options, skip):
            where = row.where if len(found) == 1 else f"{unique}, {row.where}"
            yield Row(where, row.columns, name)


def _rows_of(source: Source, options: SourceOptions, skip: Skip) -> Iterator[Row]:
    if isinstance(source, HubSet):
        yield from _passed(read_hub(source.name, options), skip)
        return
    if isinstance(source, Path) and source.is_dir():
        files = row_files(source, options.split)
        for file in files:
            for row in _of_file(file, skip):
                yield row if len(files) == 1 else replace(row, where=f"{file.relative_to(source)}, {row.where}")
        if not files:
            yield from _passed(read_folder(source, options), skip)
        return
    if not source.is_file():
        raise UsageError(f"INPUT_UNREADABLE: {source} is neither a regular file nor a folder; save it to a file first")
    yield from _of_file(source, skip)


def _passed(rows: Iterable[Row], skip: Skip) -> Iterator[Row]:
    """The rows without the first ones."""
    return (row for row in rows if not skip.one())


def _of_file(source: File, skip: Skip) -> Iterator[Row]:
    try:
        before = _version(source)
        yield from _reader(source)(source, skip)
        after = _version(source)
    except OSError as error:
        raise unreadable(source, error) from error
    if before != after:
        raise UsageError(f"INPUT_CHANGED: {source} was written to while it was read; start again when it is complete")


def _version(file: File) -> object:
    if isinstance(file, RemoteFile):
        return file.state()
    state = file.stat()
    return state.st_size, state.st_mtime_ns


def _reader(path: File) -> Callable[[File, Skip], Iterator[Row]]:
    """The reader of a file, chosen by its content or, for text tables, by its name."""
    with path.open("rb") as file:
        magic = file.read(262)
    if not magic:
        raise UsageError(f"INPUT_EMPTY: {path} has 0 bytes")
    if magic.startswith(b"PAR1") or path.suffix == ".parquet":
        return read_parquet
    if magic[257:262] == b"ustar" or path.name.lower().endswith((".tar", ".tar.gz", ".tgz")):
        return read_tar
    if any(suffix.lower() in CSV_SUFFIXES for suffix in path.suffixes[-2:]):
        return read_csv
    return read_json
