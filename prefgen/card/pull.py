"""Download of a pushed run, by address or Hub id, into the cache, with every file checked against the manifest."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from prefgen import addresses, cache
from prefgen.errors import CorruptRun, EnvironmentFault, UsageError
from prefgen.remote import RemoteFile
from prefgen.rundir.layout import Layout

_MAX_MANIFEST_BYTES = 2**30


def pulled(run: str) -> Path:
    """The cached folder of a run; complete files are not downloaded again.

    Args:
        run: ``s3://bucket/path`` and the like, or ``USER/NAME`` on the Hub.

    Raises:
        UsageError: there is no finished run, or it may not be read.
        CorruptRun: a file differs from its digest, or is named outside the run.
        StoreUnreachable: the network fails.
        EnvironmentFault: the cache cannot be written.
    """
    address = run.rstrip("/") if addresses.is_address(run) else f"hf://datasets/{run}"
    addresses.check_readable(address, allow_urls=False)
    at = RemoteFile(address)
    try:
        stated = _whole(at / ".prefgen/manifest.sha256", 1000).split()
        digest = stated[0].decode("ascii") if stated else ""
        record = _whole(at / ".prefgen/manifest.json", _MAX_MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"{run} holds no finished run of prefgen: neither a folder here nor at {at}") from error
    if hashlib.sha256(record).hexdigest() != digest:
        raise CorruptRun(f"{at}/.prefgen/manifest.json differs from its digest: push the run again")
    folder = cache.folder("runs") / digest[:32] / at.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / "lock"):
            if not Layout(folder).manifest_digest.exists():
                _download(at, json.loads(record)["files"], folder)
                _write(Layout(folder).manifest, record)
                _write(Layout(folder).manifest_digest, f"{digest}  manifest.json\n".encode())
    except OSError as error:
        raise EnvironmentFault(f"cannot keep {run} in {folder}: {error.strerror or error}") from error
    return folder


def _download(at: RemoteFile, files: dict[str, dict[str, Any]], folder: Path) -> None:
    for name, stated in files.items():
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in name:
            raise CorruptRun(f"the manifest of {at} names {name[:200]!r}, which is outside the run")
        path = folder.joinpath(*parts)
        if path.exists() and _sha256(path) == stated["sha256"]:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.partial")
        digest, size = hashlib.sha256(), 0
        try:
            with (at / name).open() as source, aside.open("wb") as target:
                while (chunk := source.read(2**20)) and size <= stated["bytes"]:
                    size += len(chunk)
                    digest.update(chunk)
                    target.write(chunk)
        except FileNotFoundError as error:
            raise CorruptRun(f"{at}/{name} is missing: push the run again") from error
        if digest.hexdigest() != stated["sha256"]:
            raise CorruptRun(f"{at}/{name} differs from its digest in the manifest: push the run again")
        os.replace(aside, path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _whole(file: RemoteFile, max_bytes: int) -> bytes:
    with file.open() as opened:
        return opened.read(max_bytes)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(content)
    os.replace(aside, path)
