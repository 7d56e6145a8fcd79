"""One run by the machines of a real Ray cluster, of which one is taken away."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefgen.console import Console
from prefgen.engines.base import EngineConfig
from prefgen.engines.build import Identity
from prefgen.errors import EnvironmentFault, ModelUnreachable
from prefgen.methods.bdhs import BDHS
from prefgen.rundir.layout import Plan
from prefgen.rundir.shards import RunDirectory
from prefgen.runner import launch
from prefgen.runner.launch import Job
from prefgen.runner.ray_ import Cluster, RayWorkers
from prefgen.runner.reporter import Progress
from prefgen.sources import SourceOptions
from tests.cli.deadly import DeadlyTask, UnloadableTask
from tests.cli.runs import called, data_digests, prefgen, start, write_input
from tests.cli.test_kill import committed, fake, scenes

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]  # Ray warns of its own affairs
ROOT = Path(__file__).parent.parent.parent
ROWS, SHARD = 1500, 10


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """Ray's processes find this code."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A cluster of three machines with one CPU each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=small)
    for _ in range(2):
        cluster.add_node(**{**small, "include_dashboard": None})
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_input(tmp_path_factory.mktemp("input"), ROWS)


@pytest.fixture(scope="module")
def unbroken(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert called(*fake(source, SHARD), "-o", out).returncode == 0
    return data_digests(out)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_machine_that_is_killed_loses_nothing(
    nodes: Any, source: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = start(*fake(source, SHARD), "-o", out, "--ray", nodes.address)
    until(lambda: committed(out) > 40 or run.poll() is not None)
    nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert "was lost" in said
    # Not that it counts all rows: a shard that was committed as its machine died is not among them.
    assert data_digests(out) == unbroken
    assert called("verify", out).returncode == 0


def test_a_machine_killed_under_a_real_model_loses_nothing(nodes: Any, tmp_path: Path) -> None:
    arguments = scenes(48, 4)
    assert called(*arguments, "-o", tmp_path / "one").returncode == 0
    run = start(*arguments, "-o", tmp_path / "out", "--ray", nodes.address)
    until(lambda: committed(tmp_path / "out") > 2 or run.poll() is not None)
    nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert data_digests(tmp_path / "out") == data_digests(tmp_path / "one")


def test_sigterm_to_the_driver_stops_the_run_which_goes_on_without_ray(
    nodes: Any, source: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = start(*fake(source, SHARD), "-o", out, "--ray", nodes.address)
    until(lambda: committed(out) > 10 or run.poll() is not None)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 75, said
    assert 10 < committed(out) < ROWS // SHARD
    assert called(*fake(source, SHARD), "-o", out).returncode == 0
    assert data_digests(out) == unbroken


def test_actors_that_die_are_replaced_and_what_they_raise_ends_the_run(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    job = Job(BDHS(), str(source), SourceOptions(limit=80), EngineConfig("none", "fake"), tmp_path / "out", 8)
    constants, said = launch.provenance(job, Identity()), list[str]()
    graves = tmp_path / "graves"
    graves.mkdir()
    planned = Plan(80, 8, launch.fingerprint(job, Identity()))
    board = Progress(80, 0, Console(quiet=True))
    with Cluster("local", job.engine) as cluster, RunDirectory.open(job.output, planned) as directory:
        with pytest.raises(ModelUnreachable, match="nowhere"):
            RayWorkers(cluster, UnloadableTask(job, planned, constants), directory, board, said.append).work()
        task = UnloadableTask(job, planned, constants, fatal=True)
        with pytest.raises(EnvironmentFault, match="workers were lost in a row"):
            RayWorkers(cluster, task, directory, board, list[str]().append).work()
        deadly = DeadlyTask(job, planned, constants, frozenset({2, 7}), graves)
        RayWorkers(cluster, deadly, directory, board, said.append).work()
        assert directory.remaining() == 0
    assert len(said) == 2
    assert "shards to make again: 2" in said[0]
    assert called("finalize", job.output).returncode == 0
    assert called("verify", job.output).returncode == 0


def test_without_a_cluster_it_says_so(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    done = prefgen(*fake(source, SHARD), "-o", tmp_path / "out", "--ray", "127.0.0.1:9")
    assert done.returncode == 8
    assert "no Ray cluster can be reached there" in done.stderr
