"""The report on images that are not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefgen.images import ImageRoot
from prefgen.records import Dropped, ImageRef, Sample, Turn
from prefgen.sources import missing_report


def sample(*images: ImageRef) -> Sample:
    return Sample("0" * 16, (Turn("user", ("What?",)),), images, "A.", "set", "1")


def by_path(*names: str) -> list[Sample | Dropped]:
    return [sample(ImageRef(path=name)) for name in names]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "a" / "b" / "project"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    return here


def test_nothing_missing_is_said_in_one_sentence(folder: Path) -> None:
    (folder / "a.jpg").touch()
    report = missing_report(by_path("a.jpg", "a.jpg"), ImageRoot((folder,)))
    assert (report.images, report.missing, report.describe()) == (1, 0, "All 1 images were found.")


def test_the_report_counts_images_and_samples_and_names_the_first(folder: Path) -> None:
    (folder / "here.jpg").touch()
    rows = by_path("1.jpg", "here.jpg", "2.jpg", "3.jpg", "4.jpg", "1.jpg")
    rows += [Dropped("TEXT_ONLY", "", "set", "9"), sample(ImageRef(data=b"x", path="5.jpg")), sample(ImageRef(url="u"))]
    report = missing_report(rows, ImageRoot((folder,)))
    assert (report.images, report.missing, report.samples) == (5, 4, 5)
    assert report.examples == ("1.jpg", "2.jpg", "3.jpg")
    assert report.root is None
    assert report.describe() == (
        "4 of 5 images were not found (5 samples), e.g. 1.jpg, 2.jpg, 3.jpg. "
        "No folder nearby holds them; their rows are dropped."
    )


@pytest.mark.parametrize("place", ["images", "data/coco/train2017", "../images", "../../other"])
def test_the_root_that_would_find_most_is_named(folder: Path, place: str) -> None:
    (folder / place).mkdir(parents=True)
    (folder / "decoy").mkdir()
    for number in range(5):
        (folder / place / f"{number}.jpg").touch()
    (folder / "decoy" / "0.jpg").touch()
    report = missing_report(by_path(*(f"{number}.jpg" for number in range(6))), ImageRoot((folder,)))
    assert report.root is not None
    assert (report.root.resolve(), report.tried, report.found) == ((folder / place).resolve(), 6, 5)
    assert f"Of all 6, --image-root {report.root} would find 5." in report.describe()


def test_a_folder_beside_a_given_one_is_a_further_root(folder: Path) -> None:
    for place in ("images/0.jpg", "more/1.jpg"):
        (folder / place).parent.mkdir()
        (folder / place).touch()
    report = missing_report(by_path("0.jpg", "1.jpg"), ImageRoot((folder / "images",)))
    assert f"Of all 1, a further --image-root {folder.resolve() / 'more'} would find 1." in report.describe()


def test_coco_spellings_count_as_found(folder: Path) -> None:
    (folder / "train2017").mkdir()
    (folder / "train2017" / "000000442786.jpg").touch()
    assert missing_report(by_path("COCO_train2014_000000442786.jpg"), ImageRoot((folder,))).missing == 0


def test_without_a_root_the_working_directory_is_tried(folder: Path) -> None:
    (folder / "a.jpg").touch()
    assert missing_report(by_path("a.jpg"), ImageRoot(())).root == folder


def test_a_folder_is_listed_once_however_many_rows_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    listdir = os.listdir

    def counted(path: str) -> list[str]:
        listed.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counted)
    rows = by_path(*(f"{number:012}.jpg" for number in range(2000)))
    assert missing_report(rows, ImageRoot((folder,))).missing == 2000
    assert len(listed) == len(set(listed)) < 200


def test_a_root_is_not_named_where_only_file_names_agree(folder: Path) -> None:
    for number in range(3):
        picture = folder.parent / "other_set" / "images" / f"{number}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.touch()
    report = missing_report(by_path(*(f"gqa/images/{number}.jpg" for number in range(3))), ImageRoot((folder,)))
    assert report.root is None
    assert "other_set" not in report.describe()


def test_the_report_names_a_file_of_another_extension(folder: Path) -> None:
    (folder / "img").mkdir()
    (folder / "img" / "0.png").touch()
    (folder / "other" / "img").mkdir(parents=True)
    (folder / "other" / "img" / "0.jpg").touch()
    told = missing_report(by_path("img/0.jpg"), ImageRoot((folder,))).describe()
    assert told.endswith("For img/0.jpg: is it img/0.png? --image-match tail takes it.")


def test_a_path_of_another_machine_is_told_what_agrees(folder: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "photos" / "0.jpg").touch()
    report = missing_report(by_path("D:\\data\\photos\\0.jpg"), ImageRoot((folder,)))
    assert (
        "only its last folders agree with a file that is there, which --image-match tail would take"
        in report.describe()
    )


def test_what_is_found_by_a_looser_rule_is_counted(folder: Path) -> None:
    (folder / "a b.jpg").touch()
    (folder / "images").mkdir()
    (folder / "images" / "1.jpg").touch()
    report = missing_report(by_path("a%20b.jpg", "gqa/images/1.jpg"), ImageRoot((folder,), "tail"))
    assert (report.missing, report.guessed) == (0, {"spelling": 1, "tail": 1})
    assert "1 of them only by leaving leading folders off" in report.describe()


def test_links_out_of_the_root_are_counted_before_the_run(folder: Path) -> None:
    (folder.parent / "a.jpg").touch()
    (folder / "a.jpg").symlink_to(folder.parent / "a.jpg")
    report = missing_report(by_path("a.jpg"), ImageRoot((folder,)))
    assert (report.missing, report.linked) == (1, 1)
    assert "--follow-links" in report.describe()
    assert missing_report(by_path("a.jpg"), ImageRoot((folder,), follow_links=True)).missing == 0
