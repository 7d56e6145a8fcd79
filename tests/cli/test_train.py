"""`prefgen train` and `prefgen eval` as a user runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from prefgen.training import checkpoints
from tests import faults
from tests.cli.runs import called, prefgen, start
from tests.trainers.sets import SCENES, mixture

MODEL = ("--model", SCENES / "model")
QUICK = (*MODEL, "--lr", "1e-4", "--batch-size", "4", "--grad-accum", "1", "--lora-r", "4")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


def test_pairs_to_an_aligned_model_to_its_figures(data: Path, tmp_path: Path) -> None:
    aligned = tmp_path / "aligned"
    planned = called("train", "dpo", data, *QUICK, "--max-steps", "2", "--output", aligned, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "17 samples" in planned.stderr
    assert "online" not in planned.stderr
    assert "advice: answers by BDHS" in planned.stderr
    assert not aligned.exists()
    spans = called("train", "dpo", data, *QUICK, "--loss-mask", "spans", "--output", aligned, "--dry-run")
    assert "advice" not in spans.stderr
    online = ("--online", "bdhs", "--online-arg", "rho=0.9", "--mix", "0.5", "--similarity-model", "minilm")
    planned = called("train", "dpo", data, *QUICK, *online, "--output", aligned, "--dry-run")
    said = " ".join(planned.stderr.split())
    assert "online: rejected answers by BDHS (rho=0.9) from the policy, every step, in place of" in said
    assert "mix: 50%" in said
    done = called("train", "dpo", data, *QUICK, "--max-steps", "2", "--output", aligned, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 2
    assert re.search(r"step +loss +margin", done.stderr)
    again = called("train", "dpo", data, *QUICK, "--max-steps", "2", "--output", aligned)
    assert "finished already" in again.stderr
    other = called("train", "dpo", data, *QUICK, "--max-steps", "3", "--output", aligned)
    assert other.returncode == 6
    assert "max_steps" in other.stderr
    measured = called("eval", "scenes", "--model", aligned, "--limit", "4", "--json")
    assert measured.returncode == 0, measured.stderr
    figures = json.loads(measured.stdout)
    assert figures["chair_s"]["count"] == 4
    assert figures["object_recall"]["value"] > 0.5
    shown = called("eval", "scenes", "--model", aligned, "--limit", "4").stdout
    assert all(name in shown for name in ("chair_i", "object_recall", "yes_no/accuracy", "caption_words"))


def test_sft_data_of_any_columns_is_trained_on(tmp_path: Path) -> None:
    said = ["A red bar is at the top.", "I'm sorry, but I cannot see an image."]
    picture = next((SCENES / "images").iterdir()).name
    rows = [
        {"bild": picture, "gespräch": [{"from": "Mensch", "value": "Was ist das?"}, {"from": "KI", "value": a}]}
        for a in said
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    named = (
        "--columns",
        "conversations=gespräch,image=bild",
        "--roles",
        "user=Mensch,assistant=KI",
        "--image-root",
        SCENES / "images",
    )
    command = ("train", "dpo", tmp_path / "rows.json", *QUICK, "--online", "bdhs", "--similarity-model", "minilm")
    planned = called(*command, *named, "--output", tmp_path / "out", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "1 samples" in planned.stderr
    assert "1 rows dropped: ANSWER_REFUSES" in planned.stderr
    assert "2 samples" in called(*command, *named, "--keep-refusals", "--output", tmp_path / "out", "--dry-run").stderr


@pytest.mark.parametrize(("loss", "mask"), [("ipo", "spans"), ("ipo-sum", "dense"), ("slic", "spans")])
def test_other_losses_and_masks(loss: str, mask: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = called(*("train", loss, data, *QUICK, "--max-steps", "1", "--output", out, "--loss-mask", mask, "--json"))
    assert done.returncode == 0, done.stderr
    expected = {"ipo": 25.0, "ipo-sum": 25.0, "slic": 1.0}  # at Δ = 0 and β = 0.1
    assert json.loads(done.stdout)["loss"] == pytest.approx(expected[loss], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("kto",), "kto"),
        (("dpo", "--beta", "0"), "--beta"),
        (("ipo", "--label-smoothing", "0.1"), "--label-smoothing"),
        (("sft", "--sft-weight", "1"), "--sft-weight"),
        (("dpo", "--loss-mask", "some"), "--loss-mask"),
        (("dpo", "--loss-mask", "spans", "--span-weight", "3"), "--span-weight"),
        (("dpo", "--save", "adapter", "--no-lora"), "--save"),
        (("dpo", "--dtype", "float16"), "--dtype"),
        (("dpo", "--mix", "0.5"), "--mix needs --online"),
        (("dpo", "--fallback", "drop"), "--fallback needs --online"),
        (("dpo", "--reward", "similarity"), "--reward needs --online, or a loss that samples answers"),
        (("dpo", "--online", "bdhs", "--online-arg", "roh=1"), "--online-arg"),
        (("dpo", "--online", "bdhs", "--judge", "gpt4"), "--judge"),
        (("dpo", "--qlora"), "--save adapter"),
        (("dpo", "--warmup", "1"), "--warmup"),
        (("dpo", "--lr-schedule", "linear"), "--lr-schedule"),
        (("dpo", "--gpus", "1000", "--device", "cuda"), "--gpus 1000"),
        (("dpo", "--validation", "1"), "--validation"),
        (("dpo", "--sweep", "paper", "--gpus", "2"), "--sweep trains in one process"),
        (("dpo", "--keep-all"), "--keep-all"),
        (("dpo", "--sweep", "paper", "--lr", "1e-4"), "--sweep lr="),
        (("dpo", "--sweep", "lr=1", "--validation", "0"), "--validation"),
        (("dpo", "--report-to", "tensorbored"), "--report-to tensorbored is unknown or not installed; here are: none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    arguments: tuple[str, ...], named: str, data: Path, tmp_path: Path
) -> None:
    loss, *others = arguments
    done = called("train", loss, data, *MODEL, "--output", tmp_path / "out", *others)
    assert done.returncode == 2
    assert named in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_grid_is_planned_run_and_repeated_by_the_files_it_leaves(data: Path, tmp_path: Path) -> None:
    small = (*MODEL, "--batch-size", "4", "--lora-r", "4")
    planned = called("train", "slic", data, *small, "--output", tmp_path / "out", "--sweep", "paper", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "324 runs" in planned.stderr
    assert "3 samples are held out" in planned.stderr  # a tenth of 17, and one with the same picture
    assert not (tmp_path / "out").exists()
    sweep = ("--sweep", "beta=0.1,0.2", "--max-steps", "1", "--grad-accum", "1", "--output", tmp_path / "out")
    done = called("train", "slic", data, *small, *sweep, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["eval_loss"] > 0
    assert re.search(r"beta +accuracy +loss", done.stderr)
    (best,) = (tmp_path / "out").glob("beta=*/config.json")
    assert f"best: model in {best.parent}" in done.stderr
    again = called("train", "slic", data, "--config", best.parent / "training" / "config.toml")
    assert "finished already" in again.stderr, again.stderr
    refused = called("train", "slic", data, *small, "--sweep", "beta=0.1", "--output", best.parent)
    assert refused.returncode == 2
    assert "trained model" in refused.stderr


def test_the_folder_of_the_scenes_is_not_needed_any_more(tmp_path: Path) -> None:
    done = called("eval", "scenes", *MODEL, "--scenes", tmp_path, "--limit", "601")
    assert done.returncode == 2
    assert f"--scenes {tmp_path} is not needed any more" in done.stderr
    assert "--limit 601" in done.stderr


def test_rloo_that_is_killed_after_a_checkpoint_ends_with_the_same_bytes(tmp_path: Path) -> None:
    sampled = ("--online-arg", "max_new_tokens=8", "--online-arg", "candidates=2", "--reward", "scenes")
    rows = (SCENES / "llava_instruct.json", "--limit", "4", "--turns", "first", *MODEL, "--device", "cpu")
    steps = ("--batch-size", "2", "--grad-accum", "1", "--lora-r", "4", "--max-steps", "3", "--save-steps", "1")
    command = ("train", "rloo", *rows, *sampled, *steps, "--output")
    complete = checkpoints.complete

    def die_after(folder: Path) -> None:
        complete(folder)
        os._exit(faults.KILLED)

    def begun() -> None:
        with patch.object(checkpoints, "complete", die_after):
            called(*command, tmp_path / "killed")

    assert called(*command, tmp_path / "whole").returncode == 0
    assert faults.run(begun, tmp_path).killed
    assert (tmp_path / "killed" / "training" / "checkpoints" / "checkpoint-1").exists()
    resumed = called(*command, tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    losses = [
        [entry["loss"] for entry in map(json.loads, metrics.read_text().splitlines()) if "loss" in entry]
        for metrics in (tmp_path / name / "training" / "metrics.jsonl" for name in ("whole", "killed"))
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_sigterm_saves_and_the_same_command_goes_on(data: Path, tmp_path: Path) -> None:
    command = ("train", "dpo", data, *QUICK, "--max-steps", "40", "--output", tmp_path / "out")
    metrics = tmp_path / "out" / "training" / "metrics.jsonl"
    process = start(*command)
    while not metrics.exists() or not metrics.read_text():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 75, said
    done = prefgen(*command)
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines() if '"loss"' in line]
    assert steps == list(range(1, 41))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_second_ctrl_c_ends_at_once_and_says_what_is_kept(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("train", "sft", data, "-m", SCENES / "model", "--device", "cpu", "--save-steps", "1", "-o", out)
    process = start(*command, "--max-steps", "5000")
    while process.poll() is None and not list((out / "training" / "checkpoints").glob("checkpoint-*")):
        time.sleep(0.05)
    assert process.stdout
    process.send_signal(signal.SIGINT)
    while "Ctrl-C again stops now" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert re.search(r"interrupted; the checkpoint after step \d+ is kept in .*; the same command goes on", said), said
    assert not re.search("Traceback|Aborted|error", said)


@pytest.mark.parametrize("command", ["doctor", "guide"])
def test_ctrl_c_ends_every_command_alike(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prefgen.doctor.environment.findings", interrupted)
    monkeypatch.setattr("prefgen.guide.page", interrupted)
    done = called(command, *(["bdhs"] if command == "guide" else []))
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
