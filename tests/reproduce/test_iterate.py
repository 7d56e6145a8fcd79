"""Rounds of `prefgen iterate`: their commands, when they end, and that no stop changes a byte."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefgen import durable
from prefgen.errors import UsageError
from prefgen.reproduce import iteration
from prefgen.reproduce.iteration import Better, Iteration
from tests.cli.runs import ENVIRONMENT, called, data_digests, prefgen, write_input

SCENES = Path(__file__).parents[2] / "examples" / "scenes"
MODEL = str(SCENES / "model")
MAKE = "bdhs --engine fake -i rows.json --model {model} -o {pairs} --seed {round}"
TRAIN = "dpo {pairs} --model {model} --output {trained} --lr 1e-5"


def rounds(output: Path, **changed: object) -> Iteration:
    given = {"make": [MAKE], "train": [TRAIN], "evaluations": ["scenes --limit 3"], "figures": ["chair_i"], **changed}
    return Iteration(output, "base model", **given)  # type: ignore[arg-type]


def test_every_round_begins_with_the_model_of_the_one_before(tmp_path: Path) -> None:
    line = ["-m", "base", "-o", "out", "--make", MAKE, "--train", TRAIN, "--rounds", "2", "--dry-run"]
    done = called("iterate", *line, "--eval", "scenes --limit 3", "--figure", "chair_i")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "prefgen eval scenes --limit 3 --model base --json",
        "prefgen bdhs --engine fake -i rows.json --model base -o out/round-1/pairs --seed 1",
        "prefgen train dpo out/round-1/pairs --model base --output out/round-1/model --lr 1e-5",
        "prefgen eval scenes --limit 3 --model out/round-1/model --json",
        "prefgen bdhs --engine fake -i rows.json --model out/round-1/model -o out/round-2/pairs --seed 2",
        "prefgen train dpo out/round-2/pairs --model out/round-1/model --output out/round-2/model --lr 1e-5",
        "prefgen eval scenes --limit 3 --model out/round-2/model --json",
    ]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--make", "bdhs -i rows.json -o {pairs}", "--make has no {model}"),
        ("--make", "bdhs -i rows.json -m {model} -o {paris}", "--make has no {pairs}"),
        ("--make", "bdhs -i {rows} -m {model} -o {pairs}", "a place that nothing fills: 'rows'"),
        ("--make", "bdhs -i 'rows.json -m {model} -o {pairs}", "No closing quotation"),
        ("--make", "bhds -i rows.json -m {model} -o {pairs}", "there is no command 'bhds'"),
        ("--make", "bdhs -i rows.json -m {model} -o {pairs} --roh 1", "No such option: --roh"),
        ("--make", "bdhs -m {model} -o {pairs}", "Missing option '--input'"),
        ("--make", "bdhs -i rows.json -m {model} -o {pairs} --rho 7", "--rho 7.0 is outside 0 … 1"),
        ("--train", "dpo {pairs} --model {model} -o out", "--train has no {trained}"),
        ("--train", "dop {pairs} --model {model} -o {trained}", "the loss 'dop' is unknown"),
        ("--eval", "scene", "there is no command 'scene'"),
        ("--eval", "", "--eval is empty"),
        ("--figure", "", "--eval and --figure go together"),
        ("--patience", "0", "--patience 0 is outside 1 … 100"),
        ("--better", "more", "choose from higher, lower"),
    ],
)
def test_a_command_that_cannot_run_is_refused_before_the_first(
    option: str, value: str, message: str, tmp_path: Path
) -> None:
    given = {"--make": MAKE, "--train": TRAIN, "--eval": "scenes", "--figure": "chair_i", option: value}
    if option == "--figure":
        del given["--figure"]
    words = [word for pair in given.items() for word in pair]
    done = called("iterate", "-m", "base", "-o", tmp_path / "out", *words)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def ended(asked: Iteration, values: list[float | None]) -> iteration.RoundTable:
    """The rounds whose commands all ended with these figures."""
    source = write_input(asked.output.parent / "input", 3)
    lines = []
    for number, value in enumerate(values):
        steps = asked.steps(number)
        lines += [json.dumps({"command": str(step), "seconds": 1}) for step in steps]
        assert steps[-1].kept
        if number:
            made = called("bdhs", "--engine", "fake", "-i", source, "-m", "none", "-o", asked.folder(number) / "pairs")
            assert made.returncode == 0, made.stderr
        steps[-1].kept.parent.mkdir(parents=True, exist_ok=True)
        figure = {"value": value, "low": value, "high": value}
        steps[-1].kept.write_text(json.dumps({"chair_i": figure, "object_recall": figure}))
    (asked.output / "steps.jsonl").write_text("\n".join(lines))
    (asked.output / "iterate.json").write_text(
        json.dumps({"model": asked.model, "make": asked.make, "train": asked.train, "evaluations": asked.evaluations})
    )
    return iteration.run(asked, lambda line: pytest.fail(line))


@pytest.mark.parametrize(
    ("better", "patience", "values", "numbers", "best"),
    [
        ("higher", 1, [0.5, 0.6, 0.6, 0.9], 3, 1),
        ("lower", 1, [0.5, 0.6, 0.2, 0.1], 2, 0),
        ("lower", 2, [0.5, 0.6, 0.2, 0.1], 4, 3),
        ("higher", 1, [None, 0.1, 0.2, 0.3], 4, 3),
        ("higher", 2, [0.1, None, None, 0.3], 3, 0),
    ],
)
def test_rounds_end_when_the_figure_is_no_better(
    better: Better, patience: int, values: list[float | None], numbers: int, best: int, tmp_path: Path
) -> None:
    asked = rounds(tmp_path / "out", better=better, patience=patience)
    found = ended(asked, values)
    assert [each.number for each in found.rounds] == [*range(numbers)]
    assert found.best == best
    table = (tmp_path / "out" / "rounds.md").read_text().splitlines()
    assert len(table) == 2 + numbers
    assert [line for line in table if "**best**" in line] == [table[2 + best]]
    kept = json.loads((tmp_path / "out" / "rounds.json").read_text())
    assert (kept["best"], kept["model"]) == (best, asked.trained(best))
    assert kept["rounds"][1]["pairs"] == 3
    assert [each["figures"]["chair_i"]["value"] for each in kept["rounds"]] == values[:numbers]
    more = rounds(tmp_path / "out", better=better, patience=9)  # these options may change
    assert len(iteration.run(more, lambda line: pytest.fail(line)).rounds) == 4


def test_a_figure_that_no_evaluation_has_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--figure recall is not known; there are, of scenes: chair_i, object_recall"):
        ended(rounds(tmp_path / "out", figures=["recall"]), [0.5])
    two = rounds(tmp_path / "out", evaluations=["scenes", "pope --questions q"])
    (tmp_path / "out" / "base" / "pope.json").write_text(json.dumps({"chair_i": 0.5}))
    with pytest.raises(UsageError, match=r"give scenes\.chair_i or pope\.chair_i"):
        dict(iteration._figures(two, 0))
    named = rounds(tmp_path / "out", evaluations=two.evaluations, figures=["pope.chair_i", "object_recall"])
    assert [figure.value for _, figure in iteration._figures(named, 0)] == [0.5, 0.5]


def test_sigterm_lets_the_command_in_hand_commit(tmp_path: Path) -> None:
    source, pairs = write_input(tmp_path / "input", 1500), tmp_path / "out/round-1/pairs"
    make = f"bdhs --engine fake -i {source} --shard-size 4 --model {{model}} -o {{pairs}}"
    words = ["iterate", "-m", "none", "-o", "out", "--rounds", "1", "--make", make, "--train", TRAIN]
    process = start(tmp_path, words)
    wait_for(pairs / ".prefgen" / "shards", process)
    process.terminate()  # this process alone
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert len([*(pairs / ".prefgen" / "shards").iterdir()]) < 1500 / 4
    with durable.hold(pairs / ".prefgen" / "writers" / "0-of-1.lock", pairs):  # nothing writes there any more
        assert not (tmp_path / "out" / "steps.jsonl").exists()


@pytest.mark.slow
def test_two_rounds_that_are_killed_end_with_the_bytes_of_unbroken_ones(tmp_path: Path) -> None:
    make = (
        f"rank --by image-gain -k 2 -i {SCENES / 'llava_instruct.json'} --turns first --limit 6 --shard-size 2 "
        "--max-new-tokens 24 --device cpu --model {model} -o {pairs} --seed {round}"
    )
    train = (
        "dpo {pairs} --model {model} --output {trained} --max-steps 3 --save-steps 1 --batch-size 2 --grad-accum 1 "
        "--save adapter --lora-r 8 --lora-alpha 16 --device cpu"
    )
    words = ["iterate", "-m", MODEL, "-o", "out", "--rounds", "2", "--make", make, "--train", train]
    words += ["--eval", "scenes --limit 3", "--figure", "chair_i", "--better", "lower", "--patience", "3"]
    folders = [tmp_path / name for name in ("unbroken", "broken")]
    for folder in folders:
        folder.mkdir()
    assert start(folders[0], words).wait(timeout=1200) == 0
    rng = random.Random(0)
    for kill in range(1, 6):  # spread over both rounds by the lines of the journal
        process = start(folders[1], words)
        deadline = time.monotonic() + 600
        while lines(folders[1]) < kill and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 12))
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start(folders[1], words).wait(timeout=1200) == 0
    one, two = (folder / "out" for folder in folders)
    assert (one / "rounds.json").read_bytes() == (two / "rounds.json").read_bytes()
    for number in (1, 2):
        made = f"round-{number}/pairs"
        assert data_digests(one / made) == data_digests(two / made)
        assert prefgen("verify", two / made).returncode == 0
        weights = [out / f"round-{number}/model/adapter_model.safetensors" for out in (one, two)]
        assert len({hashlib.sha256(each.read_bytes()).hexdigest() for each in weights}) == 1
    first, second = (two / f"round-{number}/model/adapter_model.safetensors" for number in (1, 2))
    assert first.read_bytes() != second.read_bytes()


def start(folder: Path, words: list[str]) -> subprocess.Popen[bytes]:
    """The command line in a folder and a group of its own."""
    root = Path(__file__).parents[2]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "prefgen", *words]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def lines(folder: Path) -> int:
    """Commands that have ended."""
    journal = folder / "out" / "steps.jsonl"
    return len(journal.read_text().splitlines()) if journal.exists() else 0


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Until a folder has files."""
    deadline = time.monotonic() + 120
    while not (path.exists() and any(path.iterdir())):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
