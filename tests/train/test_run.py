"""Training runs on small models, end to end."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import peft
import pytest
import torch
import transformers

from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import CorruptRun, ExitCode, Stopped, UsageError
from prefgen.training import run as job_
from prefgen.training.config import Objective, Online, Optimisation
from prefgen.training.logprobs import token_logps
from prefgen.training.run import prepare, train
from prefgen.training.state import TrainingJob
from tests.cli.runs import called
from tests.trainers.sets import SCENES, mixture

MODEL = SCENES / "model"
STEPS = 3
QUICK = Optimisation(
    lr=1e-4, projector_lr=1e-4, batch_size=2, grad_accum=2, max_steps=STEPS, save_steps=100, lora_r=4, lora_alpha=8
)
FROZEN = {"projector_lr": 0.0, "batch_size": 1, "grad_accum": 1, "max_steps": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


def job(data: Path, output: Path, **changes: Any) -> TrainingJob:
    return TrainingJob((data,), output, EngineConfig(model=str(MODEL)), Objective(), replace(QUICK, **changes))


def run(given: TrainingJob, stop_after: int = 0) -> list[dict[str, float]]:
    """Metrics of the steps that were taken; runs on the same data share a reference."""
    given = replace(given, reference=Path(given.runs[0]).parent / "reference")
    told: list[dict[str, float]] = []

    def stop() -> ExitCode | None:
        return ExitCode.TERMINATED if told and told[-1]["step"] == stop_after else None

    train(given, prepare(given), told.append, stop=stop)
    return [metrics for metrics in told if "loss" in metrics]


Finished = Callable[..., tuple[TrainingJob, list[dict[str, float]]]]


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Gives a finished run with such changes, and its steps; tests that ask for the same one share it."""
    made: dict[str, tuple[TrainingJob, list[dict[str, float]]]] = {}

    def of(objective: Objective | None = None, **changes: Any) -> tuple[TrainingJob, list[dict[str, float]]]:
        given = replace(
            job(data, tmp_path_factory.mktemp("finished") / "out", **changes), objective=objective or Objective()
        )
        key = repr((given.objective, given.optimisation))
        if key not in made:
            made[key] = given, run(given)
        return made[key]

    return of


def weights(output: Path) -> dict[str, torch.Tensor]:
    model = transformers.AutoModelForImageTextToText.from_pretrained(output)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_a_run_starts_at_the_reference_learns_and_saves_a_model_that_loads(finished: Finished) -> None:
    given, steps = finished()
    assert len(steps) == STEPS
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)  # policy and reference are one model
    assert steps[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert steps[-1]["rewards/margins"] > 0
    before, after = weights(MODEL), weights(given.output)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("language_model" in name and "q_proj" in name for name in changed)
    assert any("multi_modal_projector" in name for name in changed)
    assert not any("vision_tower" in name or "lm_head" in name or "embed" in name for name in changed)
    written = [json.loads(line) for line in (given.records / "metrics.jsonl").read_text().splitlines()]
    assert [entry["loss"] for entry in written if "loss" in entry] == [step["loss"] for step in steps]
    assert "logps/end" in (given.output / "README.md").read_text()
    assert transformers.AutoProcessor.from_pretrained(given.output).chat_template
    assert job_.finished(given)
    assert not (given.records / "checkpoints").exists()


@pytest.mark.parametrize("lora", [True, False])
def test_bfloat16_starts_at_the_reference_too(data: Path, tmp_path: Path, lora: bool) -> None:
    given = job(data, tmp_path / "out", lora=lora, max_steps=1)
    (step,) = run(replace(given, engine=EngineConfig(model=str(MODEL), dtype="bfloat16")))
    assert step["rewards/margins"] == pytest.approx(0, abs=2e-2)  # rows are padded otherwise than they were
    saved = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert {weight.dtype for weight in saved.state_dict().values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("changes", "objective"),
    [({}, Objective()), ({"lora": False}, Objective()), ({}, Objective(pair_weight=0.8, quality_weight=0.2))],
    ids=["lora", "full", "quality"],
)
def test_a_stopped_run_goes_on_with_no_other_settings_and_as_if_it_had_not_been(
    changes: dict[str, Any], objective: Objective, data: Path, finished: Finished, tmp_path: Path
) -> None:
    unbroken, whole = finished(objective, **changes)
    given = replace(job(data, tmp_path / "stopped", **changes), objective=objective)
    with pytest.raises(Stopped) as stopped:
        run(given, stop_after=1)  # asked for after the first step's log, so heeded at the end of the second
    assert stopped.value.exit_code == ExitCode.TERMINATED
    with pytest.raises(CorruptRun, match="lr"):
        run(replace(given, optimisation=replace(given.optimisation, lr=1e-3)))
    rest = run(given)
    assert [step["loss"] for step in rest] == [step["loss"] for step in whole[2:]]
    written = [json.loads(line) for line in (given.records / "metrics.jsonl").read_text().splitlines()]
    assert [entry["loss"] for entry in written if "loss" in entry] == [step["loss"] for step in whole]
    one, other = weights(unbroken.output), weights(given.output)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_tensorboard_gets_every_step_and_keeps_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[tuple[str, int], float] = {}
    folders = []

    class Writer:
        """Stands for tensorboard's, which the tests do not install."""

        def __init__(self, log_dir: str) -> None:
            folders.append(Path(log_dir))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            found[name, step] = value

        def add_text(self, *_: object) -> None:
            """Arguments and configuration."""

        def flush(self) -> None:
            """After every step."""

        close = flush

    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    monkeypatch.setattr(transformers.integrations.integration_utils, "is_tensorboard_available", lambda: True)
    given = replace(job(data, tmp_path / "out", max_steps=2), report_to="tensorboard")
    steps = run(given)
    assert folders == [given.records / "tensorboard"]
    for name in ("loss", "rewards/margins", "logps/end"):
        assert [found[f"train/{name}", step] for step in (1, 2)] == [metrics[name] for metrics in steps]


def test_an_option_that_the_version_before_had_not_is_no_other_setting(finished: Finished, tmp_path: Path) -> None:
    whole, _ = finished()
    given = replace(whole, output=shutil.copytree(whole.output, tmp_path / "out"))
    prepared = prepare(given)
    file = given.records / "settings.json"
    told = json.loads(file.read_text())
    later = ("clip", "pair_weight", "span_weight")
    file.write_text(json.dumps({name: value for name, value in told.items() if name not in later}))
    job_.check_drift(given, prepared)
    with pytest.raises(CorruptRun, match="clip"):
        job_.check_drift(replace(given, objective=Objective(clip=0.3)), prepared)


def test_nor_is_one_that_the_maker_of_answers_had_not(data: Path, tmp_path: Path) -> None:
    """Rankings got fields after runs of online DPO were begun."""
    made = Online("dpo", annotator="http://127.0.0.1:1/v1", online_args=("temperature=0.7",))
    judge = JudgeConfig(judge="judge", judge_url=made.annotator)
    given = replace(job(data, tmp_path / "out"), online=made, judge=judge)
    prepared = prepare(given)
    given.records.mkdir(parents=True)
    job_.check_drift(given, prepared)
    file = given.records / "settings.json"
    told = json.loads(file.read_text())

    def without(*names: str) -> None:
        kept = {name: value for name, value in told["online"].items() if name not in names}
        file.write_text(json.dumps({**told, "online": kept}))

    without("answer_kind", "answer_pattern", "claims_from", "claim_score", "reward_revision", "unparsed")
    job_.check_drift(given, prepared)
    without("temperature")  # which is not its default
    with pytest.raises(CorruptRun, match="online"):
        job_.check_drift(given, prepared)


def test_an_adapter_is_saved_in_the_layout_of_peft_and_is_the_merged_model(
    data: Path, finished: Finished, tmp_path: Path
) -> None:
    merged, _ = finished()
    run(job(data, tmp_path / "adapter", save="adapter"))
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        path.name for path in (tmp_path / "adapter").iterdir()
    }
    prepared = prepare(job(data, tmp_path / "unused"))
    of_folder = transformers.AutoModelForImageTextToText.from_pretrained
    models = {
        "base": of_folder(MODEL),
        "merged": of_folder(merged.output),
        "adapter, by transformers": of_folder(tmp_path / "adapter"),
        "adapter, by PEFT": peft.PeftModel.from_pretrained(of_folder(MODEL), tmp_path / "adapter").get_base_model(),
    }
    found = {}
    for name, model in models.items():
        with torch.no_grad():
            loaded = replace(prepared.loaded, model=model.eval())
            found[name] = torch.cat(token_logps(loaded, [prepared.dataset[0]], packed=True)[0])
    base, *others = found.values()
    assert not torch.allclose(base, others[0], rtol=1e-3)
    for other in others[1:]:
        assert torch.allclose(others[0], other, rtol=1e-4, atol=1e-5)


def test_qlora_trains_an_adapter_of_the_model_in_4_bit_that_is_its_reference(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    given = job(data, tmp_path / "out", qlora=True, save="adapter")
    prepared = prepare(given)
    model = prepared.loaded.model
    quantised = {name for name, part in model.named_modules() if type(part).__name__ == "Linear4bit"}
    assert len(quantised) == 7 * model.config.text_config.num_hidden_layers
    assert all("language_model.layers" in name for name in quantised)
    steps: list[dict[str, float]] = []
    train(given, prepared, steps.append)
    assert steps[0]["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert steps[STEPS - 1]["loss"] < steps[0]["loss"]
    fresh = prepare(job(data, tmp_path / "unused", qlora=True, save="adapter"))
    adapted = peft.PeftModel.from_pretrained(fresh.loaded.model, tmp_path / "out").eval()
    with torch.no_grad():
        (own,) = token_logps(prepared.loaded, [prepared.dataset[0]], packed=True)
        (loaded,) = token_logps(replace(fresh.loaded, model=adapted.base_model.model), [fresh.dataset[0]], packed=True)
    assert not any(torch.allclose(*pair, atol=1e-3) for pair in zip(own, prepared.dataset.reference[0], strict=True))
    assert all(torch.allclose(*pair, rtol=1e-4, atol=1e-5) for pair in zip(own, loaded, strict=True))


def test_qlora_says_what_it_needs(data: Path, tmp_path: Path) -> None:
    given = job(data, tmp_path / "out", qlora=True, save="adapter")
    with (
        patch("prefgen.training.model.find_spec", lambda name: None),
        pytest.raises(UsageError, match=r"prefgen\[qlora\]"),
    ):
        prepare(given)
    shared = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
    with (
        patch("prefgen.training.model.find_spec", lambda name: name),
        patch.dict(os.environ, shared),
        pytest.raises(UsageError, match="not with FSDP or DeepSpeed"),
    ):
        prepare(given)


def test_joined_rows_are_one_sample_with_several_rejected_answers(data: Path, tmp_path: Path) -> None:
    scenes = ("-i", SCENES / "llava_instruct.json", "-m", "fake", "--engine", "fake", "--limit", "12")
    first = data.parent / "bdhs"
    for arguments in (
        ("baseline", "blind", *scenes, "--seed", "1", "-o", tmp_path / "blind"),
        ("join", first, tmp_path / "blind", "-o", tmp_path / "joined"),
    ):
        done = called(*arguments)
        assert done.returncode == 0, done.stderr
    given = job(tmp_path / "joined", tmp_path / "out")
    prepared = prepare(given)
    assert len(prepared.samples) >= 6
    assert all(len(sample.answers) == 3 for sample in prepared.samples)
    steps = run(given)
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1]["rewards/margins"] > 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.0, 1.0, 0.75, 0.25]),
        ({"lr_schedule": "constant", "warmup": 0.5}, [0.0, 0.5, 1.0, 1.0]),
        ({"lr_schedule": "constant", "warmup": 0.0}, [1.0, 1.0, 1.0, 1.0]),
    ],
    ids=["cosine", "warm", "constant"],
)
def test_rates_rise_and_then_fall_or_stay(changes: dict[str, Any], expected: list[float], finished: Finished) -> None:
    _, steps = finished(**FROZEN, **changes)
    assert [step["learning_rate"] / QUICK.lr for step in steps] == pytest.approx(expected)


def test_a_frozen_projector_stays_as_it_was(finished: Finished) -> None:
    given, _ = finished(**FROZEN)
    before, after = weights(MODEL), weights(given.output)
    assert all(torch.equal(before[name], after[name]) for name in before if "projector" in name)


def test_pairs_of_pictures_are_trained_on_beside_pairs_of_answers(data: Path, tmp_path: Path) -> None:
    source = ("-i", SCENES / "llava_instruct.json", "--limit", "4", "-o", tmp_path / "pictures")
    assert called("povid", "--pairs", "image", "--distortion", "crop", *source).returncode == 0
    given = replace(
        job(data, tmp_path / "out", max_steps=6, grad_accum=1, batch_size=4),
        runs=(data, tmp_path / "pictures"),
        objective=Objective(anchor_weight=0.5),
    )
    prepared = prepare(given)
    sides = [sample for sample in prepared.samples if sample.rejected_prompt]
    assert len(sides) == 4
    assert not prepared.dropped
    steps = run(given)
    assert steps[0]["loss"] == pytest.approx(1.5 * math.log(2), abs=1e-4)  # of the pair, and half of it for the anchor
    items = [prepared.dataset[prepared.samples.index(sample)] for sample in sides]
    trained = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    first = transformers.AutoModelForImageTextToText.from_pretrained(MODEL).eval()
    margins = []
    for model in (first, trained):
        with torch.no_grad():
            found = token_logps(replace(prepared.loaded, model=model), items, packed=True)
        margins.append(sum(float(one.sum() - other.sum()) for one, other in found))
    assert margins[1] > margins[0]  # the picture matters more


def test_rows_that_do_not_fit_are_dropped_before_the_first_step(data: Path, tmp_path: Path) -> None:
    given = job(data, tmp_path / "out", max_length=210)
    prepared = prepare(given)
    assert prepared.dropped
    assert {row.reason for row in prepared.dropped} == {"ROW_TOO_LONG"}
    assert all(sample.length <= 210 for sample in prepared.samples)
    with pytest.raises(UsageError, match="ROW_TOO_LONG"):
        prepare(job(data, tmp_path / "out", max_length=20))


def test_a_model_that_does_not_look_is_refused(data: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForImageTextToText.from_pretrained(MODEL)
    model.model.multi_modal_projector.linear_2.weight.data.zero_()
    model.save_pretrained(tmp_path / "blind")
    transformers.AutoProcessor.from_pretrained(MODEL).save_pretrained(tmp_path / "blind")
    given = replace(job(data, tmp_path / "out"), engine=EngineConfig(model=str(tmp_path / "blind")))
    with pytest.raises(UsageError, match="does not see its images"):
        prepare(given)


def test_a_loss_that_is_no_number_names_its_rows(data: Path, tmp_path: Path) -> None:
    given = job(data, tmp_path / "out")
    prepared = prepare(given)
    prepared.loaded.model.lm_head.weight.data.fill_(float("nan"))
    ids = {sample.id for sample in prepared.samples}
    with pytest.raises(UsageError, match="not a number") as stopped:
        train(given, prepared, lambda metrics: None)
    assert any(row in str(stopped.value) for row in ids)
