"""Samples that are held out: who they are, that none is trained on, and what is measured of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from prefgen.errors import ExitCode, Stopped, UsageError
from prefgen.rundir.reader import Stored
from prefgen.select.keys import digests
from prefgen.training.logprobs import token_logps
from prefgen.training.run import prepare, train
from prefgen.training.state import TrainingJob
from prefgen.training.trainer import PreferenceTrainer
from tests.train.test_run import MODEL, job
from tests.trainers.sets import mixture

EVAL_STEPS = 2
NAMES = {
    *("eval_loss", "eval_rewards/chosen", "eval_rewards/rejected", "eval_rewards/margins", "eval_rewards/accuracies"),
    *("eval_logps/chosen", "eval_logps/rejected", "eval_logps/end"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


def held_out_job(data: Path, output: Path, **changes: Any) -> TrainingJob:
    return job(data, output, **{"validation": 0.3, "eval_steps": EVAL_STEPS, "batch_size": 2, **changes})


def measured(given: TrainingJob) -> list[dict[str, float]]:
    """What was measured of held-out samples, without how long it took."""
    lines = map(json.loads, (given.records / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in (*NAMES, "step")} for line in lines if "eval_loss" in line]


def test_no_picture_is_held_out_and_trained_on(data: Path, tmp_path: Path) -> None:
    prepared = prepare(held_out_job(data, tmp_path / "out"))
    rows = Stored(data).take(range(17)).to_pylist()

    def pictures(numbers: Any) -> set[str]:
        return {digest for number in numbers for digest in digests(rows[prepared.samples[number].place[1]])}

    assert set(prepared.held_out) | set(prepared.trained_on) == set(range(len(prepared.samples)))
    assert prepared.held_out
    assert not pictures(prepared.held_out) & pictures(prepared.trained_on)
    assert prepared.held_out == prepare(held_out_job(data, tmp_path / "again")).held_out
    others = [prepare(held_out_job(data, tmp_path / "other", seed=seed)).held_out for seed in (1, 2)]
    assert any(other != prepared.held_out for other in others)


def test_what_is_measured_is_what_the_saved_model_says(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    step = PreferenceTrainer.training_step

    def training_step(self: Any, model: Any, inputs: Any, *args: Any) -> Any:
        seen.update(item.sample.id for item in inputs["items"])
        return step(self, model, inputs, *args)

    monkeypatch.setattr(PreferenceTrainer, "training_step", training_step)
    given = held_out_job(data, tmp_path / "out", max_steps=5, batch_size=3)
    prepared = prepare(given)
    held = [prepared.dataset[number] for number in prepared.held_out]
    with torch.no_grad():
        before = token_logps(prepared.loaded, held, packed=True)
    last = train(given, prepared, lambda metrics: None)
    assert seen == {prepared.samples[number].id for number in prepared.trained_on}
    assert [entry["step"] for entry in measured(given)] == [0, 2, 4, 5]
    assert measured(given)[0]["eval_rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert len(held) % given.optimisation.batch_size  # the last batch is not full

    saved = replace(
        prepared.loaded, model=transformers.AutoModelForImageTextToText.from_pretrained(given.output).eval()
    )
    with torch.no_grad():
        after = token_logps(saved, held, packed=True)
    sums = torch.tensor([[float(answer.sum()) for answer in answers] for answers in after])
    refs = torch.tensor([[float(answer.sum()) for answer in answers] for answers in before])
    margins = 0.1 * ((sums - refs)[:, 0] - (sums - refs)[:, 1])
    assert last["eval_loss"] == pytest.approx(float(torch.log1p(torch.exp(-margins)).mean()), rel=1e-4)
    assert last["eval_rewards/margins"] == pytest.approx(float(margins.mean()), rel=1e-3, abs=1e-4)
    assert last["eval_rewards/accuracies"] == pytest.approx(float((margins > 0).float().mean()))
    assert last["eval_logps/chosen"] == pytest.approx(float(sums[:, 0].mean()), rel=1e-4)
    assert last["eval_logps/end"] == pytest.approx(float(torch.stack([each[0][-1] for each in after]).mean()), rel=1e-3)
    written = (given.output / "README.md").read_text()
    assert "held out, step 0 | held out, step 5" in written
    assert "training/curves.svg" in written
    assert (given.output / "training" / "curves.svg").exists()


def test_a_stopped_run_measures_what_a_whole_one_does(data: Path, tmp_path: Path) -> None:
    whole, given = (held_out_job(data, tmp_path / name) for name in ("whole", "stopped"))
    train(whole, prepare(whole), lambda metrics: None)
    done: list[float] = []

    def stop() -> ExitCode | None:
        return ExitCode.TERMINATED if done and done[-1] == 1 else None

    with pytest.raises(Stopped):
        train(given, prepare(given), lambda metrics: done.append(metrics["step"]), stop=stop)
    assert [entry["step"] for entry in measured(given)] == [0, 2]
    train(given, prepare(given), lambda metrics: None)
    assert measured(given) == measured(whole)


def test_measuring_changes_nothing_of_what_is_learned(data: Path, tmp_path: Path) -> None:
    losses = []
    for every in (1, 100):
        told: list[dict[str, float]] = []
        given = held_out_job(data, tmp_path / str(every), eval_steps=every, max_steps=3, grad_accum=1)
        train(given, prepare(given), told.append)
        losses.append([metrics["loss"] for metrics in told if "loss" in metrics])
    assert losses[0] == losses[1]


def test_the_share_is_met_as_nearly_as_pictures_allow(data: Path, tmp_path: Path) -> None:
    assert len(prepare(held_out_job(data, tmp_path / "out", validation=0.0001)).held_out) >= 1
    assert 8 <= len(prepare(held_out_job(data, tmp_path / "out", validation=0.45)).held_out) < 17
    with pytest.raises(UsageError, match="--validation"):
        prepare(held_out_job(data, tmp_path / "out", validation=0.9999))


def test_by_default_it_is_measured_once_an_epoch(data: Path, tmp_path: Path) -> None:
    given = held_out_job(data, tmp_path / "out", eval_steps=0, max_steps=0, epochs=2, grad_accum=1, batch_size=4)
    prepared = prepare(given)
    train(given, prepared, lambda metrics: None)
    assert [entry["step"] for entry in measured(given)] == [0, prepared.steps // 2, prepared.steps]
    assert str(MODEL) in (given.output / "README.md").read_text()
