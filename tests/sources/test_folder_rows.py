"""Folders that hold files of rows and their pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from prefgen.errors import UsageError
from prefgen.records import Dropped, ImageRef, Sample
from prefgen.sources import SourceOptions, fingerprint, missing_report, read


def fill(folder: Path, *answers: str, name: str = "rows.json", image: object = None) -> None:
    """A file of one row for each answer, and a picture that they are about."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (20, 10)).save(folder / "images" / "0.png")
    rows: list[dict[str, Any]] = [
        {
            "id": number if number % 2 else str(number),
            "image": image or "images/0.png",
            "question": "?",
            "answer": answer,
        }
        for number, answer in enumerate(answers)
    ]
    (folder / name).write_text(json.dumps(rows))


def answers(folder: Path, **options: Any) -> list[str | None]:
    found = list(read(str(folder), SourceOptions(**options)))
    assert not [outcome for outcome in found if isinstance(outcome, Dropped)], found
    report = missing_report(found, SourceOptions(**options).root(str(folder)))
    assert report.missing == 0, report.describe()
    return [outcome.answer for outcome in found if isinstance(outcome, Sample)]


@pytest.mark.parametrize("name", ["rows.json", "llava_v1_5_mix665k.json", "train.json", "Latest.JSON"])
def test_the_file_is_read_whatever_its_name(name: str, tmp_path: Path) -> None:
    fill(tmp_path, "one", "two", name=name)
    assert answers(tmp_path) == ["one", "two"]


def test_several_files_are_read_by_name_and_say_where_a_row_stands(tmp_path: Path) -> None:
    fill(tmp_path, "b", "", name="b.json")
    fill(tmp_path, "a", name="a.json", image=["images/0.png", "images/0.png"])
    found = list(read(str(tmp_path), SourceOptions()))
    assert [one.detail if isinstance(one, Dropped) else one.answer for one in found] == [
        "a",
        "b",
        "b.json, row 2: a turn of the assistant has no text",
    ]


@pytest.mark.parametrize("layout", ["{split}/rows.json", "{split}.json", "set-{split}-v1.jsonl"])
def test_splits_are_files_or_folders_of_their_name(layout: str, tmp_path: Path) -> None:
    for split, answer in (("train", "learn"), ("validation", "look"), ("test", "try")):
        file = tmp_path / layout.format(split=split)
        fill(file.parent, answer, name=file.name)
    assert answers(tmp_path) == ["learn"]
    assert answers(tmp_path, split="validation") == ["look"]
    with pytest.raises(UsageError, match="set --split to one of: t"):
        answers(tmp_path, split="dev")


def test_a_folder_is_identified_by_its_rows(tmp_path: Path) -> None:
    fill(tmp_path, "one")
    before = fingerprint(str(tmp_path), SourceOptions())
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "images" / "1.png")
    assert fingerprint(str(tmp_path), SourceOptions()) == before
    fill(tmp_path, "two")
    assert fingerprint(str(tmp_path), SourceOptions()) != before


def test_a_list_of_data_sets_is_no_row(tmp_path: Path) -> None:
    fill(tmp_path, "one")
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "rows.json"}}')
    assert answers(tmp_path) == ["one"]


def test_the_picture_is_that_of_the_split(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        fill(tmp_path / split, split)
    [sample] = read(str(tmp_path), SourceOptions(split="validation"))
    assert isinstance(sample, Sample)
    [image] = sample.images
    assert isinstance(image, ImageRef)
    found = SourceOptions(split="validation").root(str(tmp_path)).find(image.path or "")
    assert found == (tmp_path / "validation" / "images" / "0.png").resolve()
