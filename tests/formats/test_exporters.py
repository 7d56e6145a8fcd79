from __future__ import annotations

import base64
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from prefgen.errors import UsageError
from prefgen.formats import EXPORTERS
from prefgen.formats.exporting import export, plan
from prefgen.formats.mmpr import Mmpr
from prefgen.records import Image, Turn
from prefgen.sources import SourceOptions
from tests.formats.written import image_of, pairs
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


def test_mmpr_s_meta_file_leads_to_rows_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(stored(tmp_path / "a", [pair(3), pair(4)]), "mmpr", tmp_path / "my-set")
    meta = json.loads((tmp_path / "my-set" / "meta.json").read_text())
    assert meta == {
        "my-set": {
            "root": "my-set",
            "annotation": "my-set/train.jsonl",
            "data_augment": False,
            "repeat_time": 1,
            "length": 2,
        }
    }
    monkeypatch.chdir(tmp_path)  # as InternVL does it: both are relative to where it runs
    rows = [json.loads(line) for line in Path(meta["my-set"]["annotation"]).read_text().splitlines()]
    shown = [Path(meta["my-set"]["root"], row["image"]).read_bytes() for row in rows]
    assert shown == [picture(3).data, picture(4).data]
    monkeypatch.chdir("/")
    imported = pairs(Mmpr(), str(tmp_path / "my-set" / "meta.json"))
    root = SourceOptions().root(str(tmp_path / "my-set" / "meta.json"))
    found = [root.look(str(image_of(made).path), os.path.exists) for made in imported]
    assert [place.how for place in found if place] == ["", ""]


def test_jsonl_has_one_type_in_every_column(tmp_path: Path) -> None:
    talk = (Turn("system", ("Be brief.",)), ask("What is it?"))
    several = handmade_pair(9, sample=sample(9, prompt=talk, images=(picture(9),)))
    made = [pair(3), several, pair(4, images=(picture(1), picture(2)))]
    exported = export(stored(tmp_path / "a", made), "jsonl", tmp_path / "out")
    assert (exported.rows, exported.left_out) == (2, {"ROW_SHAPE": 1})
    one, two = rows_of(tmp_path / "out" / "train.jsonl")
    assert one == {
        "id": "3",
        "images": ["images/3.png"],
        "prompt": "<image>\nWhat is it?",
        "chosen": "A cat 3.",
        "rejected": "A dog 3.",
    }
    assert two["images"] == ["images/1.png", "images/2.png"]


def unpaired_rows(out: Path) -> list[dict[str, Any]]:
    (path,) = (out / "data").iterdir()
    return [{**row, "prefgen": None, "prefgen_chosen": None} for row in pq.read_table(path).to_pylist()]


def test_unpaired_rows_are_those_that_trl_makes_of_its_own_format(tmp_path: Path) -> None:
    trl_data = pytest.importorskip("trl.data_utils")
    import datasets

    run = stored(tmp_path / "a", [pair(number) for number in range(4)])
    export(run, "trl", tmp_path / "pairs")
    export(run, "unpaired", tmp_path / "marked")
    loaded = datasets.load_dataset(str(tmp_path / "pairs"), split="train", cache_dir=str(tmp_path / "cache"))
    loaded = loaded.cast_column("images", [datasets.Image(decode=False)])
    theirs = trl_data.unpair_preference_dataset(loaded).to_list()
    ours = unpaired_rows(tmp_path / "marked")

    def told(rows: list[dict[str, Any]]) -> list[str]:
        names = ("prompt", "completion", "label")
        return sorted(json.dumps({name: row[name] for name in names}, sort_keys=True) for row in rows)

    assert told(ours) == told(theirs)
    assert trl_data.is_conversational(ours[0])


def test_a_chosen_answer_of_several_pairs_is_marked_good_once(tmp_path: Path) -> None:
    same = [pair(3), pair(3, rejected="A horse."), pair(4)]
    same[1] = dataclasses.replace(same[1], sample=dataclasses.replace(same[1].sample, id="ab" * 8))
    exported = export(stored(tmp_path / "a", same), "unpaired", tmp_path / "out")
    assert exported.rows == 3
    assert [(row["completion"][0]["content"][0]["text"], row["label"]) for row in unpaired_rows(tmp_path / "out")] == [
        ("A cat 3.", True),
        ("A dog 3.", False),
        ("A horse.", False),
        ("A cat 4.", True),
        ("A dog 4.", False),
    ]


def test_boxes_leave_with_ms_swift_s_rows(tmp_path: Path) -> None:
    boxed = pair(3)
    objects = {"ref": ["cup"], "bbox": [[1, 2, 3, 4]]}
    boxed = dataclasses.replace(boxed, sample=dataclasses.replace(boxed.sample, meta={"objects": objects}))
    export(stored(tmp_path / "a", [boxed, pair(4)]), "ms-swift", tmp_path / "out")
    one, two = rows_of(tmp_path / "out" / "train.jsonl")
    assert one["objects"] == objects
    assert "objects" not in two


@pytest.mark.parametrize("to", EXPORTERS)
def test_the_plan_of_an_export_is_what_it_writes(tmp_path: Path, to: str) -> None:
    spoilt = pair(5, rejected="A cat 5.", rejected_images=(picture(200),))
    system = handmade_pair(6, sample=sample(6, prompt=(Turn("system", ("Brief.",)), ask()), images=(picture(6),)))
    two = pair(7, images=(picture(1), picture(2)))
    run = stored(tmp_path / "a", [pair(3), spoilt, system, two])
    planned = plan(run, to)
    assert not (tmp_path / "out").exists()
    assert export(run, to, tmp_path / "out") == planned
    assert planned.rows + sum(planned.left_out.values()) == 4
    assert planned.rows > 0


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
    made = [
        pair(3, similarity=None),
        pair(4, images=(picture(1), picture(2))),
        pair(5, images=(Image(large, "large.png", 16, 12),)),
        pair(6, question="?" * 20_001),
    ]
    exported = export(stored(tmp_path / "a", made), "argilla", tmp_path / "my-set")
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
    made = [
        pair(0, images=(picture(0, "x.png"), picture(1, "X.png"))),
        pair(1, images=(picture(1, "x.png"), picture(0, "y.png"))),
        pair(2, images=(picture(0, "x.png"),)),
    ]
    export(stored(tmp_path / "a", made), "ms-swift", tmp_path / "out")
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
    assert export(run, "llava", tmp_path / "out").already
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="empty"):
        export(run, "llava", tmp_path / "own")
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["notes.txt"]
    with pytest.raises(UsageError, match="give one of trl"):
        export(run, "excel", tmp_path / "other")
