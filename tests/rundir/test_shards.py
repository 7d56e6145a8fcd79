from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from prefgen.errors import CorruptRun, EnvironmentFault, Locked, UsageError
from prefgen.rundir import shards
from prefgen.rundir.layout import Layout
from prefgen.rundir.shards import Plan, RunDirectory
from prefgen.rundir.verify import verify
from tests.handmade import PROVENANCE, card, drop, finished_run, outcomes, pair, plan, work_through

WORKER = """
import pathlib, sys, time
from tests.handmade import finished_run, plan
from prefgen.rundir.shards import RunDirectory
out, rows = pathlib.Path(sys.argv[1]), int(sys.argv[2])
if rows:
    print("start", flush=True)
    finished_run(out, plan(rows))
else:
    with RunDirectory.open(out, plan()):
        print("locked", flush=True)
        time.sleep(60)
"""


class Died(BaseException):
    """What a kill does to the code: it just stops."""


class DyingOs:
    """The `os` module of a process that dies at the n-th system call that changes the disk."""

    def __init__(self, lives: float) -> None:
        self.lives = lives
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        changing = ("makedirs", "open", "write", "fsync", "close", "replace", "unlink")
        return partial(self.call, getattr(os, name)) if name in changing else getattr(os, name)

    def call(self, function: Callable[..., object], *args: Any, **options: object) -> object:
        self.calls += 1
        if self.calls == self.lives and function is os.write:
            os.write(args[0], args[1][: len(args[1]) // 2])  # died half-way
        if self.calls >= self.lives and function is os.close:
            os.close(*args)  # the kernel closes what a dead process held
        if self.calls >= self.lives:
            raise Died
        if function is os.fsync:
            return None  # a kill loses nothing that was handed to the kernel; saves most of the time
        return function(*args, **options)


class FullOs:
    """The `os` module on a disk without room."""

    def __getattr__(self, name: str) -> object:
        return self.write if name == "write" else getattr(os, name)

    def write(self, descriptor: int, content: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return data_of(finished_run(tmp_path_factory.mktemp("unbroken") / "out"))


def data_of(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((out / "data").iterdir())}


def worker(out: Path, rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(out), str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_a_finished_run_has_the_layout_that_loaders_expect(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == [".prefgen", "README.md", "data", "dataset_info.json"]
    assert sorted(data_of(out)) == [f"train-{number:05d}-of-00004.parquet" for number in range(4)]
    state = {path.name for path in (out / ".prefgen").iterdir()}
    folders = {"parts", "dropped", "shards", "tmp", "writers"}
    assert state == folders | {"config.lock", "plan.json", "manifest.json", "manifest.sha256", "lock"}
    assert not [path for name in ("parts", "tmp", "writers") for path in (out / ".prefgen" / name).iterdir()]
    info = json.loads((out / "dataset_info.json").read_text())
    assert info["out"]["file_name"] == "data"
    assert info["out"]["columns"]["chosen"] == "chosen_response"


def test_rows_are_conserved_and_in_sample_order(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "out")
    made = [row for path in Layout(out).parquet_files() for row in pq.read_table(path)["source_id"].to_pylist()]
    dropped = [row["row"] for row in Layout(out).read_dropped()]
    assert made == [str(row) for row in range(18) if row not in dropped]
    assert dropped == [4, 8, 9, 10, 11, 14]
    manifest = json.loads(Layout(out).manifest.read_text())
    assert manifest["rows"] == {"planned": 18, "pairs": 12, "dropped": {"IMG_MISSING": 6}}
    assert manifest["provenance"][0]["model_revision"] == "0123abcd"
    assert manifest["seconds"] == 2.5


def test_the_manifest_lists_every_file_but_the_lock(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "out")
    listed = json.loads(Layout(out).manifest.read_text())["files"]
    found = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert set(found) - set(listed) == {".prefgen/lock", ".prefgen/manifest.json", ".prefgen/manifest.sha256"}
    for name, digest in listed.items():
        content = found[name].read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest["sha256"], digest["bytes"])


def test_a_finished_run_started_again_does_nothing(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    with RunDirectory.open(out, plan()) as run:
        assert run.finished
        assert run.pending() == []
        run.finalize(card)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, unbroken: dict[str, str]) -> None:
    with RunDirectory.open(tmp_path, plan()) as run:
        run.commit(3, outcomes(range(12, 16)), PROVENANCE)
        run.commit(0, outcomes(range(4)), PROVENANCE)
    with RunDirectory.open(tmp_path, plan()) as run:
        assert not run.finished
        assert run.pending() == [1, 2, 4]
        work_through(run)
        assert run.finished
    assert data_of(tmp_path) == unbroken


def test_killed_at_any_system_call_it_ends_with_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = plan(12)  # three shards: one full, one with a dropped row, one without a pair
    survivor = DyingOs(float("inf"))
    monkeypatch.setattr(shards, "os", survivor)
    unbroken = data_of(finished_run(tmp_path / "survivor", small))
    assert survivor.calls > 100
    for lives in range(1, survivor.calls + 1):
        out = tmp_path / str(lives)
        monkeypatch.setattr(shards, "os", DyingOs(lives))
        with pytest.raises(Died):
            finished_run(out, small)
        monkeypatch.setattr(shards, "os", DyingOs(float("inf")))
        assert data_of(finished_run(out, small)) == unbroken, f"died at system call {lives}"


def test_killed_again_and_again_it_still_gets_there(
    tmp_path: Path, unbroken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for lives in range(1, 200):
        with monkeypatch.context() as patch:
            patch.setattr(shards, "os", DyingOs(lives))
            try:
                finished_run(tmp_path)
            except Died:
                continue
            break
    assert lives < 60
    assert data_of(tmp_path) == unbroken


def kill_repeatedly(out: Path, rows: int, kills: int) -> None:
    """Send SIGKILL at moments spread over what the work takes."""
    for attempt in range(kills):
        with worker(out, rows) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.02 + 0.3 * (attempt * 0.618 % 1))
            process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_a_process_killed_for_real(tmp_path: Path, kills: int) -> None:
    rows = 120
    kill_repeatedly(tmp_path / "killed", rows, kills)
    assert data_of(finished_run(tmp_path / "killed", plan(rows))) == data_of(
        finished_run(tmp_path / "unbroken", plan(rows))
    )


def test_a_second_process_is_told_who_writes(tmp_path: Path) -> None:
    with worker(tmp_path, 0) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(Locked, match=rf"process {process.pid} on .*, started 20"):
            RunDirectory.open(tmp_path, plan())
        process.send_signal(signal.SIGKILL)
        process.wait()
        [owner] = Layout(tmp_path).writers.glob("*.json")
        with RunDirectory.open(tmp_path, plan()) as run:
            assert json.loads(owner.read_text())["pid"] == os.getpid()
            assert run.pending() == [0, 1, 2, 3, 4]
    assert not [*Layout(tmp_path).writers.iterdir()]


def test_a_second_opening_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, plan()):
        [owner] = Layout(tmp_path).writers.glob("*.json")
        owner.unlink()
        with pytest.raises(Locked, match="another process"):
            RunDirectory.open(tmp_path, plan())


def test_drift_is_refused_field_by_field(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, plan()).close()
    drifted = plan(19, 4, **{"method.rho": 0.5, "seed": 7.0, "method.noise": None})
    with pytest.raises(CorruptRun) as caught:
        RunDirectory.open(tmp_path, drifted)
    changes = [line.strip() for line in str(caught.value).split("\n")[1:-1]]
    assert changes == [
        "method.noise: not set -> null",
        "method.rho: 0.99 -> 0.5",
        "rows: 18 -> 19",
        "seed: 7 -> 7.0",
    ]
    assert "config.lock" in str(caught.value)


def test_what_cannot_change_output_may_change(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, plan()).close()
    same = Plan(18, 4, plan().fingerprint, config="batch_size = 8\n")
    RunDirectory.open(tmp_path, same).close()
    assert Layout(tmp_path).config.read_text() == plan().config


def test_foreign_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        RunDirectory.open(tmp_path, plan())
    with pytest.raises(UsageError, match="is a file"):
        RunDirectory.open(tmp_path / "notes.txt", plan())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (outcomes(range(3)), "3 outcomes for 4 planned rows"),
        (outcomes(range(5)), "5 outcomes for 4 planned rows"),
        ([pair(1), pair(2), drop(1), pair(2)], "same id"),
    ],
)
def test_conservation_at_each_commit(tmp_path: Path, given: list[Any], message: str) -> None:
    with RunDirectory.open(tmp_path, plan()) as run:
        with pytest.raises(ValueError, match=message):
            run.commit(0, given, PROVENANCE)
        run.commit(0, outcomes(range(4)), PROVENANCE)
        with pytest.raises(ValueError, match="committed already"):
            run.commit(0, outcomes(range(4)), PROVENANCE)
        with pytest.raises(ValueError, match="4 shards are still pending"):
            run.finalize(card)


def test_a_full_disk_leaves_what_is_committed(
    tmp_path: Path, unbroken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunDirectory.open(tmp_path, plan()) as run:
        run.commit(0, outcomes(range(4)), PROVENANCE)
        with monkeypatch.context() as patch:
            patch.setattr(shards, "os", FullOs())
            with pytest.raises(EnvironmentFault, match=r"No space left.*repeat the command"):
                run.commit(1, outcomes(range(4, 8)), PROVENANCE)
        assert run.pending() == [1, 2, 3, 4]
        work_through(run)
    assert data_of(tmp_path) == unbroken


def test_a_disk_that_lies_is_found_at_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def flip_last(path: Path) -> bytes:
        content = read(path)
        return content[:50] + bytes([content[50] ^ 1]) + content[51:] if path.suffix == ".parquet" else content

    with RunDirectory.open(tmp_path, plan()) as run:
        monkeypatch.setattr(Path, "read_bytes", flip_last)
        with pytest.raises(EnvironmentFault, match="does not read back"):
            run.commit(0, outcomes(range(4)), PROVENANCE)
        assert not Layout(tmp_path).record(0).exists()


@pytest.fixture
def half_done(tmp_path: Path) -> Layout:
    with RunDirectory.open(tmp_path, plan()) as run:
        run.commit(0, outcomes(range(4)), PROVENANCE)
        run.commit(1, outcomes(range(4, 8)), PROVENANCE)
    return Layout(tmp_path)


def test_lost_pairs_are_named_and_can_be_made_again(half_done: Layout) -> None:
    half_done.part(1).unlink()
    with pytest.raises(CorruptRun, match=r"shard 1 of .* 3 pairs"):
        RunDirectory.open(half_done.out, plan())
    half_done.record(1).unlink()
    with RunDirectory.open(half_done.out, plan()) as run:
        assert run.pending() == [1, 2, 3, 4]


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"part": 1}', b"\xff", b"[]"])
def test_a_damaged_record_is_named(half_done: Layout, content: bytes) -> None:
    half_done.record(1).write_bytes(content)
    with pytest.raises(CorruptRun, match=r"000001\.json is damaged"):
        RunDirectory.open(half_done.out, plan())


def test_a_record_that_does_not_fit_the_plan_is_refused(half_done: Layout) -> None:
    half_done.record(1).rename(half_done.record(9))
    text = half_done.record(9).read_text()
    half_done.record(9).write_text(text.replace('"shard": 1', '"shard": 9'))
    with pytest.raises(CorruptRun, match="shard 9"):
        RunDirectory.open(half_done.out, plan())


def test_a_missing_or_damaged_plan_is_no_new_run(half_done: Layout) -> None:
    half_done.plan.write_bytes(b"{")
    with pytest.raises(CorruptRun, match="restore it"):
        RunDirectory.open(half_done.out, plan())
    half_done.plan.unlink()
    with pytest.raises(CorruptRun, match=r"plan\.json is missing"):
        RunDirectory.open(half_done.out, plan())


def test_a_foreign_file_among_the_data_is_not_published(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, plan()) as run:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "mine.parquet").touch()
        with pytest.raises(CorruptRun, match=r"mine\.parquet is no file of this run"):
            work_through(run)
        assert not run.finished


def test_a_run_without_a_pair_ends_and_can_be_told(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, plan(6)) as run:
        for shard in run.pending():
            run.commit(shard, [drop(row) for row in run.plan.shards[shard]], PROVENANCE)
        run.finalize(card)
        assert run.finished
    assert data_of(tmp_path) == {}


def test_a_plan_of_no_rows_has_no_shards() -> None:
    assert Plan(0, 10, {}).shards == ()
    assert Plan(21, 10, {}).shards == (range(10), range(10, 20), range(20, 21))


def test_a_preview_is_listed_and_checked_and_changes_no_data(tmp_path: Path, unbroken: dict[str, str]) -> None:
    with RunDirectory.open(tmp_path / "out", plan()) as run:
        for shard in run.pending():
            run.commit(shard, outcomes(run.plan.shards[shard]), PROVENANCE)
        run.finalize(card, lambda out: f"<p>{len([*(out / 'data').iterdir()])} files")
    assert (tmp_path / "out" / "preview.html").read_text() == "<p>4 files"
    assert "preview.html" in json.loads(Layout(tmp_path / "out").manifest.read_text())["files"]
    assert data_of(tmp_path / "out") == unbroken
    assert not verify(tmp_path / "out").problems
    (tmp_path / "out" / "preview.html").write_text("<script>")
    assert [problem.file for problem in verify(tmp_path / "out").problems] == ["preview.html"]


def test_a_run_without_a_pair_has_no_preview(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "out", plan(2, 2)) as run:
        run.commit(0, [drop(0), drop(1)], PROVENANCE)
        run.finalize(card, lambda out: "nothing")
    assert not (tmp_path / "out" / "preview.html").exists()
