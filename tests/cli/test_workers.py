"""One run by several processes: the same bytes, whoever made which shard and whoever died meanwhile."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from prefgen.console import Console
from prefgen.engines.base import EngineConfig
from prefgen.engines.build import Identity, build
from prefgen.errors import EnvironmentFault, ModelUnreachable, UsageError
from prefgen.methods.bdhs import BDHS
from prefgen.rundir.layout import Layout, Plan
from prefgen.rundir.shards import RunDirectory
from prefgen.rundir.verify import verify
from prefgen.rundir.writers import Part
from prefgen.runner import distribution, launch
from prefgen.runner.distribution import Distribution
from prefgen.runner.launch import Filling, Job
from prefgen.runner.local import LocalWorkers
from prefgen.runner.reporter import Progress
from prefgen.runner.task import WorkerTask
from prefgen.signals import Interrupts
from prefgen.sources import SourceOptions
from tests.cli.deadly import DeadlyTask, UnloadableTask
from tests.cli.runs import Forked, called, data_digests, start, write_input
from tests.cli.test_kill import committed, fake, scenes

ROWS = 100
SHARD = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_input(tmp_path_factory.mktemp("input"), ROWS)


@pytest.fixture(scope="module")
def unbroken(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert called(*fake(source, SHARD), "-o", out).returncode == 0
    return data_digests(out)


def job_of(source: Path, out: Path) -> Job:
    """The job that `fake` stands for."""
    return Job(BDHS(), str(source), SourceOptions(), EngineConfig("none", "fake"), out, SHARD)


def opened(job: Job) -> RunDirectory:
    return RunDirectory.open(job.output, Plan(ROWS, SHARD, launch.fingerprint(job, Identity())))


def with_workers(task: WorkerTask, directory: RunDirectory, said: list[str]) -> str:
    """Let two workers do the task; what a terminal shows of it."""
    shown = io.StringIO()
    with Progress(ROWS, 0, Console(file=shown, force_terminal=True, width=120)) as board:
        LocalWorkers(task, directory, [{}] * 2, board, said.append).work()
    return shown.getvalue()


def finished(job: Job) -> dict[str, str]:
    """The data, made by `prefgen finalize`."""
    done = called("finalize", job.output, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == ROWS
    assert not verify(job.output).problems
    return data_digests(job.output)


class Silent:
    """Nobody looks."""

    def begin(self, shard: int) -> None: ...
    def committed(self, shard: int) -> None: ...
    def advance(self, outcome: object) -> None: ...


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_bytes(
    workers: int, source: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    done = called(*fake(source, SHARD), "-o", tmp_path / "out", "--workers", str(workers), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == ROWS
    assert f"{ROWS}/{ROWS} rows" in done.stderr
    assert data_digests(tmp_path / "out") == unbroken
    assert not verify(tmp_path / "out").problems
    assert not [*Layout(tmp_path / "out").writers.iterdir()]


def test_any_order_of_shards_gives_the_same_bytes(source: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "out")
    with opened(job) as directory, Interrupts() as interrupts:
        shards = directory.pending()
        random.Random(0).shuffle(shards)
        assert shards != sorted(shards)
        engines = build(job.engine, job.method.asks)
        Filling(job, directory, engines, launch.provenance(job, Identity())).work(shards, Silent(), interrupts)
    assert finished(job) == unbroken


def test_parts_at_once_give_the_same_bytes(source: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = [Forked(*fake(source, SHARD), "-o", out, "--shard", f"{index}/2") for index in range(2)]
    said = ["".join(part.communicate()) for part in parts]
    assert [part.returncode for part in parts] == [0, 0], said
    assert "part 0/2 of the shards is filled from here" in said[0]
    assert any("time" in words for words in said)  # the figures, of whoever was last
    assert data_digests(out) == unbroken
    assert not verify(out).problems
    assert "bdhs --config" in (out / "README.md").read_text()
    assert "--shard" not in (out / "README.md").read_text()


def test_the_launchers_variables_name_parts_and_the_rest_can_be_done_without(
    source: Path, unbroken: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("SLURM_NTASKS", "3")
    monkeypatch.setenv("SLURM_PROCID", "1")
    done = called(*fake(source, SHARD), "-o", out)
    assert done.returncode == 0
    assert "part 1/3 of the shards is filled from here (by SLURM_PROCID)" in done.stderr
    assert "9 of 13 shards are left to other parts" in " ".join(done.stderr.split())
    early = called("finalize", out)
    assert early.returncode == 2
    assert "9 of 13 shards" in early.stderr
    assert "prefgen bdhs --config" in early.stderr
    done = called(*fake(source, SHARD), "-o", out, "--shard", "0/1")
    assert done.returncode == 0
    assert "resuming" in done.stderr
    assert data_digests(out) == unbroken
    assert "finished already" in " ".join(called(*fake(source, SHARD), "-o", out).stderr.split())
    assert called("finalize", out).returncode == 0


ARRAY = {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({}, Part(0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Part(3, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Part(1, 2)),
        ({**ARRAY, "SLURM_ARRAY_TASK_ID": "14"}, Part(2, 4)),
        ({**ARRAY, "SLURM_ARRAY_TASK_ID": "14", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, Part(2, 4)),
        ({**ARRAY, "SLURM_ARRAY_TASK_ID": "14", "SLURM_NTASKS": "3", "SLURM_PROCID": "1"}, Part(7, 12)),
    ],
)
def test_what_a_launcher_says(environment: dict[str, str], part: Part) -> None:
    assert Distribution.of(None, 1, None, environment).part == part
    assert Distribution.of("1/7", 1, None, environment).part == Part(1, 7)


@pytest.mark.parametrize(
    ("workers", "ray", "environment", "named"),
    [
        (0, None, {}, "--workers 0"),
        (2, "auto", {}, "--workers is for this machine"),
        (1, None, {"RANK": "x", "WORLD_SIZE": "2"}, "RANK=x"),
        (1, None, {"RANK": "2", "WORLD_SIZE": "2"}, "2/2"),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    workers: int, ray: str | None, environment: dict[str, str], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        Distribution.of(None, workers, ray, environment)


def test_a_run_with_a_judge_is_not_spread(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("corrupt", "-i", source, "--judge", "gpt4o-mini", "-o", tmp_path / "out")
    refused = called(*arguments, "--workers", "2")
    assert refused.returncode == 2
    assert "--workers, --shard and --ray are not for a run that asks a judge" in refused.stderr
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = called(*arguments)
    assert refused.returncode == 2
    assert "unset RANK and WORLD_SIZE or give --shard 0/1" in refused.stderr
    assert "not for a run that asks a judge" not in called(*arguments, "--shard", "0/1", "--dry-run").stderr


def test_each_worker_has_gpus_or_cores_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefgen.engines.hf import devices

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8")
    shares = devices.shares(2, "cuda")
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["4,5", "6,7"]
    with pytest.raises(UsageError, match="there are 5 here"):
        devices.shares(6, "cuda")
    with pytest.raises(UsageError, match="cuda:1 is one device"):
        devices.shares(2, "cuda:1")
    distribution.take_own_gpus(EngineConfig(device="cuda"), {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})  # torchrun's
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6,7"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert devices.shares(cores, "cpu") == [{"OMP_NUM_THREADS": "1"}] * cores


def test_a_worker_that_dies_is_told_and_made_up_for(source: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    job, said = job_of(source, tmp_path / "out"), list[str]()
    constants = launch.provenance(job, Identity())
    with opened(job) as directory:
        task = DeadlyTask(job, directory.plan, constants, frozenset({2, 9}), tmp_path)
        shown = with_workers(task, directory, said)
    assert f"{ROWS}/{ROWS}" in shown
    assert "worker 0, shard" in shown or "worker 1, shard" in shown  # whichever the screen was drawn for
    assert len(said) == 2
    assert all("died of SIGKILL; started again (shards to make again: " in words for words in said)
    assert finished(job) == unbroken


def test_a_shard_that_kills_twice_ends_the_run_which_can_be_resumed(
    source: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    job = job_of(source, tmp_path / "out")
    constants = launch.provenance(job, Identity())
    with opened(job) as directory, pytest.raises(EnvironmentFault, match=r"died of SIGKILL at shard 5"):
        with_workers(DeadlyTask(job, directory.plan, constants, frozenset({5}), tmp_path, times=2), directory, [])
    assert 0 < Layout(job.output).recorded() < 13
    assert called(*fake(source, SHARD), "-o", job.output).returncode == 0
    assert data_digests(job.output) == unbroken


def test_what_one_worker_raises_ends_the_run(source: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "out")
    constants = launch.provenance(job, Identity())
    with opened(job) as directory:
        with pytest.raises(ModelUnreachable, match="nowhere"):
            with_workers(UnloadableTask(job, directory.plan, constants), directory, [])
        with pytest.raises(EnvironmentFault, match="died of SIGKILL with no shard in hand"):
            with_workers(UnloadableTask(job, directory.plan, constants, fatal=True), directory, [])


def children(parent: int) -> list[int]:
    """Processes that this one started."""
    found = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(number) for number in found.read_text().split()] if found.exists() else []


def gone(processes: Sequence[int]) -> bool:
    """Whether all of them end soon."""
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{process}").exists() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{process}").exists() for process in processes)


def begun(source: Path, out: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A long run with two workers that has committed something, and its workers."""
    process = start(*fake(source, 10), "-o", out, "--workers", "2")
    while committed(out) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    return process, children(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_to_the_parent_ends_all(number: signal.Signals, code: int, tmp_path: Path) -> None:
    source = write_input(tmp_path / "input", 1000)
    process, workers = begun(source, tmp_path / "out")
    assert len(workers) >= 2
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert gone(workers)
    assert code < 0 or "the same command continues" in said
    assert 3 <= committed(tmp_path / "out") < 100
    assert called("verify", tmp_path / "out").returncode == 0


def test_workers_on_the_scenes_give_the_same_bytes(tmp_path: Path) -> None:
    arguments = scenes(12, 4)
    for workers in (1, 2):
        done = called(*arguments, "-o", tmp_path / str(workers), "--workers", str(workers))
        assert done.returncode == 0, done.stderr
    assert len(data_digests(tmp_path / "1")) == 3
    assert data_digests(tmp_path / "2") == data_digests(tmp_path / "1")


@pytest.mark.slow
def test_three_workers_and_three_parts_of_a_larger_scenes_run_give_the_same_bytes(tmp_path: Path) -> None:
    arguments = scenes(120, 8)
    assert called(*arguments, "-o", tmp_path / "1").returncode == 0
    assert called(*arguments, "-o", tmp_path / "3", "--workers", "3").returncode == 0
    for index in (2, 0, 1):
        assert called(*arguments, "-o", tmp_path / "parts", "--shard", f"{index}/3").returncode == 0
    assert data_digests(tmp_path / "1") == data_digests(tmp_path / "3") == data_digests(tmp_path / "parts")
