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

from prefgen.engines.base import EngineConfig
from prefgen.training.config import Objective, Optimisation
from prefgen.training.run import prepare, train
from prefgen.training.state import Job
from tests.trainers.environments import Environment
from tests.trainers.sets import SCENES, awkward_rows, mixture

pytestmark = pytest.mark.slow

ROWS = 12 + len(awkward_rows())
LOSSES = {"dpo": "sigmoid", "ipo": "ipo", "slic": "hinge"}


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
    command = [
        *("dpo", "--dataset_name", f"{out}", "--max_length", "None", "--model_name_or_path", f"{model}"),
        *("--output_dir", f"{tmp_path / 'trl'}", "--max_steps", "1", "--per_device_train_batch_size", f"{ROWS}"),
        *("--loss_type", LOSSES[loss], "--beta", "0.1", "--logging_steps", "1", "--save_steps", "1"),
        *("--report_to", "none", "--use_cpu", "--bf16", "False"),
    ]
    Environment("trl").run("trl", *command, folder=tmp_path)
    (state,) = (tmp_path / "trl").rglob("checkpoint-1/trainer_state.json")
    theirs = next(step for step in json.loads(state.read_text())["log_history"] if "loss" in step)

    optimisation = Optimisation(batch_size=ROWS, grad_accum=1, max_steps=1, lora=False)
    job = Job((out,), tmp_path / "ours", EngineConfig(model=str(model)), Objective(loss=loss), optimisation)
    prepared = prepare(job)
    assert len(prepared.samples) == ROWS
    ours = train(job, prepared, lambda metrics: None)
    for name in ("logps/chosen", "logps/rejected", "loss"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
