from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefgen.records import Image, ImageRef, Pair, Slot, Turn
from prefgen.rundir import schema
from tests.handmade import PROVENANCE, ask, pair, picture, sample

GOLDEN = """
id: string
images: list<element: struct<bytes: binary, path: string>>
prompt: list<element: struct<role: string, content: list<element: struct<type: string, text: string>>>>
chosen: list<element: struct<role: string, content: list<element: struct<type: string, text: string>>>>
rejected: list<element: struct<role: string, content: list<element: struct<type: string, text: string>>>>
conversations: list<element: struct<role: string, content: string>>
rejected_response: string
chosen_response: string
instruction: string
history: list<element: list<element: string>>
rejected_images: list<element: struct<bytes: binary, path: string>>
method: string
variant: string
iteration: int32
similarity: float
flags: list<element: string>
seed: int64
image_tokens: int32
kept_image_tokens: int32
generated_tokens: int32
chosen_chars: int32
rejected_chars: int32
finish: list<element: string>
cuts: list<element: int32>
spans: list<element: struct<start: int32, end: int32>>
swaps: list<element: struct<start: int32, end: int32>>
source: string
source_id: string
licence: string
turn: int32
model: string
model_revision: string
engine: string
attention: string
positions: string
dtype: string
device: string
similarity_model: string
similarity_revision: string
prefgen_version: string
meta: string
"""

MULTI_TURN = (ask("What is it?"), Turn("assistant", ("A cat.",)), Turn("user", ("Which colour?",)))
TWO_IMAGES = (ask("Which is larger?", images=2),)


def row(made: Pair) -> dict[str, Any]:
    return schema.to_table([made], PROVENANCE).to_pylist()[0]  # type: ignore[no-any-return]  # pyarrow is untyped


def reread(pairs: list[Pair]) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(schema.encode(schema.to_table(pairs, PROVENANCE))))


def test_golden_schema() -> None:
    assert [f"{field.name}: {field.type}" for field in schema.SCHEMA] == GOLDEN.split("\n")[1:-1]


def test_no_column_has_a_name_that_a_loader_misreads() -> None:
    assert not {"messages", "label", "completion", "image", "solution"} & set(schema.SCHEMA.names)


def test_features_are_spelt_for_every_version_of_datasets() -> None:
    text = schema.SCHEMA.metadata[b"huggingface"].decode()
    features = json.loads(text)["info"]["features"]
    assert features["images"] == [{"_type": "Image"}]
    assert features["history"] == [[{"dtype": "string", "_type": "Value"}]]
    assert features["similarity"] == {"dtype": "float32", "_type": "Value"}
    assert "List" not in text
    assert "Sequence" not in text


def test_a_parquet_file_holds_the_explicit_schema() -> None:
    file = reread([pair(0), pair(1)])
    assert file.schema_arrow.equals(schema.SCHEMA, check_metadata=True)
    assert file.read().column("id").to_pylist() == ["0" * 16, "0" * 15 + "1"]


def test_the_bytes_of_a_picture_are_kept_under_its_base_name() -> None:
    image = picture(9, path="coco\\train/2014/00 1.png")
    assert row(pair(sample=sample(images=(image,))))["images"] == [{"bytes": image.data, "path": "00 1.png"}]
    nameless = picture(9, path="")
    assert row(pair(sample=sample(images=(nameless,))))["images"][0]["path"] == nameless.sha256[:16]


@pytest.mark.parametrize("prompt", [(ask(),), MULTI_TURN, TWO_IMAGES, (ask("Hello?", images=0),)])
def test_trl_form(prompt: tuple[Turn, ...]) -> None:
    made = row(pair(prompt=prompt))
    parts = [part for turn in made["prompt"] for part in turn["content"]]
    assert sum(part["type"] == "image" for part in parts) == len(made["images"])
    assert all(set(part) == {"type", "text"} for part in parts)
    assert all(part["text"] is None for part in parts if part["type"] == "image")
    assert made["prompt"][-1]["role"] == "user"
    for side, text in (("chosen", pair().chosen), ("rejected", pair().rejected)):
        assert made[side] == [{"role": "assistant", "content": [{"type": "text", "text": text}]}]


@pytest.mark.parametrize("prompt", [(ask(),), MULTI_TURN, TWO_IMAGES])
def test_llama_factory_form(prompt: tuple[Turn, ...]) -> None:
    made = row(pair(prompt=prompt))
    said = [*(text for turn in made["history"] for text in turn), made["instruction"]]
    assert sum(text.count("<image>") for text in said) == len(made["images"])
    assert len(said) % 2 == 1
    assert (made["chosen_response"], made["rejected_response"]) == (pair().chosen, pair().rejected)


def test_ms_swift_form() -> None:
    made = row(pair(prompt=MULTI_TURN))
    assert made["conversations"] == [
        {"role": "user", "content": "<image>\nWhat is it?"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Which colour?"},
        {"role": "assistant", "content": pair().chosen},
    ]
    assert made["rejected_response"] == pair().rejected


def test_history_keeps_the_image_where_it_was_shown() -> None:
    made = row(pair(prompt=MULTI_TURN))
    assert made["history"] == [["<image>\nWhat is it?", "A cat."]]
    assert made["instruction"] == "Which colour?"


def test_a_system_turn_leads_the_first_question_where_there_is_no_place_for_it() -> None:
    made = row(pair(prompt=(Turn("system", ("Be brief.",)), *MULTI_TURN)))
    assert made["history"] == [["Be brief.\n\n<image>\nWhat is it?", "A cat."]]
    assert made["conversations"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((Slot.IMAGE, "Q"), "<image>\nQ"),
        (("Q", Slot.IMAGE), "Q\n<image>"),
        ((Slot.IMAGE, "\nQ"), "<image>\nQ"),
        (("Is ", Slot.IMAGE, " like ", Slot.IMAGE), "Is <image> like <image>"),
        ((Slot.IMAGE, Slot.IMAGE, "Q"), "<image>\n<image>\nQ"),
        (("", Slot.IMAGE, "", "Q"), "<image>\nQ"),
        (("one, ", "two"), "one, two"),
        ((Slot.IMAGE,), "<image>"),
    ],
)
def test_where_tags_stand_in_the_text(parts: tuple[str | Slot, ...], expected: str) -> None:
    assert row(pair(prompt=(Turn("user", parts),)))["instruction"] == expected


def test_a_media_tag_in_text_is_made_harmless_and_flagged() -> None:
    made = row(pair(prompt=(ask("What does <image> mean?"),), chosen="<video> and <b>", flags=("similar",)))
    assert made["instruction"] == "<image>\nWhat does ‹image› mean?"
    assert made["prompt"][0]["content"][1]["text"] == "What does ‹image› mean?"
    assert made["chosen_response"] == "‹video› and <b>"
    assert made["flags"] == ["similar", "media-tag"]
    assert row(pair())["flags"] == []


def test_no_tag_arises_where_two_texts_meet() -> None:
    made = row(pair(prompt=(Turn("user", (Slot.IMAGE, "<ima", "ge>")),)))
    assert made["instruction"] == "<image>\n‹image›"
    assert made["flags"] == ["media-tag"]


@given(st.lists(st.sampled_from([*"<>/imageaudovs ", "<image>", "\ud800", "é", "👩"])).map("".join))
def test_stored_text_has_no_tag_and_the_same_offsets(text: str) -> None:
    stored = schema.storable(text)
    assert len(stored) == len(text)
    assert not any(tag in stored for tag in ("<image>", "<video>", "<audio>"))
    assert all(old == new or old in "<>\ud800" for old, new in zip(text, stored, strict=True))
    stored.encode()


@pytest.mark.parametrize("text", ["日本 \u202e ‮", 'a"b\\c\n\t\0', "👩‍👩‍👧 é é", "</s> <|im_end|>", "\x1b[31m"])
def test_odd_text_survives(text: str) -> None:
    made = reread([pair(chosen=text, prompt=(ask(text),))]).read().to_pylist()[0]
    assert made["chosen_response"] == text
    assert made["prompt"][0]["content"][1]["text"] == text


def test_what_utf8_cannot_hold_is_replaced_at_the_same_offset() -> None:
    made = reread([pair(rejected="a\ud800b")]).read().to_pylist()[0]
    assert made["rejected_response"] == "a\ufffdb"
    assert made["rejected_chars"] == 3


def test_provenance_is_in_every_row() -> None:
    made = row(pair(similarity=None))
    assert made["similarity"] is None
    assert (made["model"], made["model_revision"], made["positions"]) == ("tiny/model", "0123abcd", "compact")
    assert made["spans"] == [{"start": 5, "end": 20}, {"start": 33, "end": 39}]
    meta = json.loads(made["meta"])
    assert meta["options"] == {"rho": 0.99}
    assert meta["versions"] == {"torch": "2.10.0", "transformers": "5.5.0"}
    assert meta["images"] == [{"sha256": picture().sha256, "width": 4, "height": 3, "path": "folder/cat.png"}]


def test_source_columns_that_json_cannot_hold_do_not_stop_a_run() -> None:
    source = {"nan": float("nan"), "bytes": b"x", "list": [1, (2.5, None)], "text": "\ud800", 3: True}
    made = row(pair(sample=sample(meta=source)))
    assert json.loads(made["meta"])["source"] == {
        "nan": None,
        "bytes": "b'x'",
        "list": [1, [2.5, None]],
        "text": "\ud800",
        "3": True,
    }


def test_meta_is_json_with_sorted_keys_and_of_each_row_its_own() -> None:
    """Options that compare equal, and turns and pictures that rows share, are each stored as they are."""
    asked, shown = ask(), picture(3)
    pairs = [
        pair(
            number,
            sample=sample(number, prompt=(asked,), images=(shown,), meta={"b": number, "a": "ä\ud800"}),
            rejected_images=(picture(number),),
            params={"z": {"y": [option]}, "x": option},
            record={"r": option, "k": "ü"},
            joined={"size": 3, "group": "g"},
        )
        for number, option in enumerate((1, True, 1.0))
    ]
    rows = schema.to_table(pairs, PROVENANCE).to_pylist()
    metas = [json.loads(found["meta"]) for found in rows]
    assert [found["meta"] for found in rows] == [json.dumps(meta, sort_keys=True) for meta in metas]
    assert [repr(meta["options"]["x"]) for meta in metas] == ["1", "True", "1.0"]
    assert [meta["source"]["b"] for meta in metas] == [0, 1, 2]
    assert [meta["rejected_images"][0]["sha256"] for meta in metas] == [picture(number).sha256 for number in range(3)]
    assert {meta["images"][0]["sha256"] for meta in metas} == {shown.sha256}
    assert metas[0]["joined"] == {"size": 3, "group": "g"}


def test_pictures_that_were_never_loaded_are_a_bug() -> None:
    with pytest.raises(ValueError, match="0 loaded images"):
        schema.to_table([pair(sample=sample(images=(ImageRef(path="cat.png"),)))], PROVENANCE)
    with pytest.raises(ValueError, match="1 loaded images"):
        schema.to_table([pair(sample=sample(prompt=TWO_IMAGES, images=(picture(),)))], PROVENANCE)


def test_the_same_rows_give_the_same_bytes() -> None:
    pairs = [pair(number) for number in range(7)]
    first, second = (schema.encode(schema.to_table(pairs, PROVENANCE)) for _ in range(2))
    assert first.equals(second)


def test_no_rows_still_have_the_schema() -> None:
    file = reread([])
    assert file.metadata.num_rows == 0
    assert file.schema_arrow.equals(schema.SCHEMA, check_metadata=True)


def test_pictures_are_stored_plain_and_text_compressed() -> None:
    group = reread([pair()]).metadata.row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    pictures = columns.pop("images.list.element.bytes")
    assert pictures.compression == "UNCOMPRESSED"
    assert not pictures.has_dictionary_page
    assert columns.pop("rejected_images.list.element.bytes").compression == "UNCOMPRESSED"
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert all(column.has_offset_index for column in columns.values())


def test_row_groups_are_bounded_in_rows_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "ROW_GROUP_BYTES", 1000)
    images = [Image(bytes(size), "x.png", 1, 1) for size in (400, 400, 400, 2000, 100, 100)]
    large = reread([pair(number, sample=sample(number, images=(image,))) for number, image in enumerate(images)])
    assert groups(large) == [2, 1, 1, 2]
    assert groups(reread([])) == []
    monkeypatch.setattr(schema, "ROW_GROUP_ROWS", 3)
    assert groups(reread([pair(number, prompt=(ask(images=0),)) for number in range(7)])) == [3, 3, 1]


def groups(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]


def test_datasets_opens_it_with_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    table = schema.to_table([pair(5), pair(6, prompt=TWO_IMAGES)], PROVENANCE)
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(schema.encode(table))
    loaded = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["images"].feature == datasets.Image()
    assert [image.size for image in loaded[1]["images"]] == [(4, 3), (4, 3)]
    assert loaded[0]["images"][0].getpixel((0, 0)) == (5, 0, 30)
    assert loaded[0]["prompt"] == row(pair(5))["prompt"]
    assert loaded[0]["spans"] == [{"start": 5, "end": 20}, {"start": 33, "end": 39}]
    assert loaded[0]["similarity"] == 0.5
