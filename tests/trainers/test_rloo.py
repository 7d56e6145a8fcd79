"""TRL's RLOO and GRPO trainers with a reward model of ours as a reward function, as it is.

RLOO's first step is compared with ours: the same answers to the same pictures, the policy not its reference.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf.loading import load
from prefgen.images import ImageRoot
from prefgen.images import load as load_image
from prefgen.records import ImageRef, Slot, Turn
from prefgen.rewards import Reward
from prefgen.training.config import Objective, Optimisation
from prefgen.training.logprobs import token_logps
from prefgen.training.policy_gradient import Rollout, rloo, sequence_kl
from prefgen.training.rollouts import losses
from prefgen.training.rows import Answer, Item, Reader
from prefgen.training.run import prepare, train
from prefgen.training.state import TrainingJob
from tests.cli.runs import called
from tests.trainers.environments import INSIDE, Environment
from tests.trainers.sets import SCENES

pytestmark = pytest.mark.slow

BETA, ANSWERS, PROMPTS = 0.4, 4, 2  # as in inside/rloo_step.py
QUESTION = (Turn("user", (Slot.IMAGE, "Describe the image.")),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scenes' model, and a reward model in ``RM``."""
    folder = tmp_path_factory.mktemp("rloo")
    shutil.copytree(SCENES / "model", folder / "model")
    template = folder / "model" / "chat_template.jinja"
    template.write_text("{{ bos_token }}" + template.read_text())  # or TRL trains without it
    scenes = ("-i", SCENES / "llava_instruct.json", "-m", "fake", "--engine", "fake", "--limit", "4")
    assert called("bdhs", *scenes, "-o", folder / "pairs").returncode == 0
    quick = Optimisation(projector_lr=0, batch_size=2, grad_accum=1, max_steps=2, lora_r=4, lr=1e-3, save="adapter")
    job = TrainingJob((folder / "pairs",), folder / "RM", EngineConfig(str(folder / "model")), Objective("rm"), quick)
    train(job, prepare(job), lambda metrics: None)
    return folder


@pytest.fixture(scope="module")
def step(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The record of TRL's RLOO step, and its folder."""
    script = (INSIDE / "rloo_step.py", folder / "model", SCENES / "images", folder, folder / "RM")
    Environment("trl").run("python", *script, folder=folder)
    return folder, json.loads((folder / "step.json").read_text())


def test_a_step_of_grpo_is_by_our_rewards(folder: Path) -> None:
    """Advantages are (r - mean) / (std + 1e-4) of the rewards that this process gives the same answers."""
    script = (INSIDE / "grpo_step.py", folder / "model", SCENES / "images", folder, folder / "RM")
    Environment("trl").run("python", *script, folder=folder)
    theirs = json.loads((folder / "grpo.json").read_text())
    pictures = [SCENES / "images" / f"{number:012d}.jpg" for number in range(PROMPTS) for _ in range(ANSWERS)]
    asked = ["Describe the image."] * len(pictures)
    rated = Reward(folder / "RM", device="cpu")(asked, theirs["texts"], images=pictures)
    assert rated == pytest.approx(theirs["rewards"], abs=1e-4)
    assert theirs["log"]["rewards/RM/mean"] == pytest.approx(sum(rated) / len(rated), abs=1e-4)
    own = torch.tensor(rated).reshape(PROMPTS, ANSWERS)
    advantages = (own - own.mean(-1, keepdim=True)) / (own.std(-1, keepdim=True) + 1e-4)
    assert theirs["advantages"] == pytest.approx(advantages.flatten().tolist(), abs=1e-2)
    assert 0 < theirs["moved"] < 0.1


def items(folder: Path, reader: Reader, found: dict[str, Any]) -> list[Item]:
    """TRL's answers as ours, a prompt with all of its own."""
    made = []
    for number in range(PROMPTS):
        data = (SCENES / "images" / f"{number:012d}.jpg").read_bytes()
        item = reader.item(QUESTION, (load_image(ImageRef(data=data), ImageRoot(())),), ["A star."])
        own = slice(number * ANSWERS, (number + 1) * ANSWERS)
        assert {tuple(ids) for ids in found["prompts"][own]} == {item.sample.prompt}
        answers = tuple(Answer(tuple(ids), (1.0,) * len(ids)) for ids in found["answers"][own])
        made.append(replace(item, sample=replace(item.sample, answers=answers)))
    return made


def test_the_first_step_is_that_of_trl(step: tuple[Path, dict[str, Any]]) -> None:
    folder, theirs = step
    policy = load(EngineConfig(str(folder / "policy"), device="cpu"))
    before = load(EngineConfig(str(folder / "model"), device="cpu"))
    made = items(folder, Reader(policy, "all", 10_000), theirs)
    pictures = [item for number in range(PROMPTS) for item in [SCENES / "images" / f"{number:012d}.jpg"] * ANSWERS]
    rated = Reward(folder / "RM", device="cpu")(
        ["Describe the image."] * len(pictures), theirs["texts"], images=pictures
    )
    assert sum(rated) / len(rated) == pytest.approx(theirs["log"]["rewards/RM/mean"], abs=1e-4)
    total = [one + other for one, other in zip(theirs["rewards"], rated, strict=True)]
    policy.model.requires_grad_(True)
    policy.model.model.vision_tower.requires_grad_(False)
    with torch.no_grad():
        reference = token_logps(before, made, packed=True)
    logps = token_logps(policy, made, packed=True)
    sums = [float(own.detach().sum()) for answers in logps for own in answers]
    assert sums == pytest.approx(theirs["old_logps"], abs=1e-4)
    advantages, kl, rollouts = [], 0.0, []
    for number, (own, first) in enumerate(zip(logps, reference, strict=True)):
        scores = tuple(total[number * ANSWERS : (number + 1) * ANSWERS])
        old = [each.detach() for each in own]
        advantages += rloo(own, old, first, torch.tensor(scores), BETA, 0.2)[1].tolist()
        kl += float(sequence_kl(old, first).sum())
        rollout = Rollout(scores, scores, (False,) * ANSWERS, alike=False)
        rollouts.append(replace(made[number], reference=tuple(first), rollout=rollout))
    assert advantages == pytest.approx(theirs["advantages"], abs=1e-4)
    assert kl / sum(map(len, theirs["answers"])) == pytest.approx(theirs["log"]["kl"], abs=1e-4)
    assert abs(kl) > 0.01
    loss_B, _ = losses(Objective("rloo", beta=BETA), rollouts, logps)
    assert float(loss_B.mean().detach()) == pytest.approx(theirs["log"]["loss"], abs=1e-4)
    loss_B.mean().backward()  # type: ignore[no-untyped-call]
    squares = sum(float(weight.grad.square().sum()) for weight in policy.model.parameters() if weight.grad is not None)
    assert squares**0.5 == pytest.approx(theirs["log"]["grad_norm"], rel=1e-4)
