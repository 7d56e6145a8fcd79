"""What `prefgen train --save adapter` writes is a model for every other command."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from tests.cli.runs import called
from tests.trainers.sets import SCENES, mixture

INPUT = ("--input", SCENES / "llava_instruct.json", "--similarity-model", "minilm", "--limit", "3")
QUICK = ("--batch-size", "4", "--grad-accum", "1", "--max-steps", "3", "--lr", "1e-3", "--projector-lr", "1e-3")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def adapter(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "adapter"
    done = called(
        *("train", "dpo", data, "--model", SCENES / "model", "--output", out, "--save", "adapter", "--lora-r", "4"),
        *QUICK,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize(
    "command",
    [
        ("bdhs", "--max-sentence-tokens", "20"),
        ("rank", "--by", "similarity", "--candidates", "2", "--max-new-tokens", "20"),
    ],
    ids=["bdhs", "rank"],
)
def test_rows_are_made_with_it_and_record_both_revisions(
    command: tuple[str, ...], adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = called(*command, *INPUT, "--model", adapter, "--output", out, "--max-dropped", "1")
    assert done.returncode in (0, 3), done.stderr
    lock = json.dumps([json.loads(path.read_text()) for path in (out / ".prefgen").glob("*.json")])
    own, on, of_base = next(
        part for part in lock.split('"') if part.startswith("sha256:") and " on " in part
    ).partition(" on ")
    assert own != of_base
    files = list((out / "data").glob("*.parquet"))
    revisions = {row["model_revision"] for file in files for row in pq.read_table(file).to_pylist()}
    assert revisions <= {own + on + of_base}
    assert revisions or done.returncode == 3


def test_doctor_and_eval_take_it(adapter: Path) -> None:
    done = called("doctor", adapter, "--device", "cpu", "--image-size", "144x144", "--json")
    found = {finding["about"]: finding for finding in json.loads(done.stdout)}
    assert found["adapter"]["text"].startswith("LORA of rank 4, merged into ")
    assert found["drop = mask"]["level"] == "ok"
    done = called("eval", "scenes", "--model", adapter, "--limit", "2", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    assert "chair_i" in json.loads(done.stdout)


@pytest.mark.parametrize("reference", ["precompute", "live"])
def test_training_goes_on_from_it_and_it_is_the_reference(
    adapter: Path, data: Path, tmp_path: Path, reference: str
) -> None:
    out = tmp_path / "further"
    done = called(
        *("train", "dpo", data, "--model", adapter, "--output", out, "--save", "adapter", "--reference", reference),
        *("--lora-r", "4"),  # its own, as a command says that made the first of several rounds
        *QUICK,
    )
    assert done.returncode == 0, done.stderr
    first, *_, last = (json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()[:3])
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert first["logps/chosen"] == pytest.approx(_first(adapter, data, tmp_path)["logps/chosen"], rel=1e-4)
    assert abs(last["rewards/chosen"]) > 1e-4  # against the adapter as it was, not against itself
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, out))
    assert before.keys() == after.keys()
    assert all(not before[name].equal(after[name]) for name in before)
    settings = json.loads((out / "adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["r"]) == (str(SCENES / "model"), 4)
    refused = called("train", "dpo", data, "--model", adapter, "--output", tmp_path / "no", "--lora-r", "8")
    assert refused.returncode == 2
    assert "--lora-r is that of" in refused.stderr


def _first(adapter: Path, data: Path, tmp_path: Path) -> dict[str, float]:
    """Metrics of the first step of whole training from the adapter, merged."""
    out = tmp_path / "merged"
    done = called("train", "dpo", data, "--model", adapter, "--output", out, "--no-lora", *QUICK, "--max-steps", "1")
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads((out / "training" / "metrics.jsonl").read_text().splitlines()[0])
    return found
