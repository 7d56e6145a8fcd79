"""Pairs of the proof: rows, sets of equal size, the judges that know the truth, and what counts as false."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import prove_pairs
import pytest
from scene_corrupt import sections_of, serving
from scene_judges import VERDICT_PROMPT, claims, repair, verdict

from prefgen.evaluate.scenes.sample import TRAINING, sample_scene
from prefgen.evaluate.scenes.truth import KINDS, Scene
from prefgen.methods import prompts
from prefgen.methods.prompts import Template
from prefgen.rundir.reader import Stored
from tests.cli.runs import called

FENCE = "0123456789abcdef"


def asked(template: Template, **places: str) -> dict[str, str]:
    """The sections of a filled prompt."""
    return dict(sections_of("\n".join(turn.text for turn in template.fill(fence=FENCE, **places))))


def test_claims_are_the_things_that_an_answer_names() -> None:
    sections = asked(prompts.load("claims"), question="What is there?", answer="Two red umbrellas.\nA cone.")
    assert sections["answer"] == "Two red umbrellas.\nA cone."
    assert claims(sections).splitlines() == ["There is an umbrella. | Is there an umbrella in the image?"]
    assert claims({"answer": "Nothing."}) == "none"


def test_an_answer_is_repaired_by_the_reference() -> None:
    reference = "There is a brown dog on the grass, and there are two white birds flying in the sky."
    said = "A red dog is on the grass. An orange cat is beside the dog. Two birds are flying in the sky."
    sections = {"reference answer": reference, "answer": said}
    assert repair(sections) == "A brown dog is on the grass. Two birds are flying in the sky."
    assert repair({**sections, "answer": "A cat."}) == "A cat."  # nothing would be left


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        ("A red cup.", "A red cup. A blue bowl.", "A"),  # invented
        ("A red cup.", "A red cup and a grey spoon.", "B"),  # missed
        ("A cup. A spoon. A bowl.", "A cup.", "tie"),  # one is invented, one is missed
        ("A blue cup and a spoon.", "A red cup and a spoon.", "tie"),  # colours do not count
    ],
)
def test_the_better_answer_has_fewer_things_invented_or_missed(
    first: str, second: str, better: str, tmp_path: Path
) -> None:
    (tmp_path / "verdict.txt").write_text(VERDICT_PROMPT)
    template = prompts.load("rank", tmp_path / "verdict.txt")
    reference = "There is a red cup on the table. A grey spoon is in the cup."
    sections = asked(template, question="?", reference=reference, first=first, second=second)
    assert json.loads(verdict(sections))["verdict"] == better
    with serving(replies=verdict) as url:
        assert url.startswith("http://127.0.0.1:")


def two_things() -> tuple[int, Scene]:
    """A scene with two things of the first seed, and its index."""
    found = ((index, sample_scene(TRAINING, prove_pairs.ROWS_SEED, index)) for index in range(100))
    return next((index, scene) for index, scene in found if len(scene.things) == 2)


def test_an_answer_is_false_if_anything_in_it_is() -> None:
    index, scene = two_things()
    thing = scene.things[0]
    noun = thing.kind if thing.count == 1 else KINDS[thing.kind].plural
    be = "is" if thing.count == 1 else "are"
    colour = next(each for each in ("red", "blue") if each != thing.colour)
    absent = next(each for each in ("bowl", "horse", "bus") if each not in scene.kinds)
    row = {"source_id": f"{index:012d}"}
    for text, false in (
        (f"The {noun} {be} {thing.colour}.", False),
        (f"The {noun} {be} {colour}.", True),
        (f"There is a {absent}.", True),
        (f"There are nine {KINDS[thing.kind].plural} in the image.", True),
        ("It is on the moon.", False),  # says nothing that can be read
        (f"No, there is no {absent} in the image.", False),
    ):
        assert prove_pairs._is_false({**row, "chosen_response": text}, "chosen_response", 0) == false, text


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method with 12 rows."""
    rows = {name: dataclasses.replace(each, rows=12) for name, each in prove_pairs.METHODS.items()}
    monkeypatch.setattr(prove_pairs, "METHODS", rows)


@pytest.mark.usefixtures("small")
def test_rows_of_two_seeds_share_no_picture_and_name_their_objects(tmp_path: Path) -> None:
    folders = [prove_pairs.Pairs(tmp_path).rows(seed) for seed in (0, 1)]
    one, two = ({file.read_bytes() for file in (folder / "images").iterdir()} for folder in folders)
    assert len(one) == len(two) == 12
    assert not one & two
    for row in json.loads((folders[0] / "captions.json").read_text()):
        said = row["conversations"][1]["value"]
        assert row["objects"]
        assert all(KINDS[each].plural in said or each in said for each in row["objects"])


@pytest.mark.usefixtures("small")
def test_sets_are_made_once_of_commands_and_have_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    condition = "length_ratio > 0.1"
    sets = {"both": ("mix", "rule", "append"), "kept": ("filter", "rule", condition), "two": ("join", "rule", "append")}
    sets["as many"] = ("named", "append", "as many")
    monkeypatch.setattr(prove_pairs, "SETS", sets)
    pairs = prove_pairs.Pairs(tmp_path)
    for name in ("rule", "append", *sets):
        made = pairs.drawn(name, 0, 4)
        assert called("verify", made).returncode == 0
        assert sum(table.num_rows for table in Stored(made).tables()) == (24 if name == "two" else 4)
        told = prove_pairs.truth(made, 0)
        assert told["chosen_true"] == 1
        if name in ("rule", "kept"):
            assert told["rejected_false"] == 1
        if name == "as many":
            assert told["rejected_kinds"] == told["chosen_kinds"]
    capsys.readouterr()
    assert pairs.drawn("both", 0, 4).exists()
    assert "prefgen" not in capsys.readouterr().out  # nothing is made again


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", sorted(prove_pairs.METHODS))
def test_every_method_makes_pairs(tmp_path: Path, name: str) -> None:
    assert called("verify", prove_pairs.Pairs(tmp_path).made(name, 0)).returncode == 0
