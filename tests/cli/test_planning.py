"""What is told and tried before a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.runs import called, write_input


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_input(tmp_path_factory.mktemp("input"), 40)


def test_a_plan_needs_neither_data_nor_model() -> None:
    done = called("plan", "--model-size", "7b", "--samples", "5000", "--gpu", "h100", "--price-per-hour", "2.5")
    assert done.returncode == 0, done.stderr
    for expected in ("23.4 of 2340 expected to stay visible", "NVIDIA H100 datasheet", "at $2.5 an hour", "818 MB"):
        assert expected in done.stdout
    paid = called("plan", "corrupt", "--judge", "gpt4", "--samples", "10").stdout
    assert "gpt-4.1" in paid
    assert "cost" in paid
    for options, message in (
        (("--gpu", "tpu"), "choose from b200"),
        (("blind", "--rho", "0.5"), "--rho is no option of prefgen plan blind"),
        (("unheard",), "--method 'unheard' is unknown"),
    ):
        wrong = called("plan", *options)
        assert wrong.returncode == 2
        assert message in wrong.stderr


def test_a_pilot_recommends_a_value_with_its_command(source: Path, tmp_path: Path) -> None:
    tune = ("tune", "bdhs", "-i", source, "-m", "none", "--engine", "fake", "--limit", "20", "-o", tmp_path / "a.svg")
    done = called(*tune, "--rho", "1,0.5", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("ρ = 0.5") < done.stdout.index("ρ = 1")  # the weaker restriction first
    command = done.stdout.strip().splitlines()[-1].split()
    assert command[:2] == ["prefgen", "bdhs"]
    assert command[command.index("--seed") + 1] == "3"
    assert command[command.index("--rho") + 1] in ("0.5", "1.0")
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    assert called(*command[1:-1], tmp_path / "out").returncode == 0  # it can be typed as it stands
    settings = json.loads((tmp_path / "out/.prefgen/plan.json").read_text())["fingerprint"]
    assert settings["method.seed"] == 3
    noised = json.loads(called(*tune, "--noise-steps", "300", "--json").stdout)
    assert noised["trials"][0]["method"]["variant"] == "noise"
    assert "--variant noise --noise-steps 300" in noised["recommended"]
    for options, message in (
        (("--rho", "0.5", "--keep-tokens", "3"), "one at a time"),
        (("--keep-tokens", "few"), "numbers with commas"),
        (("--rho", "7"), "--rho 7.0 is outside"),
    ):
        wrong = called(*tune, *options)
        assert wrong.returncode == 2
        assert message in wrong.stderr


def test_a_dry_run_tells_time_and_room_on_this_device(tmp_path: Path) -> None:
    scenes = Path(__file__).parent.parent.parent / "examples" / "scenes"
    options = ("--limit", "20", "--similarity-model", "minilm", "--dry-run", "--device", "cpu")
    shown = called(
        "bdhs", "-i", scenes / "llava_instruct.json", "-m", scenes / "model", "-o", tmp_path / "out", *options
    )
    assert shown.returncode == 0, shown.stderr
    assert "measured just now" in shown.stderr
    assert "144 image tokens encoded" in shown.stderr
