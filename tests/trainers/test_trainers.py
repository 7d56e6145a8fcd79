"""The trainers themselves, in environments of their own: two real DPO steps of each on the shards as they are."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefgen.formats.exporting import export
from prefgen.rundir.reader import Stored
from tests.formats.test_trainer_formats import SHAREGPT, trl_row
from tests.formats.written import write_json, write_lines, write_parquet
from tests.select.runs import pair, stored
from tests.trainers.environments import INSIDE, Environment
from tests.trainers.sets import SCENES, awkward_rows, mixture, preferences_between_pictures, swift_row

pytestmark = pytest.mark.slow

MODEL = SCENES / "model"
ROWS = 12 + len(awkward_rows())
VERSIONS = {"trl": "1.16.0", "ms-swift": "4.6.0", "llamafactory": "0.9.5"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


def trl(out: Path, folder: Path) -> list[str]:
    return [
        *("trl", "dpo", "--dataset_name", f"{out}", "--max_length", "None", "--model_name_or_path", f"{MODEL}"),
        *("--output_dir", f"{folder / 'trained'}", "--max_steps", "2", "--per_device_train_batch_size", f"{ROWS // 2}"),
        *("--logging_steps", "1", "--save_steps", "2", "--report_to", "none", "--use_cpu"),
    ]


def ms_swift(out: Path, folder: Path) -> list[str]:
    return [
        *("swift", "rlhf", "--rlhf_type", "dpo", "--dataset", f"{out}", "--model", f"{MODEL}"),
        *("--model_type", "llava1_5_hf", "--template", "llava1_5_hf", "--tuner_type", "full", "--strict", "true"),
        *("--output_dir", f"{folder / 'trained'}", "--max_steps", "2", "--per_device_train_batch_size", f"{ROWS // 2}"),
        *("--gradient_accumulation_steps", "1", "--logging_steps", "1", "--save_steps", "2", "--use_cpu", "true"),
        *("--torch_dtype", "float32", "--report_to", "none", "--dataset_num_proc", "1", "--split_dataset_ratio", "0"),
    ]


def llamafactory(out: Path, folder: Path) -> list[str]:
    settings = {
        "stage": "dpo",
        "do_train": True,
        "finetuning_type": "full",
        "model_name_or_path": str(MODEL),
        "template": "llava",
        "output_dir": str(folder / "trained"),
        "max_steps": 2,
        "per_device_train_batch_size": ROWS // 2,
        "logging_steps": 1,
        "save_steps": 2,
        "report_to": "none",
        "use_cpu": True,
    }
    (folder / "dpo.yaml").write_text(yaml.safe_dump(settings))
    return ["llamafactory-cli", "train", "dpo.yaml", f"dataset_dir={out}", f"dataset={out.name}"]


COMMANDS = {"trl": trl, "ms-swift": ms_swift, "llamafactory": llamafactory}


@pytest.mark.parametrize("trainer", COMMANDS)
def test_a_trainer_takes_two_steps_on_the_shards_as_they_are(trainer: str, out: Path, tmp_path: Path) -> None:
    program, *arguments = COMMANDS[trainer](out, tmp_path)
    Environment(trainer).run(program, *arguments, folder=tmp_path)
    (state,) = (tmp_path / "trained").rglob("checkpoint-2/trainer_state.json")
    logged = json.loads(state.read_text())
    first, second = (step for step in logged["log_history"] if "loss" in step)
    assert logged["global_step"] == 2
    # Before the first step policy and reference are one model: the loss is that of a coin.
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-3)
    assert second["loss"] != first["loss"]
    assert first["grad_norm"] > 0


@pytest.mark.parametrize("trainer", COMMANDS)
def test_check_asks_the_installed_loader(trainer: str, out: Path, tmp_path: Path) -> None:
    assert checked(trainer, out, tmp_path) == {"rows": ROWS, "problems": [], "loader": VERSIONS[trainer]}


@pytest.mark.parametrize("trainer", COMMANDS)
def test_check_asks_it_about_an_export(trainer: str, out: Path, tmp_path: Path) -> None:
    export(Stored(out), trainer, tmp_path / "exported")
    found = checked(trainer, tmp_path / "exported", tmp_path / "exported")
    assert found == {"rows": ROWS, "problems": [], "loader": VERSIONS[trainer]}


def test_ms_swift_loads_preferences_between_pictures(tmp_path: Path) -> None:
    both = preferences_between_pictures(tmp_path)
    export(Stored(both), "ms-swift", tmp_path / "exported")
    found = checked("ms-swift", tmp_path / "exported", tmp_path / "exported")
    assert found == {"rows": 12, "problems": [], "loader": VERSIONS["ms-swift"]}


@pytest.mark.parametrize("trainer", COMMANDS)
def test_a_loader_gives_two_runs_of_one_name_their_own_rows(trainer: str, tmp_path: Path) -> None:
    """Through one cache; the third run replaces the first, and each is loaded as a run and as an export."""
    for number, folder in enumerate(("one", "two", "one"), 1):
        out = tmp_path / folder / "out"
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
        out.parent.mkdir()
        run = stored(out, [pair(10 * number + place) for place in range(3 * number)])
        expected = sorted(row["rejected_response"] for row in run.scan(["rejected_response"]))
        export(run, trainer, tmp_path / folder / "exported" / "out")
        for src in (out, tmp_path / folder / "exported" / "out"):
            assert loaded(trainer, src, tmp_path) == expected, (number, src)


def loaded(trainer: str, src: Path, folder: Path) -> list[str]:
    """Rejected answers as the trainer's own loader gives them, by an environment whose caches are in `folder`."""
    path = src / "train.jsonl" if (src / "train.jsonl").exists() else src
    told = Environment(trainer).run("python", INSIDE / "load_rows.py", trainer, path, folder=folder)
    answers: list[str] = json.loads(told.strip().splitlines()[-1])
    return sorted(answers)


def broken_file(trainer: str, folder: Path) -> str:
    """Four rows, the third of which the trainer's loader raises on."""
    if trainer == "trl":
        return write_parquet(folder / "a.parquet", [trl_row(), trl_row(), trl_row(images=[]), trl_row()])
    if trainer == "ms-swift":
        equal = swift_row(3, rejected_response="A red star 3.")
        return write_lines(folder / "a.jsonl", [swift_row(1), swift_row(2), equal, swift_row(4)])
    rows = [SHAREGPT, SHAREGPT, {**SHAREGPT, "images": []}, SHAREGPT]
    return write_json(folder / "a.json", rows)


@pytest.mark.parametrize("trainer", COMMANDS)
def test_check_names_the_row_that_the_installed_loader_raises_on(trainer: str, tmp_path: Path) -> None:
    found = checked(trainer, broken_file(trainer, tmp_path), tmp_path, code=2)
    told = [problem for problem in found["problems"] if VERSIONS[trainer] in problem["detail"]]
    assert [problem["row"] for problem in told] == ["row 3"]
    assert "Error" in told[0]["detail"]


def checked(trainer: str, src: str | Path, folder: Path, code: int = 0) -> dict[str, Any]:
    """What `prefgen check --json` says in the trainer's environment."""
    command = ("-m", "prefgen", "check", src, "--with", trainer, "--json")
    found = json.loads(Environment(trainer).run("python", *command, folder=folder, code=code))
    return {name: found[name] for name in ("rows", "problems", "loader")}
