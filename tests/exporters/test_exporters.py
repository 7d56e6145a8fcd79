from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from prefgen.errors import UsageError
from prefgen.exporters import export
from prefgen.records import Image, Turn
from tests.handmade import ask, sample
from tests.handmade import pair as handmade_pair
from tests.select.runs import pair, picture, stored


def rows_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text) if path.suffix == ".json" else [*map(json.loads, text.splitlines())]
    return [{name: value for name, value in row.items() if name != "prefgen"} for row in found]


def test_llava(tmp_path: Path) -> None:
    assert export(stored(tmp_path / "a", [pair(3)]), "llava", tmp_path / "out").rows == 1
    asked = {"from": "human", "value": "<image>\nWhat is it?"}
    assert rows_of(tmp_path / "out" / "train.json") == [
        {
            "id": "3",
            "image": "images/3.png",
            "conversations": [asked, {"from": "gpt", "value": "A cat 3."}],
            "rejected_conversations": [asked, {"from": "gpt", "value": "A dog 3."}],
        }
    ]
    assert (tmp_path / "out" / "images" / "3.png").read_bytes() == picture(3).data


def test_mmpr(tmp_path: Path) -> None:
    export(stored(tmp_path / "a", [pair(3), pair(4, images=(picture(1), picture(2)))]), "mmpr", tmp_path / "out")
    one, two = rows_of(tmp_path / "out" / "train.jsonl")
    assert one == {
        "id": "3",
        "image": "images/3.png",
        "question": "<image>\nWhat is it?",
        "chosen": "A cat 3.",
        "rejected": "A dog 3.",
    }
    assert two["image"] == ["images/1.png", "images/2.png"]


def test_ms_swift(tmp_path: Path) -> None:
    export(stored(tmp_path / "a", [pair(3)]), "ms-swift", tmp_path / "out")
    assert rows_of(tmp_path / "out" / "train.jsonl") == [
        {
            "messages": [
                {"role": "user", "content": "<image>\nWhat is it?"},
                {"role": "assistant", "content": "A cat 3."},
            ],
            "images": ["images/3.png"],
            "rejected_response": "A dog 3.",
            "id": "3",
        }
    ]


def test_llama_factory_comes_with_its_listing(tmp_path: Path) -> None:
    export(stored(tmp_path / "a", [pair(3)]), "llamafactory", tmp_path / "my-set")
    (row,) = rows_of(tmp_path / "my-set" / "train.json")
    assert row["chosen"] == {"from": "gpt", "value": "A cat 3."}
    assert row["images"] == ["images/3.png"]
    listing = json.loads((tmp_path / "my-set" / "dataset_info.json").read_text())
    assert listing == {
        "my-set": {
            "file_name": "train.json",
            "ranking": True,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"},
        }
    }


def test_trl(tmp_path: Path) -> None:
    import datasets

    export(stored(tmp_path / "a", [pair(number) for number in range(20)]), "trl", tmp_path / "out")
    paths = sorted((tmp_path / "out" / "data").iterdir())
    assert [path.name for path in paths] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert pq.read_schema(paths[0]).names == ["images", "prompt", "chosen", "rejected", "prefgen"]
    assert yaml.safe_load((tmp_path / "out" / "dpo.yaml").read_text())["max_length"] is None
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 20
    assert loaded[3]["images"][0].size == (16, 12)
    assert loaded[3]["prompt"][0]["content"][0] == {"type": "image", "text": None}


def test_a_row_without_a_place_is_counted_and_leaves_no_picture(tmp_path: Path) -> None:
    turns = (ask("What is it?"), Turn("assistant", ("A cat.",)), Turn("user", ("Which?",)))
    several = handmade_pair(9, sample=sample(9, prompt=turns, images=(picture(9),)))
    exported = export(stored(tmp_path / "a", [pair(3), several]), "mmpr", tmp_path / "out")
    assert (exported.rows, exported.left_out) == (1, {"ROW_SHAPE": 1})
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["3.png"]
    with pytest.raises(UsageError, match="a place for none"):
        export(stored(tmp_path / "b", [several]), "mmpr", tmp_path / "none")
    assert not list(tmp_path.glob("*none*"))


def test_argilla(tmp_path: Path) -> None:
    """What Argilla itself makes of it: tests/trainers/test_argilla.py."""
    large = picture(2).data + b"\0" * 4_000_000
    pairs = [
        pair(3, similarity=None),
        pair(4, images=(picture(1), picture(2))),
        pair(5, images=(Image(large, "large.png", 16, 12),)),
        pair(6, question="?" * 20_001),
    ]
    exported = export(stored(tmp_path / "a", pairs), "argilla", tmp_path / "my-set")
    assert (exported.rows, exported.left_out) == (2, {"IMG_SIZE": 1, "ROW_SHAPE": 1})
    one, two = json.loads((tmp_path / "my-set" / "records.json").read_text())
    assert one["fields"] == {
        "image": f"data:image/png;base64,{base64.b64encode(picture(3).data).decode()}",
        "prompt": [{"role": "user", "content": "<image>\nWhat is it?"}],
        "chosen": "A cat 3.",
        "rejected": "A dog 3.",
    }
    assert one["metadata"]["source_id"] == "3"
    assert "similarity" not in one["metadata"]
    assert {"image", "image_2"} <= two["fields"].keys()
    settings = json.loads((tmp_path / "my-set" / ".argilla" / "settings.json").read_text())
    assert [field["name"] for field in settings["fields"]] == ["image", "image_2", "prompt", "chosen", "rejected"]
    named = {entry["name"] for entry in settings["metadata"]}
    assert named | {"source_id", "turn"} >= one["metadata"].keys() | two["metadata"].keys()
    assert json.loads((tmp_path / "my-set" / ".argilla" / "dataset.json").read_text())["name"] == "my-set"


def test_one_name_for_two_pictures_and_two_names_for_one(tmp_path: Path) -> None:
    pairs = [
        pair(0, images=(picture(0, "x.png"), picture(1, "X.png"))),
        pair(1, images=(picture(1, "x.png"), picture(0, "y.png"))),
        pair(2, images=(picture(0, "x.png"),)),
    ]
    export(stored(tmp_path / "a", pairs), "ms-swift", tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "train.jsonl")
    held = [[(tmp_path / "out" / name).read_bytes() for name in row["images"]] for row in rows]
    first, second = picture(0).data, picture(1).data
    assert held == [[first, second], [second, first], [first]]
    names = [path.name.lower() for path in (tmp_path / "out" / "images").iterdir()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["..", "a\tb.png", "-rf", "con:1.png", "x" * 300, ".hidden"])
def test_names_that_are_no_file_names(tmp_path: Path, name: str) -> None:
    export(stored(tmp_path / "a", [pair(0, images=(picture(0, name),))]), "ms-swift", tmp_path / "out")
    (saved,) = (tmp_path / "out" / "images").iterdir()
    assert saved.name == picture(0).sha256[:16]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(0)])
    (tmp_path / "out").mkdir()
    export(run, "llava", tmp_path / "out")  # empty is fine
    with pytest.raises(UsageError, match="not an empty folder"):
        export(run, "llava", tmp_path / "out")
    with pytest.raises(UsageError, match="give one of trl"):
        export(run, "excel", tmp_path / "other")
