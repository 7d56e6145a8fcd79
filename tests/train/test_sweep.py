"""Grids of runs: their size, that each is the run it would be alone, that they resume, and which model is left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import CorruptRun, ExitCode, Stopped, UsageError
from prefgen.training import reference, sweep
from prefgen.training import run as job_
from prefgen.training.callbacks import Metrics
from prefgen.training.config import Objective
from prefgen.training.state import TrainingJob
from tests.train.test_run import job
from tests.trainers.sets import mixture

SHORT = {"max_steps": 2, "grad_accum": 1, "validation": 0.3}
GRID = {"lr": (1e-5, 1e-4), "beta": (0.1,)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


class Heard:
    """Keeps what a sweep tells, and asks it to stop after a step of the run with this number."""

    def __init__(self, stop_in: int = 0) -> None:
        self.begun: list[str] = []
        self.said: list[str] = []
        self._stop_in = stop_in
        self._stepped = False

    def begin(self, name: str, steps: int, samples: int) -> None:
        self.begun.append(name)

    def reference(self, done: int) -> None:
        pass

    def add(self, metrics: Metrics) -> None:
        self._stepped = len(self.begun) == self._stop_in and "loss" in metrics

    def say(self, text: str) -> None:
        self.said.append(text)

    def stop(self) -> ExitCode | None:
        return ExitCode.TERMINATED if self._stepped else None


def swept(given: TrainingJob, axes: sweep.Axes, heard: Heard, **settings: Any) -> list[sweep.Point]:
    prepared = job_.prepare(given)
    runs = sweep.points(given, axes)
    sweep.check_drift(runs, prepared)
    return sweep.run(given, runs, [*prepared.samples, *prepared.dropped], heard, heard.stop, **settings)


def losses(given: TrainingJob) -> list[float]:
    lines = map(json.loads, (given.records / "metrics.jsonl").read_text().splitlines())
    return [line.get("loss", line.get("eval_loss")) for line in lines]


def test_the_papers_grid_has_its_size(tmp_path: Path) -> None:
    given = job(tmp_path, tmp_path / "out", validation=0.1, max_steps=0)
    sizes = {loss: len(sweep.points(given, sweep.parse(["paper"], loss))) for loss in (*sweep.PAPER_BETA, "sft")}
    assert sizes == {"dpo": 432, "ipo": 324, "ipo-sum": 324, "slic": 324, "sft": 108}  # 108 by the number of β
    narrow = sweep.points(given, sweep.parse(["epochs=3", "paper", "batch=16"], "dpo"))
    assert len(narrow) == 48
    assert len({point.job.output for point in narrow}) == 48
    assert {point.job.optimisation.batch_size * point.job.optimisation.grad_accum for point in narrow} == {16}
    assert {point.job.optimisation.projector_lr for point in narrow} == {2e-5, 2e-6, 2e-7}
    assert {point.job.objective.beta for point in narrow} == {0.05, 0.1, 0.2, 0.5}


@pytest.mark.parametrize(
    ("given", "changes", "named"),
    [
        ("rate=1", {}, "rate"),
        ("lr=fast", {}, "numbers"),
        ("lr=", {}, "numbers"),
        ("batch=2.5", {}, "whole"),
        ("batch=3", {}, "--batch-size"),
        ("lr=-1", {}, "--lr"),
        ("label-smoothing=0.7", {}, "--label-smoothing"),
        ("epochs=1,2", {}, "--max-steps"),
        ("lr=1", {"validation": 0.0}, "--validation"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(given: str, changes: Any, named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        sweep.points(job(tmp_path, tmp_path / "out", **{**SHORT, **changes}), sweep.parse([given], "dpo"))


def test_each_run_is_what_it_would_be_alone_and_the_best_model_is_left(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[Any] = []
    compute = reference.compute

    def counted(*args: Any, **settings: Any) -> Any:
        computed.append(args)
        return compute(*args, **settings)

    monkeypatch.setattr(reference, "compute", counted)
    given = job(data, tmp_path / "sweep", **SHORT)
    heard = Heard()
    ranked = swept(given, GRID, heard)
    assert heard.begun == ["lr=1e-05,beta=0.1", "lr=0.0001,beta=0.1"]
    assert len(computed) == 1
    assert [point.has_model for point in ranked] == [True, False]
    assert ranked[0].name == "lr=0.0001,beta=0.1"  # two steps: the higher rate came further
    accuracies, measured = zip(*(point.order for point in ranked), strict=True)
    assert accuracies[0] < accuracies[1] or measured[0] < measured[1]
    alone = job(data, tmp_path / "alone", lr=1e-4, **SHORT)  # the second of the sweep
    job_.train(alone, job_.prepare(alone), lambda metrics: None)
    assert losses(ranked[0].job) == losses(alone)
    assert all((point.job.output / "README.md").exists() for point in ranked)
    written = json.loads((given.output / "sweep.json").read_text())["runs"]
    assert [run["name"] for run in written] == [point.name for point in ranked]
    assert [run["metrics"] for run in written] == [point.result for point in ranked]
    page = (given.output / "README.md").read_text()
    assert page.index("| 0.0001 | 0.1 |") < page.index("| 1e-05 | 0.1 |")

    more = Heard()
    wider = swept(given, {**GRID, "lr": (*GRID["lr"], 1e-6)}, more, keep_all=True)
    assert more.begun == ["lr=1e-06,beta=0.1"]
    assert [(point.name.partition(",")[0], point.has_model) for point in wider] == [
        ("lr=0.0001", True),
        ("lr=1e-05", False),
        ("lr=1e-06", True),
    ]
    other = replace(given, objective=Objective(sft_weight=1.0))
    with pytest.raises(CorruptRun, match="sft_weight"):
        swept(other, GRID, Heard())


def test_a_stopped_sweep_goes_on_with_the_run_that_was_stopped(data: Path, tmp_path: Path) -> None:
    settings = {**SHORT, "max_steps": 3}
    given = job(data, tmp_path / "stopped", **settings)
    heard = Heard(stop_in=2)
    with pytest.raises(Stopped):
        swept(given, GRID, heard)
    rest = Heard()
    swept(given, GRID, rest)
    assert rest.begun == heard.begun[1:]
    whole = sweep.points(job(data, tmp_path / "whole", **settings), GRID)[1]
    job_.train(whole.job, job_.prepare(whole.job), lambda metrics: None)
    assert losses(sweep.points(given, GRID)[1].job) == losses(whole.job)


def test_a_loss_that_becomes_no_number_ends_its_run_alone(data: Path, tmp_path: Path) -> None:
    given = job(data, tmp_path / "sweep", **SHORT)
    heard = Heard()
    ranked = swept(given, {"lr": (1e30, 1e-5)}, heard)
    assert [point.name for point in ranked] == ["lr=1e-05", "lr=1e+30"]
    assert ranked[1].result == {}
    assert "not a number" in heard.said[0]
    assert "| 1e+30 | no number |" in (given.output / "README.md").read_text()
    again = Heard()
    swept(given, {"lr": (1e30, 1e-5)}, again)
    assert again.begun == []
