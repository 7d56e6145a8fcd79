"""What a training run leaves of itself, whatever happens to the process or the disk."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from prefgen.engines.base import EngineConfig
from prefgen.errors import CorruptRun, EnvironmentFault, ExitCode, Locked, UsageError
from prefgen.training import checkpoints, saved
from prefgen.training import reference as reference_
from prefgen.training import reward as reward_
from prefgen.training import run as job_
from prefgen.training import trainer as trainer_
from prefgen.training.config import Loss, Objective, Optimisation
from prefgen.training.run import prepare, train
from prefgen.training.state import Prepared, TrainingJob
from tests import faults
from tests.cli.runs import called
from tests.trainers.sets import SCENES

MODEL = SCENES / "model"
QUICK = Optimisation(
    lr=1e-4, projector_lr=0, batch_size=2, grad_accum=1, max_steps=3, save_steps=1, lora_r=4, lora_alpha=8
)
SAVERS = [
    *((torch, "save", 1), (trainer_, "save_file", 1)),
    *((reference_, "save_file", 1), (reward_, "save_file", 1)),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many pairs as the runs here take steps of two."""
    out = tmp_path_factory.mktemp("data") / "pairs"
    scenes = ("-i", SCENES / "llava_instruct.json", "--limit", "6", "-m", "fake", "--engine", "fake")
    assert called("bdhs", *scenes, "-o", out).returncode == 0
    return out


def job(data: Path, output: Path, loss: Loss = "dpo", **changes: Any) -> TrainingJob:
    return TrainingJob((data,), output, EngineConfig(model=str(MODEL)), Objective(loss), replace(QUICK, **changes))


@pytest.fixture(scope="module")
def once(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """A finished run of one step, in this process, so that children need not import what trains."""
    given = job(data, tmp_path_factory.mktemp("once") / "out", max_steps=1)
    train(given, prepare(given), lambda metrics: None)
    return given


@pytest.fixture(scope="module")
def prepared(data: Path, once: TrainingJob) -> Prepared:
    """Loaded once; children that train do so in memory of their own."""
    return prepare(job(data, data.parent / "unused"))


def trained(given: TrainingJob, prepared: Prepared) -> int:
    """Train as the command does; its exit code."""
    try:
        if job_.finished(given):
            job_.check_finished(given)
        else:
            train(given, prepared, lambda metrics: None)
    except EnvironmentFault as fault:
        return int(fault.exit_code)
    return 0


def digests(output: Path) -> dict[str, str]:
    """Of the model, without the card, which names the folder."""
    paths = [path for path in output.iterdir() if path.is_file() and path.name != "README.md"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module", params=["dpo", pytest.param("rm", marks=pytest.mark.slow)])
def unbroken(
    data: Path, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Loss, dict[str, str], int]:
    """A loss, digests of a run that nothing happens to, and its steps."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    ended = faults.run(lambda: trained(job(data, output, request.param), prepared), output, savers=SAVERS)
    assert (ended.value, ended.error) == (0, "")
    return request.param, digests(output), ended.steps


def moments(steps: int, config: pytest.Config) -> Iterator[int]:
    exhaustive = "not slow" not in str(config.getoption("-m"))
    yield from faults.sample(steps, steps if exhaustive else 4)


@pytest.mark.parametrize("fault", ["kill", "full"])
def test_a_run_goes_on_whatever_befalls_it(
    fault: faults.Fault,
    data: Path,
    prepared: Prepared,
    unbroken: tuple[Loss, dict[str, str], int],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    loss, expected, steps = unbroken
    assert steps > 40
    for at in moments(steps, request.config):
        output = tmp_path / str(at) / "out"
        given = job(data, output, loss)
        ended = faults.run(partial(trained, given, prepared), output, fault, at, SAVERS)
        done = saved.is_finished(output)  # what is left to do then needs no room
        assert ended.killed if fault == "kill" else (ended.value, ended.error) == (0 if done else 8, ""), (at, ended)
        resumed = faults.run(partial(trained, given, prepared), output)
        assert (resumed.value, resumed.error) == (0, ""), (at, resumed)
        assert digests(output) == expected, at
        saved.check(output)
        kept = {path.name for path in (output / "training").iterdir()}
        assert not kept & {"checkpoints", "model"}, (at, kept)
        shutil.rmtree(output)


def checkpoint(folder: Path, step: int) -> Path:
    """A checkpoint as the `Trainer` writes it, made whole."""
    written = checkpoints.staging(folder) / f"checkpoint-{step}"
    written.mkdir(parents=True)
    (written / "optimizer.pt").write_bytes(b"o" * step)
    (written / "trainer_state.json").write_text("{}")
    checkpoints.complete(folder)
    return folder / written.name


def test_a_checkpoint_counts_when_it_is_whole_and_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    left_out: list[str] = []
    first = checkpoint(tmp_path, 2)
    half = checkpoints.staging(tmp_path) / "checkpoint-4"
    half.mkdir(parents=True)
    assert checkpoints.last(tmp_path, left_out.append) == first
    checkpoints.clear(tmp_path)
    second = checkpoint(tmp_path, 4)
    assert checkpoints.last(tmp_path, left_out.append) == second
    assert not first.exists()
    assert left_out == []


@pytest.mark.parametrize("damage", ["missing", "cut", "no state", "state of an earlier version cut"])
def test_a_damaged_checkpoint_is_left_out_and_the_one_before_is_used(damage: str, tmp_path: Path) -> None:
    later = checkpoint(tmp_path, 4)
    shutil.copytree(later, tmp_path / "checkpoint-2")
    (tmp_path / "checkpoint-10").mkdir()  # what a kill left of it in earlier versions
    if damage == "missing":
        (later / "optimizer.pt").unlink()
    elif damage == "cut":
        os.truncate(later / "optimizer.pt", 1)
    else:
        (later / "complete.json").unlink()
        (later / "trainer_state.json").write_text('{"global_step": ')
        if damage == "no state":
            (later / "trainer_state.json").unlink()
    left_out: list[str] = []
    assert checkpoints.last(tmp_path, left_out.append) == tmp_path / "checkpoint-2"
    assert [Path(said.split(" ")[0]).name for said in left_out] == ["checkpoint-10", "checkpoint-4"]


def test_what_torch_and_safetensors_say_of_a_full_disk_is_a_fault_of_the_environment(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    values = torch.zeros(300_000)
    writes: list[Callable[[], object]] = [
        lambda: torch.save(values, full),
        lambda: safetensors.torch.save_file({"a": values}, tmp_path / "none" / "a"),
        lambda: full.write_bytes(b"a"),
    ]
    for write in writes:
        with pytest.raises(EnvironmentFault, match="cannot write to"), checkpoints.environment(tmp_path):
            write()
    with pytest.raises(RuntimeError, match="size of tensor"), checkpoints.environment(tmp_path):
        torch.zeros(2) + torch.zeros(3)


@pytest.fixture
def finished(once: TrainingJob, tmp_path: Path) -> TrainingJob:
    """A copy of `once`, to be damaged."""
    return replace(once, output=shutil.copytree(once.output, tmp_path / "out"))


def test_finished_means_that_the_model_is_what_was_saved(finished: TrainingJob, tmp_path: Path) -> None:
    moved = replace(finished, output=tmp_path / "moved")
    finished.output.rename(moved.output)
    job_.check_finished(moved)
    weights = moved.output / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(CorruptRun, match=r"model\.safetensors is damaged"):
        job_.check_finished(moved)
    weights.unlink()
    with pytest.raises(CorruptRun, match=r"model\.safetensors is missing"):
        job_.check_finished(moved)


def test_the_metrics_of_a_run_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "finished.json").write_text('{"loss": 0.5, "step": 4}')
    assert saved.result(tmp_path) == {"loss": 0.5, "step": 4}
    saved.check(tmp_path)


@pytest.mark.parametrize("name", ["settings.json", "placed.json", "finished.json"])
def test_a_damaged_record_is_named(name: str, prepared: Prepared, finished: TrainingJob) -> None:
    (finished.records / name).write_text('{"half": ')
    reads: dict[str, Callable[[], object]] = {
        "settings.json": lambda: job_.check_drift(finished, prepared),
        "placed.json": lambda: saved.refuse_foreign(finished.output, str(MODEL)),
        "finished.json": lambda: saved.check(finished.output),
    }
    with pytest.raises(CorruptRun, match=name):
        reads[name]()


def test_a_second_process_is_told_to_wait(data: Path, prepared: Prepared, tmp_path: Path) -> None:
    given = job(data, tmp_path / "out")
    with saved.hold(given.output), pytest.raises(Locked, match="is being written by another process") as locked:
        train(given, prepared, lambda metrics: None)
    assert locked.value.exit_code == ExitCode.LOCKED


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, by name."""
    paths = [folder] if folder.is_file() else folder.rglob("*")
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ("the model", "is the folder of --model"),
        ("a link to the model", "is the folder of --model"),
        ("a data set", "holds a data set of prefgen"),
        ("an unfinished data set", "holds a data set of prefgen"),
        ("a page", "README.md is of no training run"),
        ("another model", "config.json is of no training run"),
        ("a folder of that name", "training is of no training run"),
        ("a sweep", "holds a sweep, not a model"),
        ("a file", "is a file"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--sweep", "beta=0.1,0.2")], ids=["one", "sweep"])
def test_nothing_of_others_is_overwritten(
    case: str, named: str, options: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    model, output = tmp_path / "model", tmp_path / "out"
    shutil.copytree(MODEL, model)
    if case == "the model":
        output = model
    elif case == "a link to the model":
        output.symlink_to(model)
    elif case == "a data set":
        shutil.copytree(data, output)
    elif case == "a file":
        output.write_text("mine")
    else:
        output.mkdir()
        name, text = {
            "an unfinished data set": (".prefgen/plan.json", "{}"),
            "a page": ("README.md", "mine"),
            "another model": ("config.json", "{}"),
            "a folder of that name": ("training/notes.txt", "mine"),
            "a sweep": ("training/placed.json", '{"kind": "sweep", "names": ["sweep.json"]}'),
        }[case]
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_text(text.replace("sweep", "model") if options else text)
    before = contents(output)
    done = called("train", "dpo", data, "--model", model, "--output", output, "--max-steps", "1", *options)
    assert done.returncode == 2, done.stderr
    assert (named.replace("a sweep, not a model", "a model, not a sweep") if options else named) in done.stderr
    assert contents(output) == before


def test_a_file_that_came_in_the_way_while_training_is_kept(data: Path, prepared: Prepared, tmp_path: Path) -> None:
    given = job(data, tmp_path / "out", max_steps=1)

    def put(metrics: dict[str, float]) -> None:
        given.output.joinpath("README.md").write_text("mine")

    def act() -> str:
        with pytest.raises(UsageError) as refused:
            train(given, prepared, put)
        return str(refused.value)

    ended = faults.run(act, given.output)
    assert ended.error == ""
    assert "README.md would be overwritten: move it away" in ended.value
    assert (given.output / "README.md").read_text() == "mine"
    (given.output / "README.md").unlink()
    assert faults.run(lambda: trained(given, prepared), given.output).value == 0
