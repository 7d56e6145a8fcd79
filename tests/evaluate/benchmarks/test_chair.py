from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks import chair, coco_objects
from prefgen.evaluate.benchmarks.coco_objects import ObjectWords, own, singular

CATEGORIES = ["person", "dog", "dining table", "hot dog", "tv"]


def coco_files(folder: Path, objects: dict[int, list[str]], captions: dict[int, list[str]]) -> tuple[Path, Path]:
    images = [{"id": number, "file_name": f"COCO_val2014_{number:012d}.jpg"} for number in objects]
    found = [
        {"image_id": number, "category_id": CATEGORIES.index(name)}
        for number, names in objects.items()
        for name in names
    ]
    categories = [{"id": place, "name": name} for place, name in enumerate(CATEGORIES)]
    instances, told = folder / "instances.json", folder / "captions.json"
    instances.write_text(json.dumps({"images": images, "annotations": found, "categories": categories}))
    rows = [{"image_id": number, "caption": text} for number, texts in captions.items() for text in texts]
    told.write_text(json.dumps({"images": images, "annotations": rows}))
    return instances, told


def test_figures_are_those_of_a_count_by_hand(tmp_path: Path) -> None:
    instances, captions = coco_files(
        tmp_path, {1: ["person", "dog"], 2: ["dining table"], 3: ["tv"]}, {2: ["A man at a desk."], 3: ["Nothing."]}
    )
    words = own()
    known = chair.truth([instances], [captions], words)
    assert known.objects == {1: {"person", "dog"}, 2: {"dining table", "person"}, 3: {"tv"}}
    texts = {
        1: "A woman with two dogs eats a hot dog. The dogs wait.",  # person, dog, hot dog, dog: one of four is wrong
        2: "A table with a laptop and another laptop.",  # dining table, laptop, laptop: two of three
        3: "It is dark.",
    }
    found = chair.score([chair.judge(n, text, known.objects[n], words) for n, text in texts.items()], words)
    assert found["chair_i"] == pytest.approx(3 / 7, abs=1e-6)
    assert found["chair_s"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["recall_coco"] == pytest.approx(3 / 5)  # person, dog; dining table; of 2 + 2 + 1
    assert found["f1"] == pytest.approx(2 * 0.6 * 0.6 / 1.2)  # named once each: 3 + 2, of which 3 are true
    assert found["words"] == pytest.approx((12 + 8 + 3) / 3, abs=1e-6)
    assert (found["count"], found["mentions"], found["true_objects"]) == (3, 7, 5)
    assert (found["lemmatiser"], found["synonyms"]) == ("rules", "prefgen")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Two men and three women.", ["person", "person"]),
        ("A hot dog and a dog.", ["hot dog", "dog"]),
        ("A toilet with the toilet seat up.", ["toilet", "toilet"]),
        ("A teddy bear beside a bear.", ["teddy bear", "bear"]),
        ("Buses, taxis and a fire truck.", ["bus", "car", "truck"]),
        ("A tennis player swings a tennis racquet at the ball.", ["tennis racket", "sports ball"]),
        ("A dog house without inhabitants.", []),
        ("knives, glasses, a wine-glass and wine glasses", ["knife", "wine glass", "wine glass"]),
        ("Cars' lights; the car's door.", ["car", "car"]),
        ("A bookshelf in the train station.", []),
        ("She is on her cell phone, scissors in hand.", ["cell phone", "scissors"]),
    ],
)
def test_what_a_text_names(text: str, named: list[str]) -> None:
    assert own().mentions(text) == named


def test_every_category_of_coco_is_found_by_its_own_name_in_singular_and_plural() -> None:
    words = own()
    assert len(words.categories) == 80
    for name in words.categories:
        assert words.mentions(f"There is a {name} here.") == [name]
        plural = (
            name if name in ("skis", "scissors") else f"{name}es" if name.endswith(("s", "ch", "sh")) else f"{name}s"
        )
        plural = {"knifes": "knives", "mouses": "mice", "sheeps": "sheep", "persons": "people"}.get(plural, plural)
        assert words.mentions(f"There are {plural} here.") == [name]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("dogs", "dog"), ("benches", "bench"), ("ponies", "pony"), ("glasses", "glass"), ("bus", "bus")),
        *(("children", "child"), ("boxes", "box"), ("tennis", "tennis"), ("horses", "horse"), ("grass", "grass")),
    ],
)
def test_plural_endings(word: str, expected: str) -> None:
    assert singular(word) == expected


def test_words_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("couch, sofa, love seat\nhouse, cottage\n")
    words = coco_objects.read(tmp_path / "words.txt")
    assert words.mentions("Two love seats and a cottage with a dog.") == ["couch", "house"]
    assert words.name == "words.txt"
    with pytest.raises(UsageError, match="'sofa' names couch and bed"):
        ObjectWords({"couch": ["sofa"], "bed": ["sofa"]}, "mine")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UsageError, match="holds no words"):
        coco_objects.read(tmp_path / "empty.txt")


def test_a_category_without_words_names_the_option(tmp_path: Path) -> None:
    instances, _ = coco_files(tmp_path, {1: ["dog"]}, {})
    with pytest.raises(UsageError, match=r"category 'person' .* --synonyms"):
        chair.truth([instances], [], ObjectWords({"dog": []}, "mine"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("no json", "cannot be read"),
        ("[]", "no annotation file of COCO"),
        ('{"images": [], "annotations": [{"caption": "x"}], "categories": []}', "no file of instances"),
    ],
)
def test_files_of_another_kind(content: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match=named):
        chair.truth([tmp_path / "x.json"], [], own())


@pytest.mark.parametrize(
    "row",
    [
        {"image_id": 42, "caption": "A dog."},
        {"image_id": "COCO_val2014_000000000042.jpg", "caption": "A dog."},
        {"image": "val2014/COCO_val2014_000000000042.jpg", "text": "A dog.", "question_id": 7},
        {"question_id": 42, "text": "A dog."},
        {"image": "000000000042.jpg", "answer": "A dog."},
    ],
)
def test_pictures_are_known_by_id_or_name(row: dict[str, object], tmp_path: Path) -> None:
    instances, _ = coco_files(tmp_path, {42: ["dog"], 7: ["tv"]}, {})
    known = chair.truth([instances], [], own())
    (tmp_path / "answers.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"image_id": 99, "caption": "?"}))
    assert chair.captions_of(tmp_path / "answers.jsonl", known) == ({42: "A dog."}, 1)
    (tmp_path / "twice.json").write_text(json.dumps([row, row]))
    with pytest.raises(UsageError, match="has a caption already"):
        chair.captions_of(tmp_path / "twice.json", known)
