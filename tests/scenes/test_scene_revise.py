"""The judge that repairs by the truth of the scenes, and `prefgen revise` behind it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from prefgen.evaluate.scenes.text import caption
from prefgen.evaluate.scenes.world import TEXT_STREAM, TRAINING, Scene, sample_scene
from scene_corrupt import corrupt, serving
from scene_revise import errors, repaired, reply
from scenes import instruct_scene

from prefgen.rundir.reader import Stored
from prefgen.text import split_sentences
from tests.cli.runs import called

SCENES = Path(__file__).parents[2] / "examples" / "scenes"


def false(text: str, scene: Scene) -> list[str]:
    return [kind for sentence in split_sentences(text) for kind in errors(sentence.body, scene)]


@pytest.mark.parametrize("index", range(0, 200, 5))
def test_what_the_grammar_says_is_true_and_its_corruption_is_not(index: int) -> None:
    scene = sample_scene(TRAINING, 11, index)
    said = caption(scene, scene.rng(TEXT_STREAM))
    assert false(said, scene) == []
    changed = corrupt(said, np.random.default_rng(index))
    assert false(changed, scene) != []
    sentences = [one.body for one in split_sentences(changed)]
    mended = [repaired(one, scene, "") if errors(one, scene) else one for one in sentences]
    assert false(" ".join(mended), scene) == []


def test_answers_of_yes_and_no_are_turned() -> None:
    scene = sample_scene(TRAINING, 11, 3)
    there, absent = sorted(scene.shapes)[0], "star" if "star" not in scene.shapes else "bar"
    assert errors("No.", scene, f"Do you see a {there}?") == ["object"]
    assert errors(f"No, there is no {absent} in the image.", scene, f"Do you see a {absent}?") == []
    assert repaired("Yes.", scene, "", f"Do you see a {absent}?") == f"No, there is no {absent} in the image."
    assert repaired("No.", scene, "", f"Do you see a {there}?").startswith("Yes, ")


def test_corrupted_captions_are_repaired_through_the_command(tmp_path: Path) -> None:
    rows = json.loads((SCENES / "llava_instruct.json").read_text())[:6]
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
