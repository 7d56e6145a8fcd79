"""Our first step against TRL's: the same shards, the same model, every row in one batch.

TRL tokenises what a chat template renders as it is. The template of LLaVA renders no beginning-of-sequence token, which
the processor adds when the model is asked, so TRL trains without it and we with it. Here the template has one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from prefgen.engines.base import EngineConfig
from prefgen.training.config import Objective, Optimisation
from prefgen.training.losses import Answers, Shift, losses, mean_reward
from prefgen.training.run import prepare, train
from prefgen.training.state import TrainingJob
from tests.cli.runs import called
from tests.trainers.environments import INSIDE, Environment
from tests.trainers.sets import SCENES, awkward_rows, mixture

pytestmark = pytest.mark.slow

ROWS = 12 + len(awkward_rows())
LOSSES = {"dpo": "sigmoid", "ipo": "ipo", "slic": "hinge"}
MPO = Objective(loss="dpo", pair_weight=0.8, quality_weight=0.2, sft_weight=1.0)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("model") / "scenes"
    shutil.copytree(SCENES / "model", copy)
    template = copy / "chat_template.jinja"
    template.write_text("{{ bos_token }}" + template.read_text())
    return copy


@pytest.mark.parametrize("loss", LOSSES)
def test_log_probabilities_and_loss_of_the_first_step_are_those_of_trl(
    loss: Any, model: Path, out: Path, tmp_path: Path
) -> None:
    compare(Objective(loss=loss), ("--loss_type", LOSSES[loss]), model, out, tmp_path)


def test_mpo_is_that_of_trl(model: Path, out: Path, tmp_path: Path) -> None:
    """On one row: TRL takes the mean of its SFT term over a batch's tokens."""
    done = called("sample", out, "--rows", "1", "-o", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    weights = ("--loss_weights", "0.8", "0.2", "1.0")
    compare(MPO, ("--loss_type", "sigmoid", "bco_pair", "sft", *weights), model, tmp_path / "one", tmp_path, rows=1)


def test_the_quality_loss_and_its_shift_are_those_of_trl_0_24(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(1)
    names = ("chosen", "chosen_ref", "rejected", "rejected_ref")
    batches = [dict(zip(names, (torch.randn(4, size, generator=draw) * 9).tolist(), strict=True)) for size in (3, 1, 4)]
    (tmp_path / "batches.json").write_text(json.dumps(batches))
    script = (INSIDE / "mpo_losses.py", tmp_path / "batches.json", "0.3")
    theirs = json.loads(Environment("llamafactory").run("python", *script, folder=tmp_path).splitlines()[-1])

    objective, shift = Objective(loss="dpo", beta=0.3, pair_weight=0.8, quality_weight=0.2), Shift()
    for batch, expected in zip(batches, theirs, strict=True):
        chosen, chosen_ref, rejected, rejected_ref = (torch.tensor(batch[name]) for name in names)
        ones = torch.ones(len(chosen))
        answers = Answers(
            chosen, chosen_ref, ones, rejected[:, None], rejected_ref[:, None], ones[:, None], ones[:, None].bool()
        )
        shift.add(mean_reward(objective, answers))
        assert losses(objective, answers, shift.mean).tolist() == pytest.approx(expected, rel=1e-5)


def compare(
    objective: Objective, options: tuple[str, ...], model: Path, out: Path, tmp_path: Path, rows: int = ROWS
) -> None:
    """See that the first step of all rows is that of TRL with these options."""
    command = [
        *("dpo", "--dataset_name", f"{out}", "--max_length", "None", "--model_name_or_path", f"{model}"),
        *("--output_dir", f"{tmp_path / 'trl'}", "--max_steps", "1", "--per_device_train_batch_size", f"{rows}"),
        *(*options, "--beta", "0.1", "--logging_steps", "1", "--save_steps", "1"),
        *("--report_to", "none", "--use_cpu", "--bf16", "False"),
    ]
    Environment("trl").run("trl", *command, folder=tmp_path)
    (state,) = (tmp_path / "trl").rglob("checkpoint-1/trainer_state.json")
    theirs = next(step for step in json.loads(state.read_text())["log_history"] if "loss" in step)

    optimisation = Optimisation(batch_size=rows, grad_accum=1, max_steps=1, lora=False)
    job = TrainingJob((out,), tmp_path / "ours", EngineConfig(model=str(model)), objective, optimisation)
    prepared = prepare(job)
    assert len(prepared.samples) == rows
    ours = train(job, prepared, lambda metrics: None)
    for name in ("logps/chosen", "logps/rejected", "loss"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
