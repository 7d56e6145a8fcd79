"""`prefgen sentences` on the scenes' model, against the truth of their pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from prefgen.evaluate.scenes.claims import kinds_in
from tests.cli.runs import called, write_input

SCENES = Path(__file__).parents[2] / "examples" / "scenes"
INSTANCES, WORDS = SCENES / "instances.json", SCENES / "words.txt"
OBJECTS = ("--objects", INSTANCES, "--words", WORDS)
FAKE = ("--engine", "fake", "-m", "none")


def rows(out: Path) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = pq.read_table(out / "data").to_pylist()
    return made


def truth() -> dict[str, set[str]]:
    listed = json.loads(INSTANCES.read_text())
    found: dict[str, set[str]] = {}
    names = {category["id"]: category["name"] for category in listed["categories"]}
    for annotation in listed["annotations"]:
        found.setdefault(f"{annotation['image_id']:012d}", set()).add(names[annotation["category_id"]])
    return found


def test_a_true_and_an_invented_sentence_follow_the_same_beginning(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("sentences", "-i", SCENES / "llava_instruct.json", "-m", SCENES / "model", "--device", "cpu")
    options = ("--turns", "first", "--limit", "5", "--temperature", "1.6", "-k", "6", "--sentences", "2")
    done = called(*command, *options, *OBJECTS, "-o", out)
    assert done.returncode == 0, done.stderr
    assert called("verify", out).returncode == 0
    for row in rows(out):
        record = json.loads(row["meta"])["record"]
        at = record["context_chars"]
        chosen, rejected = row["chosen_response"], row["rejected_response"]
        assert chosen[:at] == rejected[:at]
        assert row["spans"] == [{"start": at, "end": len(rejected)}]
        assert kinds_in(chosen) <= truth()[row["source_id"]]
        assert not kinds_in(rejected[at:]) <= truth()[row["source_id"]]


def test_detectors_can_check(tmp_path: Path) -> None:
    source = write_input(tmp_path / "input", 6)
    (tmp_path / "words.txt").write_text("circle\nsquare\nstar\n")
    options = ("--check", "detector", "--detector", "one", "--words", tmp_path / "words.txt")
    done = called("sentences", "-i", source, *FAKE, *options, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (variant,) = {row["variant"] for row in rows(tmp_path / "out")}
    assert variant == "detector"


def test_objects_may_be_a_column_of_the_rows(tmp_path: Path) -> None:
    source = write_input(tmp_path / "input", 6)
    listed = [{**row, "seen": ["circle"]} for row in json.loads(source.read_text())]
    source.write_text(json.dumps([*listed[:5], {**listed[5], "seen": None}]))
    (tmp_path / "words.txt").write_text("circle\nsquare\nstar\n")
    options = ("--objects", "seen", "--words", tmp_path / "words.txt")
    done = called("sentences", "-i", source, *FAKE, *options, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dropped"]["SENTENCE_NO_OBJECTS"] == 6  # a row of each sentence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--check", "detector"), "--detector"),
        (("--detector", "owlv2"), "--check detector"),
        (("--objects", "missing.json"), "missing.json cannot be read"),
        (("--words", "missing.txt"), "missing.txt cannot be read"),
        (("--check", "taste"), "--check 'taste'"),
    ],
)
def test_what_cannot_be_is_refused(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    source = write_input(tmp_path / "input", 2)
    done = called("sentences", "-i", source, *FAKE, *options, "-o", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())
