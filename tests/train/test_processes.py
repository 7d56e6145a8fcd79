"""Several processes learn what one learns with as many samples in a step: by themselves, and as accelerate asks."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import transformers

from prefgen.engines.base import EngineConfig
from prefgen.errors import UsageError
from prefgen.training import processes
from tests.cli.runs import ENVIRONMENT, Forked, called, prefgen
from tests.trainers.sets import SCENES, mixture

ENVIRONMENT = {**ENVIRONMENT, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
QUICK = ("--model", SCENES / "model", "--device", "cpu", "--lr", "1e-4", "--projector-lr", "1e-4", "--grad-accum", "1")
STEPS = 4  # of 4 of 17 samples, so that no batch is filled up
TWICE = (*QUICK, "--batch-size", "4", "--max-steps", str(STEPS))
HALVES = (*QUICK, "--batch-size", "2", "--max-steps", str(STEPS))
TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2")
MEASURED = ("loss", "grad_norm", "rewards/margins", "rewards/chosen", "logps/chosen", "logps/rejected", "logps/end")
WRAPPED = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}
CONFIGURED: dict[str, dict[str, Any]] = {
    "fsdp2": {"distributed_type": "FSDP", "fsdp_config": WRAPPED},
    "fsdp2-full": {"distributed_type": "FSDP", "fsdp_config": {**WRAPPED, "fsdp_state_dict_type": "FULL_STATE_DICT"}},
    **{
        f"zero-{stage}": {
            "distributed_type": "DEEPSPEED",
            "deepspeed_config": {"zero_stage": stage, "gradient_accumulation_steps": "auto"},
        }
        for stage in (2, 3)
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


def launched(*command: object) -> subprocess.CompletedProcess[str]:
    """A module of Python, run to its end."""
    whole = [sys.executable, "-m", *map(str, command)]
    return subprocess.run(whole, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=600)


def accelerate(folder: Path, config: dict[str, Any]) -> tuple[object, ...]:
    """What comes before `prefgen` to run it in two processes by this configuration."""
    if config["distributed_type"] == "DEEPSPEED" and not importlib.util.find_spec("deepspeed"):
        pytest.skip("deepspeed is not installed")
    file = folder / "accelerate.json"
    common = {"compute_environment": "LOCAL_MACHINE", "use_cpu": True, "num_machines": 1, "num_processes": 2}
    file.write_text(json.dumps({**common, **config}))
    return ("accelerate.commands.launch", "--config_file", file, "-m")


def steps(output: Path) -> list[dict[str, float]]:
    lines = (output / "training" / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if "loss" in entry]


def assert_same(one: Path, other: Path) -> None:
    """The same figures of every step, and the same weights."""
    assert len(steps(one)) == len(steps(other)) == STEPS
    for ours, theirs in zip(steps(one), steps(other), strict=True):
        assert {name: ours[name] for name in MEASURED} == pytest.approx(
            {name: theirs[name] for name in MEASURED}, rel=1e-4, abs=1e-4
        )
    models = [transformers.AutoModelForImageTextToText.from_pretrained(path).state_dict() for path in (one, other)]
    before = transformers.AutoModelForImageTextToText.from_pretrained(SCENES / "model").state_dict()
    assert models[0].keys() == models[1].keys() == before.keys()
    moved = max(float((models[0][name] - before[name]).abs().max()) for name in before)
    apart = max(float((models[0][name] - models[1][name]).abs().max()) for name in before)
    assert moved > 5e-5
    assert apart < 0.01 * moved


def test_two_processes_learn_what_one_does_with_twice_the_batch(data: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert called("train", "dpo", data, *TWICE, "--output", one).returncode == 0
    started = Forked("train", "dpo", data, *HALVES, "--gpus", "2", "--output", two, "--json")
    out, err = started.communicate()
    assert started.returncode == 0, err
    assert json.loads(out)["step"] == STEPS  # one of them speaks
    assert err.count("17 samples") == 1
    assert err.count(f"{STEPS} steps of 4 samples") == 1
    assert_same(one, two)


@pytest.mark.slow
def test_machines_that_share_no_disk_are_told_so_before_the_first_step(data: Path, tmp_path: Path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "prefgen", "train", "dpo", data, *HALVES, "--output", "out"]
    nodes = []
    for rank in range(2):
        folder = tmp_path / str(rank)
        (folder / "out" / "training").mkdir(parents=True)
        (folder / "out" / "training" / "config.toml").touch()  # of an earlier try
        own = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**ENVIRONMENT, "PYTHONPATH": os.getcwd(), **{name: str(value) for name, value in own.items()}}
        words = list(map(str, command))
        nodes.append(subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True))
    said = [node.communicate(timeout=300)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [2, 2], said
    assert "process 1 on" in said[1]
    assert "must be on a disk that all machines share" in said[1]
    assert "error" not in said[0]


@pytest.mark.slow
def test_what_all_of_them_find_wrong_is_said_once(data: Path, tmp_path: Path) -> None:
    done = prefgen("train", "dpo", data, *HALVES, "--gpus", "2", "--max-length", "20", "--output", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error:") == 1
    assert "ROW_TOO_LONG" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("changes", [(), ("--no-lora",)], ids=["lora", "whole"])
@pytest.mark.parametrize("how", ["torchrun", *CONFIGURED])
def test_shared_out_weights_learn_the_same(how: str, changes: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    command = (*TORCHRUN, "-m") if how == "torchrun" else accelerate(tmp_path, CONFIGURED[how])
    one, two = tmp_path / "one", tmp_path / "two"
    assert called("train", "dpo", data, *TWICE, *changes, "--output", one).returncode == 0
    done = launched(*command, "prefgen", "train", "dpo", data, *HALVES, *changes, "--save-steps", "2", "--output", two)
    assert done.returncode == 0, done.stderr
    assert_same(one, two)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the process in /proc")
@pytest.mark.parametrize("how", ["gpus", "fsdp2", "zero-3"])
def test_a_signal_to_any_of_them_stops_all_and_they_go_on_as_if_it_had_not(
    how: str, data: Path, tmp_path: Path
) -> None:
    """Over an epoch whose last batch is filled up: 17 samples, 4 to a step."""
    options = (*QUICK, "--batch-size", "2", "--epochs", "4")
    command: tuple[object, ...] = ("prefgen", "train", "dpo", data, *options)
    if how == "gpus":
        command = (*command, "--gpus", "2")
    else:
        command = (*accelerate(tmp_path, CONFIGURED[how]), *command)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = launched(*command, "--output", whole)
    assert done.returncode == 0, done.stderr
    assert len(steps(whole)) == 4 * 5
    metrics = stopped / "training" / "metrics.jsonl"
    given = [sys.executable, "-m", *map(str, command), "--output", str(stopped)]
    with subprocess.Popen(
        given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    ) as process:
        while not metrics.exists() or not metrics.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(second(stopped), signal.SIGTERM)
        said, _ = process.communicate(timeout=300)
    assert "stopped after step" in said
    assert said.count("error: stopped") == 1
    if how == "gpus":
        assert process.returncode == 75
    before = len(steps(stopped))
    assert 0 < before < 4 * 5
    done = launched(*command, "--output", stopped)
    assert done.returncode == 0, done.stderr
    assert [step["loss"] for step in steps(stopped)] == [step["loss"] for step in steps(whole)]
    models = [transformers.AutoModelForImageTextToText.from_pretrained(path).state_dict() for path in (whole, stopped)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def second(output: Path) -> int:
    """The process with rank 1 among those that train there."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            named = str(output).encode() in (process / "cmdline").read_bytes()
            if named and b"RANK=1" in (process / "environ").read_bytes().split(b"\0"):
                return int(process.name)
    raise AssertionError("no process has rank 1")


@pytest.mark.parametrize(
    ("environment", "device", "named"),
    [
        ({"WORLD_SIZE": "2"}, "cuda:1", "--device cuda"),
        ({"ACCELERATE_USE_FSDP": "true"}, "cpu", "fsdp_version: 2"),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_ACTIVATION_CHECKPOINTING": "true"},
            "cpu",
            "fsdp_activation_checkpointing: false",
        ),
    ],
)
def test_what_cannot_be_done_together_is_refused(environment: dict[str, str], device: str, named: str) -> None:
    with patch.dict(os.environ, environment), pytest.raises(UsageError, match=named):
        processes.join(EngineConfig(model="any", device=device))
