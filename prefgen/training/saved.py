"""The output folder of a training run or sweep: locks, claims, and the record of a finished model.

OUT/
  config.json *.safetensors README.md …   the model, once it is finished; a sweep's folders, table and README.md
  training/
    lock                                  held while a process trains
    settings.json  config.toml            what cannot change from start to resume; the command's options
    pictures.txt                          digests of the pictures that it is trained on, one a line
    dropped.jsonl  reference-*.safetensors  metrics.jsonl  curves.svg
    checkpoints/                          see `prefgen.training.checkpoints`
    model/                                the model while it is written
    placed.json                           names in OUT that are this run's
    finished.json                         last metrics and the digest of every file of the model
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from prefgen import durable
from prefgen.errors import CorruptRun, UsageError

Kind = Literal["model", "sweep"]

PICTURES = "pictures.txt"
_FOLDER = "training"
_PLACED = "placed.json"
_FINISHED = "finished.json"
_MARKS = ("lock", "settings.json", "config.toml")


def records(output: Path) -> Path:
    """Folder of everything but the model."""
    return output / _FOLDER


def staged_model(output: Path) -> Path:
    """Folder in which the model is written before it is moved."""
    return records(output) / "model"


def refuse_foreign(output: Path, model: str, kind: Kind = "model") -> None:
    """Refuse to write into a folder with other content.

    Args:
        model: folder or Hub id of the model that is trained.

    Raises:
        UsageError: `output` is the model itself, a data set, a file, or holds files of others.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"output {output} is a file: give a directory")
    if output.exists() and Path(model).exists() and output.samefile(model):
        raise UsageError(f"output {output} is the folder of --model, which would be overwritten: give a new directory")
    if (output / ".prefgen").exists():
        raise UsageError(f"output {output} holds a data set of prefgen: give an empty or a new directory")
    if not output.is_dir():
        return
    placed = _placed(output)
    if placed and placed["kind"] != kind:
        raise UsageError(f"output {output} holds a {placed['kind']}, not a {kind}: give an empty or a new directory")
    folder = records(output)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"output {output} holds a file named {folder.name}: give an empty or a new directory")
    begun = folder.is_dir() and (not any(folder.iterdir()) or any((folder / name).exists() for name in _MARKS))
    own = {*(placed["names"] if placed else ()), *((_FOLDER,) if begun else ())}
    foreign = sorted(path.name for path in output.iterdir() if path.name not in own and not path.name.startswith("."))
    if foreign:
        raise UsageError(
            f"output {output} is not empty: {foreign[0]} is of no training run. Give an empty or a new directory, or "
            "move it away"
        )


@contextmanager
def hold(output: Path) -> Iterator[None]:
    """Lock the output against other processes.

    Raises:
        Locked: another process does.
    """
    folder = records(output)
    folder.mkdir(parents=True, exist_ok=True)
    with durable.hold(folder / "lock", output):
        durable.clear(folder)
        yield


def claim(output: Path, kind: Kind, names: Iterable[str]) -> None:
    """Record the names in `output` that will be written.

    Raises:
        UsageError: a file of one of these names is there, and is not this run's.
    """
    placed = _placed(output)
    own = set(placed["names"] if placed else ())
    foreign = sorted(name for name in names if name not in own and (output / name).exists())
    if foreign:
        raise UsageError(f"{output / foreign[0]} would be overwritten: move it away, and repeat the command to go on")
    durable.replace_json(records(output) / _PLACED, {"kind": kind, "names": sorted(own | {*names})})


def finish(output: Path, metrics: Mapping[str, float]) -> None:
    """Move the model from `staged_model` into `output`, and record that it is finished.

    Raises:
        UsageError: as `claim`.
    """
    staged = staged_model(output)
    durable.sync_tree(staged)
    names = sorted(path.name for path in staged.iterdir())
    earlier = _placed(output)
    claim(output, "model", names)
    for name in earlier["names"] if earlier else ():  # of a run that was killed here
        _delete(output / name)
    for name in names:
        os.replace(staged / name, output / name)
    durable.sync(output)
    files = {name: _digest(output / name) for name in _files(output, names)}
    durable.replace_json(records(output) / _FINISHED, {"metrics": dict(metrics), "files": files})
    staged.rmdir()


def pictures(output: Path) -> frozenset[str] | None:
    """Digests of the pictures that a model was trained on; None where there is no record of them."""
    file = records(output) / PICTURES
    return frozenset(file.read_text(encoding="utf-8").split()) if file.is_file() else None


def is_finished(output: Path) -> bool:
    """True if a training run was finished here."""
    return (records(output) / _FINISHED).exists()


def result(output: Path) -> dict[str, float]:
    """The last metrics of a finished run."""
    found = _finished(output)
    return dict(found.get("metrics", found))  # earlier versions kept nothing else


def check(output: Path) -> None:
    """Check that the model of a finished run is as it was saved.

    Raises:
        CorruptRun: a file is missing or differs.
    """
    for name, digest in _finished(output).get("files", {}).items():
        path = output / name
        if not path.is_file() or _digest(path) != digest:
            raise CorruptRun(
                f"{path} is {'damaged' if path.is_file() else 'missing'}, so the model in {output} is not the one that "
                "was trained: restore it from a copy, or train again into another --output"
            )


def drop_model(output: Path) -> None:
    """Delete a finished model, but not its README.md and records."""
    placed = _placed(output)
    durable.replace_json(records(output) / _FINISHED, {"metrics": result(output), "files": {}})
    names = [name for name in (placed["names"] if placed else ()) if name != "README.md"]
    for name in sorted(names, key=lambda name: name.endswith(".safetensors")):  # last: they say that a model is there
        _delete(output / name)


def _placed(output: Path) -> dict[str, Any] | None:
    return _read(records(output) / _PLACED)


def _finished(output: Path) -> dict[str, Any]:
    return _read(records(output) / _FINISHED) or {}


def _read(path: Path) -> dict[str, Any] | None:
    """A record, or None where there is none.

    Raises:
        CorruptRun: it is damaged.
    """
    return durable.read_record(path) if path.exists() else None


def _files(output: Path, names: Iterable[str]) -> list[str]:
    """All files of these names, and in these folders."""
    tops = [output / name for name in names]
    paths = [path for top in tops for path in (top.rglob("*") if top.is_dir() else (top,))]
    return sorted(path.relative_to(output).as_posix() for path in paths if path.is_file())


def _digest(path: Path) -> dict[str, Any]:
    return {"sha256": durable.sha256(path), "bytes": path.stat().st_size}


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
