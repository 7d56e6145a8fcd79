"""An export is written whole or not at all, by one process at a time, over nothing of others."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import filelock
import pytest

from prefgen.formats import EXPORTERS
from tests import faults
from tests.cli.runs import called, start
from tests.trainers.sets import mixture


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


def export(run: Path, to: str, out: Path) -> subprocess.CompletedProcess[str]:
    return called("export", run, "--to", to, "--output", out)


def digests(folder: Path) -> dict[str, str]:
    """Of every file, by its path."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("fault", ["kill", "full"])
@pytest.mark.parametrize("to", EXPORTERS)
def test_the_same_command_ends_with_the_same_files(to: str, fault: faults.Fault, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    act = partial(export, run, to, out)
    ended = faults.run(act, tmp_path)
    assert (ended.value.returncode, ended.error) == (0, ""), ended
    expected = digests(out)
    shutil.rmtree(out)
    for at in faults.sample(ended.steps, 5):
        broken = faults.run(act, tmp_path, fault, at)
        whole = (out / ".export.json").exists()
        if fault == "kill":
            assert broken.killed, at
        else:
            assert (broken.value.returncode, broken.error) == (0 if whole else 8, ""), (at, broken)
        assert whole or not out.exists() or not any(out.iterdir()), at
        resumed = faults.run(act, tmp_path)
        assert (resumed.value.returncode, resumed.error) == (0, ""), (at, resumed)
        assert digests(out) == expected, at
        assert [path.name for path in tmp_path.iterdir()] == ["out"], at
        shutil.rmtree(out)


def test_killed_for_real_it_is_made_again(run: Path, tmp_path: Path) -> None:
    process = start("export", run, "--to", "ms-swift", "--output", tmp_path / "out")
    while process.poll() is None and not (tmp_path / ".out.partial" / ".lock").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = export(run, "ms-swift", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_at_once_are_told_apart_from_a_full_disk(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    with filelock.FileLock(tmp_path / ".out.partial" / ".lock"):
        second = export(run, "trl", tmp_path / "out")
    assert second.returncode == 7
    assert "is being written by another process" in second.stderr
    assert export(run, "trl", tmp_path / "out").returncode == 0


@pytest.mark.parametrize("name", ["notes.txt", ".export.json", "data/rows.json"])
def test_a_folder_of_others_where_it_is_written_first_is_kept(name: str, run: Path, tmp_path: Path) -> None:
    foreign = tmp_path / ".out.partial" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("[]")
    done = export(run, "trl", tmp_path / "out")
    assert done.returncode == 2
    assert ".out.partial, where the export is written first, is of something else" in done.stderr
    assert foreign.read_text() == "[]"
    assert not (tmp_path / "out").exists()


def test_a_finished_export_is_left_as_it_is_where_nothing_differs(run: Path, tmp_path: Path) -> None:
    assert export(run, "ms-swift", tmp_path / "first").returncode == 0
    out = (tmp_path / "first").rename(tmp_path / "moved")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = export(run, "ms-swift", out)
    assert (again.returncode, "finished already" in again.stderr) == (0, True)
    assert json.loads(called("export", run, "--to", "ms-swift", "--output", out, "--json").stdout)["already"]
    other = export(run, "llamafactory", out)
    assert other.returncode == 6
    assert "to: ms-swift -> llamafactory" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    next(out.glob("*.jsonl")).write_text("{}")
    changed = export(run, "ms-swift", out)
    assert changed.returncode == 6
    assert "was changed since it was exported" in changed.stderr


def test_a_lock_that_nobody_holds_is_no_hindrance(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    with filelock.FileLock(tmp_path / ".out.partial" / ".lock"):
        pass
    assert export(run, "argilla", tmp_path / "out").returncode == 0
