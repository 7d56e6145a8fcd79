"""Files that are written whole or not at all, and stay there after a power cut."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from prefgen.errors import EnvironmentFault

if TYPE_CHECKING:
    import pyarrow as pa

Content: TypeAlias = "bytes | pa.Buffer"
_BLOCK = 2**20  # bytes


def write(path: Path, content: Content) -> None:
    """Write a file and sync it; a kill meanwhile leaves a part of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, path: Path) -> None:
    """Rename a synced file or folder, in place of a file that has the name."""
    os.replace(temporary, path)
    sync(path.parent)


def replace(path: Path, content: Content) -> None:
    """Make a file hold this content: a kill leaves what was there before, or all of the new content."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        write(temporary, content)
        publish(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk would keep it for good
        raise


def replace_json(path: Path, value: object) -> None:
    """Make a file hold a value as JSON, as `replace` does."""
    replace(path, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Sync a folder with all that is in it."""
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
    """Turn errors of the operating system into an `EnvironmentFault` that names the output.

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
