"""Resolution of inputs: local files, addresses, folders, Hub sets, patterns and lists of these."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

from prefgen import addresses
from prefgen.errors import UsageError
from prefgen.remote import File, RemoteFile, attempt, store

_HUB_ADDRESS = re.compile(r"hf://datasets/([^/@]+/[^/@]+)/?")
_FILE_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", ".csv", ".tsv", ".txt", ".gz", ".zip", ".arrow")
_PATTERN = re.compile(r"[*?[]")


@dataclass(frozen=True)
class HubSet:
    """A data set on the Hugging Face Hub, by its id."""

    name: str

    def __str__(self) -> str:
        return self.name


Source = File | HubSet
Inputs = str | Sequence[str]


def find(input: Inputs, allow_urls: bool) -> list[Source]:
    """The sources that the inputs name, in order, patterns sorted by name, without repetition.

    Raises:
        UsageError: ``INPUT_NOT_FOUND``, ``INPUT_UNREADABLE``, ``URL_DISABLED``, ``URL_SCHEME``.
        StoreUnreachable: the network fails.
    """
    found = [source for name in _listed(input) for source in _named(name, allow_urls)]
    return list({str(source): source for source in found}.values())


def shown(input: Inputs) -> str:
    """The inputs without credentials, for messages and pages."""
    return ", ".join(map(addresses.redact, _listed(input)))


def name_of(input: str) -> str:
    """The source's name in rows: the name of the file or folder, also at an address, or the Hub id."""
    if addresses.is_address(input):
        return RemoteFile(input).name
    path = Path(input).expanduser()
    return path.resolve().name if path.exists() else input


def source_name(source: Source) -> str:
    """As `name_of`, for a source that was found."""
    return source.resolve().name if isinstance(source, Path) else source.name


def label(source: Source, among: Sequence[Source]) -> str:
    """The source's name, or its full path if others have the same name."""
    name = source_name(source)
    return name if sum(source_name(other) == name for other in among) == 1 else str(source)


def unreadable(path: File, error: OSError) -> UsageError:
    """The error for a file that cannot be read."""
    if isinstance(path, RemoteFile):
        return UsageError(
            f"INPUT_NOT_FOUND: {path} is not there: {addresses.redact(str(error)) or type(error).__name__}"
        )
    return UsageError(f"INPUT_UNREADABLE: {error.filename or path}: {error.strerror}; check its permissions")


def from_file_address(name: str) -> str:
    """The path of a ``file://`` address; anything else unchanged."""
    if name[:7].lower() != "file://":
        return name
    return unquote(re.sub(r"^file://(localhost(?=/))?", "", name, flags=re.IGNORECASE))


def _listed(input: Inputs) -> Sequence[str]:
    return [input] if isinstance(input, str) else input


def _named(name: str, allow_urls: bool) -> Sequence[Source]:
    name = from_file_address(name)
    if addresses.is_address(name):
        return _at_address(name, allow_urls)
    path = Path(name).expanduser()
    try:
        if path.exists():
            return [path]
        if _PATTERN.search(name):
            return [Path(match) for match in sorted(glob.glob(str(path), recursive=True))] or [_missing(name)]
    except OSError as error:
        raise unreadable(path, error) from error
    if addresses.HUB_ID.fullmatch(name) and not name.endswith(_FILE_SUFFIXES):
        return [HubSet(name)]
    raise _not_found(name, path)


def _missing(pattern: str) -> Source:
    raise UsageError(f"INPUT_NOT_FOUND: no file has a name like {addresses.redact(pattern)}")


def _not_found(name: str, path: Path) -> UsageError:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, beside, n=1)
    hint = f"; is it {path.parent / close[0]}?" if close else "; it is no Hub id (owner/name) either"
    return UsageError(f"INPUT_NOT_FOUND: {name} does not exist{hint}")


def _at_address(name: str, allow_urls: bool) -> Sequence[Source]:
    if whole := _HUB_ADDRESS.fullmatch(name):
        return [HubSet(whole[1])]
    addresses.check_readable(name, allow_urls)
    if not _PATTERN.search(addresses.public(name)) or name.lower().startswith(("http://", "https://")):
        file = RemoteFile(name)
        kind = file.kind()
        if kind is None:
            raise UsageError(f"INPUT_NOT_FOUND: {file} is not there")
        if kind != "file":
            raise UsageError(f"INPUT_UNREADABLE: {file} is a folder; name its files, as in {file}/*.parquet")
        return [file]
    fs, pattern = store(name)
    names = attempt(addresses.public(name), lambda: fs.glob(pattern))
    return [RemoteFile(fs.unstrip_protocol(path)) for path in sorted(names)] or [_missing(name)]
