"""RLOO on the scenes: what there is to learn before training, and reward and recall after 50 steps.

    python examples/scenes/rloo.py --output DIR

Prompts are captions of pictures of the unbiased world, in which the model, trained on the biased one, errs more. Before
training: how much better the best of four sampled answers is than their mean, and the number of prompts at which a
gradient is as much signal as noise. Then 50 steps of each of `ARMS`, and captions of held-out scenes of that world,
greedy and sampled. Writes ``rloo.json``; the same command continues where it was stopped. About ten minutes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from prove import BASE_MODEL, CAPTIONS, HERE, Run
from transformers import AutoModelForImageTextToText, AutoProcessor

from prefgen.engines.base import EngineConfig
from prefgen.engines.templates import ChatTemplate
from prefgen.evaluate.scenes import reward
from prefgen.evaluate.scenes.claims import kinds_in
from prefgen.evaluate.scenes.export import instruct_row, write_rows
from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, Heldout, heldout
from prefgen.evaluate.scenes.measure import prompt
from prefgen.evaluate.scenes.metrics import Tally
from prefgen.evaluate.scenes.render import jpeg
from prefgen.evaluate.scenes.sample import UNBIASED, sample_scene
from prefgen.requests import Rate
from prefgen.training import online, rollouts
from prefgen.training.config import Objective, Online, Optimisation
from prefgen.training.logprobs import Policy
from prefgen.training.model import attach
from prefgen.training.run import prepare
from prefgen.training.state import TrainingJob

STEPS, TOKENS, ANSWERS, BETA = 50, 80, 4, 0.4
PROMPTS, PROMPTS_SEED = 256, 70_001  # scenes of a series of their own
MEASURED = 150  # held-out scenes
ARMS = {  # prompts of a step, rate
    "24 answers, lr 3e-4": (6, 3e-4),
    "64 answers, lr 1e-3": (16, 1e-3),
}
SHOWN = ("reward", "object_recall", "chair_i", "caption_words", "entropy")


def prompts(output: Path) -> Path:
    """Captions of pictures of the unbiased world; the file of the rows."""
    folder = output / "rows"
    file = folder / "rows.json"
    if not file.exists():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        scenes = [sample_scene(UNBIASED, PROMPTS_SEED, index) for index in range(PROMPTS)]
        rows = [instruct_row(scene, CAPTIONS) for scene in scenes]
        for scene, row in zip(scenes, rows, strict=True):
            (folder / "images" / row["image"]).write_bytes(jpeg(scene))
        write_rows(file, rows)
    return file


def gradients(run: Run, rows: Path) -> dict[str, float]:
    """The first step's gradient of every prompt: what there is to learn, and how much of it is noise.

    Of N gradients g, |G|² is (|Σ g|² - Σ |g|²) / N(N - 1), without bias, and the variance of one the rest of its mean
    square: their ratio is the number of prompts at which signal and noise are equal (McCandlish et al., 2018).
    """
    lora = Optimisation(lora_r=16, lora_alpha=32, projector_lr=0, gradient_checkpointing=False)
    sampled = Online("sampled", reward="scenes", online_args=(f"max_new_tokens={TOKENS}", f"candidates={ANSWERS}"))
    config = EngineConfig(str(BASE_MODEL), device="cpu")
    job = TrainingJob(
        (rows,), run.output / "first gradients", config, Objective("rloo", beta=BETA), lora, online=sampled
    )
    job = replace(
        job,
        source=replace(job.source, image_root=(str(rows.parent / "images"),)),
        engines={Rate: reward.engine},
    )
    prepared = prepare(job)
    job.records.mkdir(parents=True, exist_ok=True)
    policy = Policy(attach(prepared.loaded, lora), prepared.loaded, packed=True)
    total: dict[str, torch.Tensor] = {}
    squares: list[float] = []
    rated: list[tuple[float, ...]] = []
    with ExitStack() as held:
        supply = held.enter_context(online.supply(job, prepared, policy.model))
        assert supply
        loader = iter([{"items": [prepared.dataset[number] for number in prepared.trained_on]}])
        (batch,) = supply.step(loader, 1, 0, 1)
        for item in supply.referred(batch["items"]):
            assert item.rollout
            rated.append(item.rollout.rewards)
            policy.zero_grad()
            loss_B, _ = rollouts.losses(job.objective, [item], policy([item]))
            loss_B.sum().backward()  # type: ignore[no-untyped-call]
            own = {name: weight.grad.clone() for name, weight in policy.trained() if weight.grad is not None}
            squares.append(sum(float(grad.square().sum()) for grad in own.values()))
            total = {name: total.get(name, 0) + grad for name, grad in own.items()}
    count = len(squares)
    signal = (sum(float(grad.square().sum()) for grad in total.values()) - sum(squares)) / (count * (count - 1))
    return {
        "prompts": count,
        "reward, mean": fmean(map(fmean, rated)),
        "reward, best of 4": fmean(map(max, rated)),
        "prompts whose answers all have one reward": fmean(len(set(each)) == 1 for each in rated),
        "prompts at which a gradient is as much signal as noise": fmean(squares) / signal - 1,
    }


def captions(folder: Path, items: list[Heldout], *, samples: bool) -> dict[str, Any]:
    """Figures of a model's captions of scenes, by the stock ``generate``, greedy or 4 to a scene at temperature 1."""
    network = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    asked = prompt(ChatTemplate(processor, str(folder)), CAPTION_QUESTION)
    how: dict[str, Any] = (
        {"do_sample": True, "top_k": 0, "num_return_sequences": 4} if samples else {"do_sample": False}
    )
    tally = Tally(len(items))
    torch.manual_seed(0)
    for start in range(0, len(items), 25):
        chunk = items[start : start + 25]
        inputs = processor(
            images=[item.picture() for item in chunk], text=[asked] * len(chunk), padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            made = network.generate(
                **inputs, max_new_tokens=TOKENS, return_dict_in_generate=True, output_logits=True, **how
            )
        ids_NT = made.sequences[:, inputs["input_ids"].shape[1] :]
        entropy_NT = torch.stack([torch.distributions.Categorical(logits=each).entropy() for each in made.logits], 1)
        said_NT = ids_NT != processor.tokenizer.pad_token_id
        for number, text in enumerate(processor.batch_decode(ids_NT, skip_special_tokens=True)):
            place = number // (len(ids_NT) // len(chunk))
            scene, named = chunk[place].scene, kinds_in(text)
            tally.add_caption(start + place, text, scene)
            right, wrong = len(named & scene.kinds), len(named - scene.kinds)
            tally.add("reward", start + place, (right - wrong) / len(scene.kinds), 1)
            counted = said_NT[number]
            tally.add("entropy", start + place, float(entropy_NT[number][counted].sum()), int(counted.sum()))
    figures = tally.intervals()
    found: dict[str, Any] = {name: _rounded(vars(figures[name]).values()) for name in SHOWN}
    return {**found, "reward by scene": _rounded(np.divide(*tally.sums("reward")))}


def rise(before: dict[str, Any], after: dict[str, Any]) -> list[float]:
    """By how much the reward of the same scenes rose, with the ends of the 95% bootstrap interval."""
    difference = np.subtract(*(each["reward by scene"] for each in (after, before)))
    drawn = np.random.default_rng(0).integers(len(difference), size=(1000, len(difference)))
    return _rounded([difference.mean(), *np.percentile(difference[drawn].mean(1), [2.5, 97.5])])


def without_scenes(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of all scenes alone."""
    return {way: {name: own[name] for name in SHOWN} for way, own in figures.items()}


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 4) for value in values]


def measured(run: Run, name: str, folder: Path) -> dict[str, Any]:
    """Figures of a model, each with the ends of its 95% interval over scenes, and its denominator."""
    return kept(
        run.output / f"{name}.json",
        lambda: {way: captions(folder, heldout(MEASURED), samples=way == "sampled") for way in ("greedy", "sampled")},
    )


def kept(file: Path, made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record of what was measured before, or a measurement now."""
    if not file.exists():
        file.write_text(json.dumps(made()), encoding="utf-8")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def arm(run: Run, rows: Path, name: str, before: dict[str, Any]) -> dict[str, Any]:
    """One way of training: every tenth of its steps, and captions after it."""
    size, rate = ARMS[name]
    options = ["--reward", "scenes", "--beta", f"{BETA:g}", "--lr", f"{rate:g}", "--max-steps", str(STEPS)]
    options += ["--batch-size", str(size), "--grad-accum", "1", "--lora-r", "16", "--lora-alpha", "32"]
    options += ["--projector-lr", "0", "--no-gradient-checkpointing", "--save-steps", "10"]
    options += ["--online-arg", f"max_new_tokens={TOKENS}", "--online-arg", f"candidates={ANSWERS}"]
    where = (str(rows), "--image-root", str(rows.parent / "images"), "--model", str(BASE_MODEL))
    model = run.prefgen(run.output / name, "train", "rloo", *where, *options)
    lines = [json.loads(line) for line in (model / "training" / "metrics.jsonl").read_text().splitlines()]
    steps = [entry for entry in lines if "reward" in entry]
    names = ("reward", "kl", "entropy", "completions/mean_length", "alike")
    after = measured(run, f"after {name}", model)
    tenths = [steps[start : start + STEPS // 10] for start in range(0, STEPS, STEPS // 10)]
    return {
        "options": options,
        "training, by five steps": {
            each: [round(fmean(entry[each] for entry in tenth), 4) for tenth in tenths] for each in names
        },
        "after": without_scenes(after),
        "reward, after minus before": {way: rise(before[way], after[way]) for way in after},
    }


def main() -> None:
    """Make all that is not made, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", *sys.argv])
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True
    )
    run = Run(given.output)
    rows = prompts(given.output)
    found: dict[str, Any] = {"command": command, "commit": commit.stdout.strip()}
    found["first gradients"] = kept(given.output / "first gradients.json", lambda: gradients(run, rows))
    before = measured(run, "before", BASE_MODEL)
    found |= {"before": without_scenes(before), "arms": {}}
    for name in given.arms:
        found["arms"][name] = arm(run, rows, name, before)
        (given.output / "rloo.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
