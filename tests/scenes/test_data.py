import json
from pathlib import Path

import numpy as np
import pytest
import scenes
from PIL import Image
from scenes import INSTRUCT_ROWS, instruct_row, instruct_scene

from prefgen.evaluate.scenes.claims import claims_of, kinds_in, read
from prefgen.evaluate.scenes.heldout import heldout
from prefgen.evaluate.scenes.language import BRIEF_QUESTIONS, DETAIL_QUESTIONS, PRESENCE
from prefgen.evaluate.scenes.render import photo

FOLDER = Path(scenes.__file__).parent
ROWS = json.loads((FOLDER / "llava_instruct.json").read_text())
HELDOUT = json.loads((FOLDER / "heldout.json").read_text())


def test_rows_have_the_shape_of_llava_instruct() -> None:
    assert len(ROWS) == INSTRUCT_ROWS == len({row["id"] for row in ROWS})
    for row in ROWS:
        assert set(row) <= {"id", "image", "conversations"}
        assert isinstance(row["id"], str)
        speakers = [turn["from"] for turn in row["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        assert all(set(turn) == {"from", "value"} for turn in row["conversations"])


def test_one_row_has_no_image_and_the_others_name_a_file_that_exists() -> None:
    with_image = [row for row in ROWS if "image" in row]
    assert len(with_image) == INSTRUCT_ROWS - 1
    assert {row["image"] for row in with_image} == {path.name for path in (FOLDER / "images").iterdir()}
    assert all(len(Path(row["image"]).stem) == 12 for row in with_image)


def test_the_image_token_is_first_or_last_in_the_first_turn_only() -> None:
    first = last = 0
    for row in ROWS:
        opening, *rest = (turn["value"] for turn in row["conversations"])
        assert not any("<image>" in text for text in rest)
        assert opening.count("<image>") == ("image" in row)
        first += opening.startswith("<image>\n")
        last += opening.endswith("\n<image>")
    assert first + last == INSTRUCT_ROWS - 1
    assert min(first, last) > INSTRUCT_ROWS * 0.4


def test_most_rows_have_several_turns_and_begin_with_a_description() -> None:
    assert np.mean([len(row["conversations"]) > 2 for row in ROWS]) > 0.9
    opening = [row["conversations"][0]["value"].replace("<image>", "").strip() for row in ROWS]
    assert np.mean([text in DETAIL_QUESTIONS for text in opening]) > 0.6
    assert np.mean([text in (*DETAIL_QUESTIONS, *BRIEF_QUESTIONS) for text in opening]) > 0.8


def test_all_that_the_answers_claim_is_true() -> None:
    for index, row in list(enumerate(ROWS))[::7]:
        if "image" in row:
            true = claims_of(instruct_scene(index))
            assert all(read(turn["value"]) <= true for turn in row["conversations"] if turn["from"] == "gpt"), row


@pytest.mark.parametrize("index", [0, 17, 250, 499])
def test_a_row_is_reproduced_exactly(index: int) -> None:
    assert ROWS[index] == instruct_row(index)


def test_a_committed_image_is_the_picture_of_its_scene() -> None:
    stored = Image.open(FOLDER / "images" / "000000000017.jpg").convert("RGB")
    drawn = photo(instruct_scene(17))
    # Two levels of slack: JPEG libraries differ in rounding, the drawing itself does not.
    assert np.abs(np.asarray(stored, int) - np.asarray(drawn, int)).max() <= 2


def test_heldout_truth_is_that_of_the_scenes_drawn_again() -> None:
    assert len(HELDOUT) >= 500
    assert HELDOUT[3] == json.loads(json.dumps(scenes.heldout_row(heldout(4)[3])))


def test_heldout_probes_are_true() -> None:
    for row in HELDOUT:
        present = {thing["kind"] for thing in row["things"]}
        for probe in row["probes"]:
            asked = PRESENCE[probe["question"]]
            assert (asked in present) == (probe["answer"] == "yes") == (probe["split"] == "present")


def test_write_gives_the_committed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "INSTRUCT_ROWS", 5)
    monkeypatch.setattr(scenes, "heldout", lambda: heldout(5))
    scenes.write(tmp_path)
    assert json.loads((tmp_path / "heldout.json").read_text()) == HELDOUT[:5]
    assert json.loads((tmp_path / "llava_instruct.json").read_text()) == ROWS[:5]
    assert json.loads((tmp_path / "truth.json").read_text()) == json.loads((FOLDER / "truth.json").read_text())[:5]
    assert len(list((tmp_path / "images").iterdir())) == 5
    assert (tmp_path / "words.txt").read_bytes() == (FOLDER / "words.txt").read_bytes()
    written, known = (json.loads((place / "instances.json").read_text()) for place in (tmp_path, FOLDER))
    assert written["images"] == known["images"][:5]
    assert written["annotations"] == known["annotations"][: len(written["annotations"])]
    assert {path.name for path in tmp_path.iterdir()} <= {path.name for path in FOLDER.iterdir()}


def test_the_listed_objects_are_those_that_the_captions_tell_of() -> None:
    known = json.loads((FOLDER / "instances.json").read_text())
    names = {category["id"]: category["name"] for category in known["categories"]}
    listed: dict[str, set[str]] = {}
    for annotation in known["annotations"]:
        listed.setdefault(f"{annotation['image_id']:012d}.jpg", set()).add(names[annotation["category_id"]])
    captions = [
        row for row in ROWS if row["conversations"][0]["value"].replace("<image>", "").strip() in DETAIL_QUESTIONS
    ]
    assert len(captions) > 200
    assert all(kinds_in(row["conversations"][1]["value"]) == listed[row["image"]] for row in captions)
