"""Reading an input from end to end: find it, stream its rows, make samples, drop duplicates, take the subset wanted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from prefgen.errors import UsageError
from prefgen.records import Dropped, Sample
from prefgen.sources.columns import outcomes
from prefgen.sources.csv_rows import CSV_SUFFIXES, read_csv
from prefgen.sources.dataset_rows import hub_commit, read_folder, read_hub
from prefgen.sources.drawing import drawn
from prefgen.sources.json_rows import read_json, whole_object
from prefgen.sources.mapping import renamed
from prefgen.sources.meta_rows import annotation_files, is_meta
from prefgen.sources.options import SourceOptions
from prefgen.sources.parquet_rows import read_parquet
from prefgen.sources.row import Row
from prefgen.sources.tar_rows import read_tar

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILE_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".csv", ".tsv", ".txt", ".gz", ".zip", ".arrow")


def read(input: str, options: SourceOptions) -> Iterator[Sample | Dropped]:
    """The samples of an input in a fixed order, streamed, with every row that gives none as `Dropped`.

    Args:
        input: a JSON list, JSON Lines or Parquet file or a tar shard (told apart by content; gzip and Zstandard too), a
            ``.csv`` or ``.tsv`` table, a folder that `datasets` opens, or the id of a Hub data set (``owner/name``).

    Raises:
        UsageError: the input as a whole cannot be used; the message starts with a code word such as ``INPUT_NOT_FOUND``
            and names file, place and remedy. Errors late in a file are raised when reading gets there.
    """
    found = _outcomes(input, options)
    if options.sample is not None:
        found = drawn(lambda: _outcomes(input, options), _sample_id, options.sample, options.seed)
    return islice(found, options.limit)


def _sample_id(outcome: Sample | Dropped) -> str | None:
    return outcome.id if isinstance(outcome, Sample) else None


def fingerprint(input: str, options: SourceOptions) -> str:
    """A string that changes when the input does: SHA-256 of a file's bytes, or of a folder's file names and digests.

    A Hub set is identified by its commit. Hidden files do not count.

    Raises:
        UsageError: ``INPUT_NOT_FOUND``, ``INPUT_UNREADABLE``.
    """
    path = _find(input)
    if path is None:
        return hub_commit(input, options)
    try:
        if path.is_file():
            meta = whole_object(path) if _reader(path) is read_json else None
            if not is_meta(meta):
                return f"sha256:{_digest(path)}"
            digests = [_digest(file) for file in (path, *annotation_files(path, meta or {}))]
            return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"
        whole = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path)
            if file.is_file() and not any(part.startswith(".") for part in name.parts):
                whole.update(f"{name.as_posix()}\0{_digest(file)}\n".encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise _unreadable(path, error) from error
    return f"sha256:{whole.hexdigest()}"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _outcomes(input: str, options: SourceOptions) -> Iterator[Sample | Dropped]:
    """Every outcome of the input, duplicates dropped."""
    path = _find(input)
    source = path.resolve().name if path else input
    seen: set[int] = set()
    number = 0
    unusable: str | None = None  # what is wrong with the first row, while no row has had a shape that prefgen knows
    for number, row in enumerate(rows(input, options), 1):
        for outcome in outcomes(row, source, options):
            if isinstance(outcome, Sample):
                key = int(outcome.id, 16)
                if key in seen:
                    outcome = Dropped(
                        "DUPLICATE",
                        f"{row.where}: the same images, prompt and answer stand in an earlier row",
                        source,
                        outcome.source_id,
                        id=outcome.id,
                        turn=outcome.turn,
                    )
                seen.add(key)
            if isinstance(outcome, Dropped) and outcome.reason in ("ROW_SHAPE", "JSON_SYNTAX"):
                unusable = outcome.detail if number == 1 else unusable
            else:
                unusable = None
            yield outcome
    if number == 0:
        raise UsageError(f"INPUT_EMPTY: {input} has no rows")
    if unusable:
        raise UsageError(
            f"SCHEMA: none of the {number:,} rows of {input} can be used. {unusable}. "
            "README, section 'Input', lists the columns that are understood"
        )


def rows(input: str, options: SourceOptions) -> Iterator[Row]:
    """The rows of an input as they stand there, their columns named by `options` and not interpreted.

    Raises:
        UsageError: as `read`.
    """
    return renamed(_rows(input, options), options.columns, options.roles)


def _rows(input: str, options: SourceOptions) -> Iterator[Row]:
    path = _find(input)
    if path is None:
        yield from read_hub(input, options)
        return
    if path.is_dir():
        yield from read_folder(path, options)
        return
    if not path.is_file():
        raise UsageError(f"INPUT_UNREADABLE: {path} is neither a regular file nor a folder; save it to a file first")
    try:
        before = path.stat()
        yield from _reader(path)(path)
        after = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UsageError(f"INPUT_CHANGED: {path} was written to while it was read; start again when it is complete")


def _reader(path: Path) -> Callable[[Path], Iterator[Row]]:
    """What reads a file, by its content and, for tables of text, by its name."""
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


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"INPUT_UNREADABLE: {error.filename or path}: {error.strerror}; check its permissions")


def _find(input: str) -> Path | None:
    """The file or folder that `input` means, or None for a Hub id."""
    path = Path(input).expanduser()
    try:
        if path.exists():
            return path
    except OSError as error:
        raise _unreadable(path, error) from error
    if _HUB_ID.fullmatch(input) and not input.endswith(_FILE_SUFFIXES):
        return None
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside, n=1)
    hint = f"; is it {path.parent / close[0]}?" if close else "; it is no Hub id (owner/name) either"
    raise UsageError(f"INPUT_NOT_FOUND: {input} does not exist{hint}")
