"""Atomic and durable file writes: a file is complete or absent, also after a power cut."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import filelock

from prefgen.errors import CorruptRun, EnvironmentFault, Locked, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Content: TypeAlias = "bytes | pa.Buffer"
_BLOCK = 2**20  # bytes
_HEAD = 4096  # bytes of a file in which its mark is looked for


def write(path: Path, content: Content) -> None:
    """Write a file and sync it. Not atomic: a kill leaves a partial file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _write_all(descriptor, content)
    finally:
        os.close(descriptor)


def publish(temporary: Path, path: Path) -> None:
    """Rename a synced file or folder, replacing a file of that name."""
    os.replace(temporary, path)
    sync(path.parent)


def replace(path: Path, content: Content) -> None:
    """Write a file atomically: after a kill it has the old or the new content."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary, content)
        publish(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk would keep it for good
        raise


def replace_json(path: Path, value: object) -> None:
    """Write a value as JSON, atomically."""
    replace(path, json_bytes(json.dumps(value, indent=2, ensure_ascii=False) + "\n"))


def json_bytes(text: str) -> bytes:
    """JSON in UTF-8; lone surrogates are escaped."""
    return text.encode("utf-8", "backslashreplace")


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object that `replace_json` wrote.

    Raises:
        FileNotFoundError: there is none. CorruptRun: it is damaged.
    """
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CorruptRun(f"{path} is damaged ({error}): restore it, or give another --output") from error
    if not isinstance(value, dict):
        raise CorruptRun(f"{path} is damaged ({type(value).__name__}): restore it, or give another --output")
    return value


def append(path: Path, content: bytes) -> None:
    """Append to a file and sync it; a kill or a full disk leaves part of the content."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        _write_all(descriptor, content)
    finally:
        os.close(descriptor)


def clear(folder: Path) -> None:
    """Delete temporary files of killed processes in a folder whose lock the caller holds."""
    for leftover in folder.glob(".*.????????.tmp"):
        leftover.unlink()


@contextmanager
def hold(lock: Path, out: Path) -> Iterator[None]:
    """Lock an output against other processes.

    Args:
        lock: file that is held.
        out: the output, for the message.

    Raises:
        Locked: another process holds it.
    """
    held = filelock.FileLock(lock, timeout=0)
    try:
        held.acquire()
    except filelock.Timeout:
        raise Locked(f"{out} is being written by another process: wait for it, or give another --output") from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def settled(file: Path, lock: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Hold an output's lock, its settings recorded in a file: they stay those that the output was started with.

    Args:
        file: in the output's folder, which is there.

    Raises:
        Locked: another process holds it. CorruptRun: it was started with other settings, or they are damaged.
        EnvironmentFault: the file cannot be written.
    """
    with ExitStack() as stack:
        with environment(file.parent):
            stack.enter_context(hold(lock, file.parent))
            clear(file.parent)
            if file.exists():
                _refuse_drift(file, settings)
            else:
                replace_json(file, settings)
        yield


def _refuse_drift(file: Path, settings: Mapping[str, Any]) -> None:
    before = read_record(file)
    differing = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
    if differing:
        raise CorruptRun(
            f"{file.parent} was started with other settings ({', '.join(differing)}): give another --output"
        )


def refuse_foreign(path: Path, mark: bytes) -> None:
    """Refuse to write into a folder with other content than an earlier output.

    Args:
        mark: bytes near the beginning of every output of this kind.

    Raises:
        UsageError: something else is.
    """
    if not path.exists():
        return
    if path.is_file():
        with path.open("rb") as file:
            if mark in file.read(_HEAD):
                return
    raise UsageError(f"{path} is there, and not of {mark.decode()}: move it away, or give another file")


def put(path: Path, content: bytes) -> None:
    """Write the only file of a command, atomically and under a lock.

    It is written to ``.NAME.partial``, which is also the lock. A kill leaves that file, and the same command fills it
    again. A folder that is not there is made.

    Raises:
        Locked: another process writes it. EnvironmentFault: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with ExitStack() as stack:
        stack.enter_context(environment(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(hold(partial, path))
        try:
            write(partial, content)
            publish(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Sync a folder with all its files."""
    for at, _, names in os.walk(folder):
        for name in names:
            sync(Path(at, name))
        sync(Path(at))


def sha256(path: Path) -> str:
    """Digest of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def environment(out: Path) -> Iterator[None]:
    """Convert errors of the operating system to an `EnvironmentFault` that names the output.

    Raises:
        EnvironmentFault: a disk is full, a folder read-only, a quota used up.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write to {out}: {error}. What was committed is safe; make room or give access, and repeat the "
            "command to go on"
        ) from error


def _write_all(descriptor: int, content: Content) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)
