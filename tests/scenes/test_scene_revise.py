"""The judge that repairs by the truth of the scenes, and `prefgen revise` behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scene_corrupt import corrupt, serving
from scene_revise import errors, repaired, reply
from scenes import instruct_scene

from prefgen.evaluate.scenes.language import DETAIL_QUESTIONS, detail
from prefgen.evaluate.scenes.sample import TRAINING, sample_scene
from prefgen.evaluate.scenes.truth import KINDS, TEXT_STREAM, Instance, Relation, Scene, Thing
from prefgen.rundir.reader import Stored
from prefgen.text import split_sentences
from tests.cli.runs import called

SCENES = Path(__file__).parents[2] / "examples" / "scenes"


def false(text: str, scene: Scene) -> list[str]:
    return [kind for sentence in split_sentences(text) for kind in errors(sentence.body, scene)]


@pytest.mark.parametrize("index", range(0, 200, 5))
def test_what_the_grammar_says_is_true_and_its_corruption_is_not(index: int) -> None:
    scene = sample_scene(TRAINING, 11, index)
    said = detail(scene, scene.rng(TEXT_STREAM))
    assert false(said, scene) == []
    changed = corrupt(said, np.random.default_rng(index))
    assert false(changed, scene) != []
    sentences = [one.body for one in split_sentences(changed)]
    mended = [repaired(one, scene, "") if errors(one, scene) else one for one in sentences]
    assert false(" ".join(mended), scene) == []


OBJECT = Instance((10.0, 80.0, 30.0, 100.0), 1.0, 0, False)
MEADOW = Scene(
    1, 1, "meadow", "dusk", "fog",
    (
        Thing("horse", "brown", "grass", 0.3, (OBJECT, OBJECT), "grazing"),
        Thing("dog", "black", "grass", 0.2, (OBJECT,), "sitting", Relation("beside", "ball")),
        Thing("ball", "red", "grass", 0.2, (OBJECT,)),
        Thing("kite", "blue", "sky", 0.5, (OBJECT,)),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "found", "others", "mended"),
    [
        ("A black dog is sitting on the grass.", [], "", ""),
        ("A white dog is sitting on the grass.", ["attribute"], "", "A black dog is sitting on the grass."),
        ("A black dog is running on the grass.", ["attribute"], "", "A black dog is sitting on the grass."),
        ("Three brown horses are grazing.", ["count"], "", "Two brown horses are grazing."),
        ("On the sand, there is a red ball.", ["position"], "", "On the grass, there is a red ball."),
        ("An orange kite can be seen in the sky.", ["attribute"], "", "A blue kite can be seen in the sky."),
        ("In a park, I can see a dog.", ["position"], "", "In a meadow, I can see a dog."),
        ("It is night.", ["attribute"], "", "It is dusk."),
        ("There is a sheep in the water.", ["object"], "", ""),
        ("There is a cat, and a white dog is running.", ["object", "attribute"], "The black dog is sitting.", ""),
    ],
)
def test_errors_are_named_by_their_kind_and_exchanged_for_the_truth(
    sentence: str, found: list[str], others: str, mended: str
) -> None:
    assert errors(sentence, MEADOW) == found
    if found:
        assert repaired(sentence, MEADOW, others) == mended


def test_a_sentence_that_cannot_be_mended_gives_way_to_one_about_something_else() -> None:
    assert errors("A bird is flying in the sky.", MEADOW) == ["object"]
    told = repaired("A bird is flying in the sky.", MEADOW, "A dog is sitting.")
    assert "kite" in told
    assert errors(told, MEADOW) == []
    assert errors("The dog is under the ball.", MEADOW) == ["relation"]


def test_answers_of_yes_and_no_are_turned() -> None:
    scene = sample_scene(TRAINING, 11, 3)
    there, absent = sorted(scene.kinds)[0], next(kind for kind in ("spoon", "horse") if kind not in scene.kinds)
    there = f"{KINDS[there].article} {there}"
    assert errors("No.", scene, f"Do you see {there}?") == ["object"]
    assert errors(f"No, there is no {absent} in the image.", scene, f"Do you see a {absent}?") == []
    assert repaired("Yes.", scene, "", f"Do you see a {absent}?") == f"No, there is no {absent} in the image."
    assert repaired("No.", scene, "", f"Do you see {there}?").startswith("Yes, ")


def test_corrupted_captions_are_repaired_through_the_command(tmp_path: Path) -> None:
    rows = json.loads((SCENES / "llava_instruct.json").read_text())
    described = [
        row for row in rows if row["conversations"][0]["value"].replace("<image>", "").strip() in DETAIL_QUESTIONS
    ]
    rows = described[:6]
    for number, row in enumerate(rows):
        first, answer, *_ = row["conversations"]
        row["conversations"] = [first, {**answer, "value": corrupt(answer["value"], np.random.default_rng(number))}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    command = ("revise", "-i", tmp_path / "rows.json", "--image-root", SCENES / "images", "--answers", "input")
    with serving(replies=reply) as url:
        done = called(*command, "--judge", "truth", "--judge-url", url, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    pairs = [row for part in Stored(tmp_path / "out").tables() for row in part.to_pylist()]
    assert len(pairs) == 6
    for row in pairs:
        scene = instruct_scene(int(row["source_id"]))
        assert false(row["rejected_response"], scene)
        assert not false(row["chosen_response"], scene)
