from __future__ import annotations

from pathlib import Path

import pytest

from prefgen.errors import UsageError
from prefgen.formats.published.povid import FILES, PovidSet
from prefgen.images import ImageRoot, load
from prefgen.records import Slot, Turn
from tests.formats.written import image_of, pairs, picture, povid_row, reasons, told, write_json

ASKED = (Turn("user", (Slot.IMAGE, "Describe this image.")),)


def test_a_row_becomes_a_pair(tmp_path: Path) -> None:
    (pair,) = pairs(PovidSet(), write_json(tmp_path / "povid.json", [povid_row(4)]))
    assert told(pair) == (ASKED, "4 people sit on a wall.", "11 people sit on a wall.")
    assert (pair.method, pair.sample.licence) == ("povid", "cc-by-4.0")
    assert (pair.sample.source, pair.sample.source_id) == ("povid.json", "COCO_train2014_000000000004")
    assert image_of(pair).path == "./data/coco/COCO_train2014_000000000004.jpg"
    assert pair.sample.meta == {}


@pytest.mark.parametrize("folder", ["", "data/coco", "elsewhere", "coco/train2014"])
def test_the_folder_that_stands_in_the_path_as_well_is_no_obstacle(tmp_path: Path, folder: str) -> None:
    (pair,) = pairs(PovidSet(), write_json(tmp_path / "povid.json", [povid_row(4)]))
    path = tmp_path / (folder or "data/coco") / "COCO_train2014_000000000004.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(picture().data)
    root = ImageRoot((tmp_path / folder,))
    assert load(image_of(pair), root).data == picture().data


@pytest.mark.parametrize("name", FILES)
def test_a_folder_may_hold_the_file_under_its_new_or_its_old_name(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, [povid_row()])
    assert len(pairs(PovidSet(), str(tmp_path))) == 1


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"version_1\.json"):
        list(PovidSet()(str(tmp_path)))


def test_unknown_columns_are_kept(tmp_path: Path) -> None:
    rows = [povid_row(hallucinated=["wall"], score=0.5, idx=7)]
    (pair,) = pairs(PovidSet(), write_json(tmp_path / "povid.json", rows))
    assert pair.sample.meta == {"hallucinated": ["wall"], "score": 0.5, "idx": 7}


def test_bad_rows_are_dropped_with_a_reason(tmp_path: Path) -> None:
    asked = povid_row()["conversations"][:1]
    rows = [
        povid_row(),
        povid_row(),
        povid_row(1, image=None),
        povid_row(2, image=""),
        povid_row(3, rejected_conversations=[{"from": "human", "value": "Other?"}, {"from": "gpt", "value": "x"}]),
        povid_row(4, rejected_conversations=povid_row(4)["conversations"]),
        povid_row(5, rejected_conversations=[*asked, {"from": "gpt", "value": " "}]),
        povid_row(6, conversations=[*asked, {"from": "gpt", "value": ""}]),
        povid_row(7, image=["a.jpg", "b.jpg"]),
        povid_row(8, conversations=asked, rejected_conversations=asked),
    ]
    assert reasons(PovidSet(), write_json(tmp_path / "povid.json", rows)) == [
        "DUPLICATE",
        "ROW_SHAPE",
        "TEXT_ONLY",
        "ROW_SHAPE",
        "REJECTED_EQUALS_CHOSEN",
        "REJECTED_EMPTY",
        "ANSWER_EMPTY",
        "IMG_COUNT",
        "ROW_SHAPE",
    ]


def test_another_set_is_recognised_as_another_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"SCHEMA.*povid.*rejected_conversations"):
        list(PovidSet()(write_json(tmp_path / "x.json", [{"question": "a", "chosen": "b"}] * 3)))
