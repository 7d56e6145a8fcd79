"""The comparison of methods: its judges that know the truth, what counts as false, and one arm from rows to figures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import compare_methods
import pytest
from scene_corrupt import sections_of, serving
from scene_judges import VERDICT_PROMPT, claims, repair, verdict

from prefgen.evaluate.scenes.sample import TRAINING, sample_scene
from prefgen.evaluate.scenes.truth import KINDS, Scene
from prefgen.methods import prompts
from prefgen.methods.prompts import Template
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
    """A scene with two things that the comparison asks about, and its index."""
    found = ((index, sample_scene(TRAINING, 70_001, index)) for index in range(100))
    return next((index, scene) for index, scene in found if len(scene.things) == 2)


def test_an_answer_is_false_if_anything_in_it_is() -> None:
    index, scene = two_things()
    thing = scene.things[0]
    noun = thing.kind if thing.count == 1 else KINDS[thing.kind].plural
    be = "is" if thing.count == 1 else "are"
    colour = next(each for each in ("red", "blue") if each != thing.colour)
    absent = next(each for each in ("bowl", "horse", "bus") if each not in scene.kinds)
    row = {"source_id": f"{index:012d}-yes", "prompt": [{"content": [{"text": f"Is there a {absent} in the image?"}]}]}
    for text, false in (
        (f"The {noun} {be} {thing.colour}.", False),
        (f"The {noun} {be} {colour}.", True),
        (f"There is a {absent}.", True),
        (f"There are nine {KINDS[thing.kind].plural} in the image.", True),
        ("It is on the moon.", False),  # says nothing that can be read
        (f"No, there is no {absent} in the image.", False),
        ("Yes.", True),
    ):
        assert compare_methods._is_false({**row, "chosen_response": text}, "chosen_response", 0) == false, text


@pytest.mark.slow
def test_an_arm_from_its_rows_to_its_figures_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {name: dataclasses.replace(each, rows=12) for name, each in compare_methods.TRAINED.items()}
    monkeypatch.setattr(compare_methods, "TRAINED", small)
    names = ["povid", "rank by the truth"]
    work = compare_methods.Comparison(tmp_path, 2, 4, ("--max-steps", "1", "--batch-size", "2"))
    found = work.compare(names, [0])
    assert json.loads((tmp_path / "methods.json").read_text()) == json.loads(json.dumps(found))
    assert [line.split(" | ")[0] for line in compare_methods.table(found).splitlines()[3:]] == [f"| {n}" for n in names]
    for name in names:
        pairs = found["arms"][name]["0"]["pairs"]
        assert 2 <= pairs["pairs"] <= pairs["rows"] == 12
        assert called("verify", tmp_path / "pairs-0" / name).returncode == 0
    capsys.readouterr()
    assert work.compare(names, [0]) == found
    assert "prefgen" not in capsys.readouterr().out  # nothing is made again
