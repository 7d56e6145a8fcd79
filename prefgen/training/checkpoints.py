"""Checkpoints of a training run: written to a staging folder, renamed when complete, found on resume.

CHECKPOINTS/
  writing/checkpoint-N/   being written; of no use after a kill
  checkpoint-N/           whole; ``complete.json`` lists its files with their sizes
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from prefgen import durable

_STAGING = "writing"
_COMPLETE = "complete.json"
_STATE = "trainer_state.json"  # the last file that transformers' Trainer writes
_NAME = re.compile(r"checkpoint-(\d+)")


def staging(folder: Path) -> Path:
    """The folder in which a checkpoint is written."""
    return folder / _STAGING


def clear(folder: Path) -> None:
    """Delete an incomplete checkpoint."""
    if staging(folder).exists():
        shutil.rmtree(staging(folder))


def complete(folder: Path) -> None:
    """Make the checkpoint in `staging` the one to resume from, and delete earlier ones."""
    (written,) = staging(folder).iterdir()
    durable.replace_json(written / _COMPLETE, _sizes(written))
    durable.sync_tree(written)
    target = folder / written.name
    if target.exists():  # incomplete, or it would have been resumed from
        shutil.rmtree(target)
    durable.publish(written, target)
    for _, other in _found(folder):
        if other != target:
            shutil.rmtree(other)


def last(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The last complete checkpoint.

    Args:
        say: is told of each later one that is left out.
    """
    for _, path in sorted(_found(folder), reverse=True):
        if is_whole(path):
            return path
        say(f"{path} is incomplete and is left out")
    return None


def is_whole(checkpoint: Path) -> bool:
    """True if every file exists in full size; for versions without a list of files, if the last one exists."""
    try:
        if (checkpoint / _COMPLETE).exists():
            return bool(json.loads((checkpoint / _COMPLETE).read_bytes()) == _sizes(checkpoint))
        return isinstance(json.loads((checkpoint / _STATE).read_bytes()), dict)
    except (ValueError, FileNotFoundError):
        return False


def _found(folder: Path) -> Iterator[tuple[int, Path]]:
    """Checkpoints, ordered by step."""
    for path in folder.iterdir() if folder.exists() else ():
        if (match := _NAME.fullmatch(path.name)) and path.is_dir():
            yield int(match[1]), path


def _sizes(checkpoint: Path) -> dict[str, int]:
    files = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != _COMPLETE)
    return {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in sorted(files)}


@contextmanager
def environment(output: Path) -> Iterator[None]:
    """Convert disk errors, also those of torch and safetensors, to an `EnvironmentFault`.

    Raises:
        EnvironmentFault: a disk is full or cannot be written to.
    """
    with durable.environment(output):
        try:
            yield
        except SafetensorError as error:
            if "I/O error" not in str(error):
                raise
            raise OSError(str(error)) from error
        except RuntimeError as error:
            if "inline_container" not in str(error):  # torch's writer of files, which does not say what is wrong
                raise
            raise OSError("the disk is full, or cannot be written to") from error
