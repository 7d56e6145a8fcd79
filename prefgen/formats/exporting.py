"""Exports of a run, atomic: the folder is filled beside its place and moved when complete.

.NAME.partial/          the folder while it is written; a kill leaves it, and the same command clears and fills it again
  .lock                 held by the process that writes
  .export.json          what is exported; in the finished folder with the digest of every file
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefgen import durable
from prefgen.errors import CorruptRun, RowError, UsageError
from prefgen.formats import EXPORTERS
from prefgen.formats.base import Exported
from prefgen.formats.writing import rows
from prefgen.rundir.reader import Stored

_LOCK = ".lock"
_RECORD = ".export.json"


def plan(stored: Stored, to: str) -> Exported:
    """The rows that `export` would write, and those that it would leave out.

    Raises:
        UsageError: `to` is unknown, or the format has a place for no row.
    """
    if to not in EXPORTERS:
        raise UsageError(f"--to is {to!r}; give one of {', '.join(EXPORTERS)}")
    exporter = EXPORTERS[to]
    left_out: Counter[str] = Counter()
    read = rows(stored, exporter.reads) if "images" in exporter.reads else stored.scan(exporter.reads)
    for row in read:
        try:
            exporter.place({"images": (), "rejected_images": (), **row})
        except RowError as error:
            left_out[error.reason] += 1
    if len(stored) == left_out.total():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise UsageError(f"{to} has a place for none of the {len(stored):,} rows ({reasons})")
    return Exported(len(stored) - left_out.total(), dict(left_out))


def export(stored: Stored, to: str, out: Path) -> Exported:
    """Write the rows of `stored` into `out`, atomically.

    Args:
        to: a key of `EXPORTERS`.

    Raises:
        UsageError: `to` is unknown, `out` holds other files, or the format has a place for no row.
        Locked, CorruptRun, EnvironmentFault: see `written`.
    """
    plan(stored, to)

    def write(folder: Path) -> Exported:
        return EXPORTERS[to].write(stored, folder, out.resolve().name)

    return written(out, {"to": to, "run": stored.digest}, write)


def written(out: Path, what: dict[str, str], write: Callable[[Path], Exported]) -> Exported:
    """Run an export into `out`, atomically; a finished one is checked and left unchanged.

    Args:
        what: format and digest of the run: what must be the same for a finished export to be taken for this one.
        write: fills an empty folder.

    Raises:
        UsageError: other files are in `out`, or where it is to be written first. Locked: another process writes.
        CorruptRun: `out` holds another export, or a damaged one. EnvironmentFault: the disk is full.
    """
    out = out.resolve()
    with durable.environment(out):
        if (found := _finished(out, what)) is not None:
            return found
        partial = out.with_name(f".{out.name}.partial")
        _refuse_foreign(partial)
        partial.mkdir(parents=True, exist_ok=True)
        with durable.hold(partial / _LOCK, out):
            if (found := _finished(out, what)) is not None:  # by a process that ended just now
                shutil.rmtree(partial)
                return found
            try:
                return _write(partial, out, what, write)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)  # what is half done is of no use, and takes room
                raise


def _write(partial: Path, out: Path, what: dict[str, str], write: Callable[[Path], Exported]) -> Exported:
    for leftover in partial.iterdir():  # of an export that was killed
        if leftover.is_dir():
            shutil.rmtree(leftover)
        elif leftover.name != _LOCK:
            leftover.unlink()
    durable.replace_json(partial / _RECORD, what)
    exported = write(partial)
    files = {name: durable.sha256(partial / name) for name in _files(partial)}
    durable.replace_json(
        partial / _RECORD, {**what, "rows": exported.rows, "left_out": exported.left_out, "files": files}
    )
    os.sync()  # thousands of pictures, each of which would take a disk some milliseconds
    (partial / _LOCK).unlink()
    durable.publish(partial, out)
    return exported


def _refuse_foreign(partial: Path) -> None:
    """Refuse a folder with other content than an export.

    Raises:
        UsageError: something is.
    """
    if not partial.exists() and not partial.is_symlink():
        return
    names = [path.name for path in partial.iterdir()] if partial.is_dir() and not partial.is_symlink() else [""]
    ours = all(name == _LOCK or name.startswith(f".{_RECORD}.") for name in names)
    if not ours and _read(partial / _RECORD) is None:
        raise UsageError(
            f"{partial}, where the export is written first, is of something else: move it away, or give another folder"
        )


def _finished(out: Path, what: dict[str, str]) -> Exported | None:
    """Content of the finished export in `out`; None if `out` is empty or missing.

    Raises:
        UsageError: other files are there. CorruptRun: it is another export, or damaged.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    record = _read(out / _RECORD)
    if record is None:
        raise UsageError(f"{out} is not an empty folder: give a new one")
    if differing := [f"{name}: {record[name]} -> {value}" for name, value in what.items() if record[name] != value]:
        raise CorruptRun(f"{out} holds another export ({', '.join(differing)}): give another folder")
    if "files" not in record:
        raise CorruptRun(f"{out} holds an export that was never finished: delete it, and repeat the command")
    for name, digest in record["files"].items():
        if not (out / name).is_file() or durable.sha256(out / name) != digest:
            raise CorruptRun(f"{out / name} is missing or was changed since it was exported: give another folder")
    return Exported(record["rows"], record["left_out"], already=True)


def _read(path: Path) -> dict[str, Any] | None:
    """The record of an export; None where there is none."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"to", "run"} <= record.keys() else None


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in (_LOCK, _RECORD))
    return sorted(path.relative_to(folder).as_posix() for path in paths)
