from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prefgen.evaluate.scenes import export
from prefgen.evaluate.scenes.claims import claims_of, mentions, read
from prefgen.evaluate.scenes.export import SPLITS, Frequencies
from prefgen.evaluate.scenes.render import photo
from prefgen.evaluate.scenes.sample import TRAINING, UNBIASED, sample_scene
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, KINDS, Instance, Scene, Thing
from tests.cli.runs import called

SCENES = [sample_scene(UNBIASED, 5, index) for index in range(12)]
OBJECT = Instance((10.0, 10.0, 20.0, 20.0), 1.0, 0, False)
FREQUENCIES = Frequencies.of(sample_scene(TRAINING, 6, index) for index in range(150))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("world")
    export.write(made, SCENES, FREQUENCIES)
    return made


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def scores(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "scores.json").read_text())
    return found


def test_pictures_are_those_of_the_scenes(folder: Path) -> None:
    assert len([*(folder / "images").iterdir()]) == len(SCENES)
    stored = (folder / "images" / "000000000003.jpg").read_bytes()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), np.asarray(photo(SCENES[3])))


def test_rows_have_the_form_of_llava_instruct_and_say_what_is_true(folder: Path) -> None:
    rows = json.loads((folder / "llava_instruct.json").read_text())
    assert [row["id"] for row in rows] == [f"{index:012d}" for index in range(len(SCENES))]
    for row, scene in zip(rows, SCENES, strict=True):
        assert (folder / "images" / row["image"]).exists()
        speakers = [turn["from"] for turn in row["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        first, *rest = (turn["value"] for turn in row["conversations"])
        assert first.startswith("<image>\n") != first.endswith("\n<image>")
        assert not any("<image>" in text for text in rest)
        for turn in row["conversations"]:
            if turn["from"] == "gpt":
                assert read(turn["value"]) <= claims_of(scene)


def test_truth_is_that_of_the_scenes(folder: Path) -> None:
    rows = json.loads((folder / "truth.json").read_text())
    for row, scene in zip(rows, SCENES, strict=True):
        assert {thing["kind"] for thing in row["things"]} == scene.kinds
        assert sum(len(thing["boxes"]) for thing in row["things"]) == sum(thing.count for thing in scene.things)
        assert (row["place"], row["light"], row["weather"]) == (scene.place, scene.light, scene.weather)


@pytest.mark.parametrize("right", [True, False])
def test_pope_files_are_scored_by_prefgen_eval(folder: Path, tmp_path: Path, right: bool) -> None:
    """Answers that follow the scenes, not the labels of the files."""
    files = [folder / f"pope_{split}.json" for split in SPLITS]
    kinds = {export.file_name(scene): scene.kinds for scene in SCENES}
    given: list[Path] = []
    for path in files:
        answers = []
        for row in lines(path):
            [asked] = mentions(row["text"])
            answer = ("No", "Yes")[(asked in kinds[row["image"]]) == right]
            answers.append({"question_id": row["question_id"], "text": answer})
        given.append(write_lines(tmp_path / path.name, answers))
    questions = [word for path in files for word in ("--questions", path)]
    answers_ = [word for path in given for word in ("--answers", path)]
    called("eval", "pope", *questions, *answers_, "--output", tmp_path / "out")
    found = scores(tmp_path / "out")
    assert found["accuracy"] == found["recall"] == float(right)
    assert found["yes_ratio"] == 0.5
    assert all(each["count"] == len(lines(files[0])) for each in found["files"].values())


def test_pope_asks_for_other_absent_kinds_in_each_split(folder: Path) -> None:
    absent = {
        split: [mentions(row["text"])[0] for row in lines(folder / f"pope_{split}.json") if row["label"] == "no"]
        for split in SPLITS
    }
    rank = {kind: number for number, (kind, _) in enumerate(FREQUENCIES.kinds.most_common())}
    assert np.mean([rank[kind] for kind in absent["popular"]]) < 5
    assert np.mean([rank.get(kind, len(KINDS)) for kind in absent["random"]]) > 10
    assert absent["adversarial"] != absent["popular"]


def test_absent_kinds_are_ranked_as_pope_does() -> None:
    """Counted by hand: cups come four times, forks twice with a spoon, dogs three times without one."""

    def scene(*kinds: str) -> Scene:
        return Scene(
            1, 1, "kitchen", "day", "clear", tuple(Thing(kind, "red", "table", 0.3, (OBJECT,)) for kind in kinds)
        )

    kinds = [("cup",)] * 3 + [("cup", "dog")] + [("dog",)] * 2 + [("spoon", "fork")] * 2
    frequencies = Frequencies.of(scene(*each) for each in kinds)
    rng = np.random.default_rng(0)
    assert frequencies.absent(scene("spoon"), "popular", 2, rng) == ["cup", "dog"]
    assert frequencies.absent(scene("spoon"), "adversarial", 1, rng) == ["fork"]
    assert frequencies.absent(scene("cup"), "adversarial", 1, rng) == ["dog"]
    drawn = Counter(kind for _ in range(400) for kind in frequencies.absent(scene("spoon"), "random", 1, rng))
    assert set(drawn) == set(KINDS) - {"spoon"}


@pytest.mark.parametrize("right", [True, False])
def test_coco_files_are_scored_by_prefgen_eval(folder: Path, tmp_path: Path, right: bool) -> None:
    truth = json.loads((folder / "truth.json").read_text())
    rows = []
    for row in truth:
        present = {thing["kind"] for thing in row["things"]}
        named = present if right else set(KINDS) - present
        rows.append({"image_id": int(row["id"]), "caption": ", ".join(KINDS[kind].plural for kind in sorted(named))})
    answers = write_lines(tmp_path / "captions.jsonl", rows)
    files = ("--instances", folder / "instances.json", "--captions", folder / "captions.json")
    called("eval", "chair", *files, "--synonyms", folder / "words.txt", "--answers", answers, "-o", tmp_path / "out")
    found = scores(tmp_path / "out")
    assert found["recall_coco"] == float(right)
    assert found["chair_i"] == found["chair_s"] == float(not right)
    assert found["true_objects"] == sum(len(scene.kinds) for scene in SCENES)
    assert found["foreign_answers"] == 0


def test_boxes_of_coco_lie_within_the_pictures(folder: Path) -> None:
    content = json.loads((folder / "instances.json").read_text())
    assert len({row["id"] for row in content["annotations"]}) == len(content["annotations"])
    for row in content["annotations"]:
        left, top, width, height = row["bbox"]
        assert min(left, top) >= 0
        assert min(width, height) > 0
        assert max(left + width, top + height) <= IMAGE_SIZE + 0.01
        assert row["area"] == pytest.approx(width * height, abs=1)
