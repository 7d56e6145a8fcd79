"""What TRL, LLaMA-Factory and ms-swift read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.formats.llamafactory import LlamaFactory
from prefgen.formats.ms_swift import MsSwift
from prefgen.formats.trl import Trl
from prefgen.records import ImageRef, Pair, Slot, Turn
from tests.formats.written import pairs, picture, reasons, told, write_json, write_lines, write_parquet

EXPECTED = ((Turn("user", (Slot.IMAGE, "What is this?")),), "A cat.", "A dog.")
PART = {"type": "text", "text": "What is this?"}
ASKED = [{"role": "user", "content": [{"type": "image", "text": None}, PART]}]


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]


def trl_row(**changes: object) -> dict[str, Any]:
    images = [{"bytes": picture().data, "path": "a.png"}]
    return {"images": images, "prompt": ASKED, "chosen": said("A cat."), "rejected": said("A dog."), **changes}


def plain(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prompt": [plain("user", "What is this?")], "chosen": [plain("assistant", "A cat.")]},
        {"prompt": "What is this?", "chosen": "A cat.", "rejected": "A dog."},
        {"prompt": "<image>\nWhat is this?", "chosen": "A cat.", "rejected": "A dog."},
        {"prompt": None, "chosen": [*ASKED, *said("A cat.")], "rejected": [*ASKED, *said("A dog.")]},
        {"images": None, "image": {"bytes": picture().data, "path": "a.png"}},
    ],
)
def test_forms_of_trl(tmp_path: Path, changes: dict[str, Any]) -> None:
    (pair,) = pairs(Trl(), write_parquet(tmp_path / "a.parquet", [trl_row(**changes)]))
    assert told(pair) == EXPECTED


def test_a_tag_in_a_text_beside_image_parts_is_text(tmp_path: Path) -> None:
    content = [{"type": "image", "text": None}, {"type": "text", "text": "What does <image> mean?"}]
    row = trl_row(prompt=[{"role": "user", "content": content}])
    (pair,) = pairs(Trl(), write_parquet(tmp_path / "a.parquet", [row]))
    assert pair.sample.prompt == (Turn("user", (Slot.IMAGE, "What does <image> mean?")),)


def test_placeholders_must_be_as_many_as_pictures(tmp_path: Path) -> None:
    twice = [{"role": "user", "content": [{"type": "image", "text": None}] * 2 + [PART]}]
    path = write_parquet(tmp_path / "a.parquet", [trl_row(prompt=twice), trl_row(images=[])])
    assert reasons(Trl(), path) == ["IMG_COUNT", "TEXT_ONLY"]


@pytest.mark.parametrize(
    "changes",
    [
        {"chosen": said("A cat.") * 2},
        {"chosen": ASKED},
        {"prompt": said("A cat.")},
        {"prompt": None},
        {"prompt": None, "chosen": [*ASKED, *said("a")], "rejected": [{"role": "user", "content": [PART]}, *said("b")]},
    ],
)
def test_other_conversations_are_dropped(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_parquet(tmp_path / "a.parquet", [trl_row()])
    other = write_parquet(tmp_path / "b.parquet", [trl_row(**changes)])
    assert not reasons(Trl(), path)
    with pytest.raises(UsageError, match="SCHEMA"):
        reasons(Trl(), other)


SHAREGPT: dict[str, Any] = {
    "conversations": [{"from": "human", "value": "<image>What is this?"}],
    "chosen": {"from": "gpt", "value": "A cat."},
    "rejected": {"from": "gpt", "value": "A dog."},
    "images": ["img/1.jpg"],
}
ALPACA: dict[str, Any] = {
    "instruction": "<image>What is this?",
    "input": "",
    "chosen": "A cat.",
    "rejected": "A dog.",
    "images": ["1.jpg"],
}


@pytest.mark.parametrize("row", [SHAREGPT, ALPACA, {**SHAREGPT, "images": "img/1.jpg"}, {**ALPACA, "system": ""}])
def test_forms_of_llama_factory(tmp_path: Path, row: dict[str, Any]) -> None:
    (pair,) = pairs(LlamaFactory(), write_json(tmp_path / "a.json", [row]))
    assert told(pair) == EXPECTED


def test_alpaca_history_and_system(tmp_path: Path) -> None:
    row = {
        **ALPACA,
        "system": "Be brief.",
        "instruction": "And this?",
        "input": "Say.",
        "history": [["<image>Hm?", "Ah."]],
    }
    (pair,) = pairs(LlamaFactory(), write_json(tmp_path / "a.json", [row]))
    assert pair.sample.prompt == (
        Turn("system", ("Be brief.",)),
        Turn("user", (Slot.IMAGE, "Hm?")),
        Turn("assistant", ("Ah.",)),
        Turn("user", ("And this?\nSay.",)),
    )


def test_a_folder_is_read_by_its_listing(tmp_path: Path) -> None:
    write_json(
        tmp_path / "x.json", [{"talk": SHAREGPT["conversations"], "c": "A cat.", "r": "A dog.", "pics": ["a.jpg"]}]
    )
    columns = {"messages": "talk", "chosen": "c", "rejected": "r", "images": "pics"}
    entry = {"file_name": "x.json", "ranking": True, "formatting": "sharegpt", "columns": columns}
    write_json(tmp_path / "dataset_info.json", {"sft": {"file_name": "y.json"}, "pref": entry})
    (pair,) = pairs(LlamaFactory(), str(tmp_path))
    assert told(pair) == EXPECTED
    with pytest.raises(UsageError, match="lists pref"):
        list(LlamaFactory(dataset="other")(str(tmp_path)))


def test_tags_name_the_keys_and_speakers_of_messages(tmp_path: Path) -> None:
    row = {"talk": [{"who": "kunde", "says": "<image>What is this?"}], "pics": ["a.jpg"]}
    row |= {"c": {"who": "helfer", "says": "A cat."}, "r": {"who": "helfer", "says": "A dog."}}
    write_json(tmp_path / "x.json", [row])
    entry = {
        "file_name": "x.json",
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "talk", "chosen": "c", "rejected": "r", "images": "pics"},
        "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "kunde", "assistant_tag": "helfer"},
    }
    write_json(tmp_path / "dataset_info.json", {"pref": entry})
    (pair,) = pairs(LlamaFactory(), str(tmp_path))
    assert told(pair) == EXPECTED


def test_a_listing_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_json(tmp_path / "secret.json", [SHAREGPT])
    for name in ("../secret.json", str(tmp_path / "secret.json")):
        write_json(tmp_path / "set" / "dataset_info.json", {"a": {"file_name": name, "ranking": True}})
        with pytest.raises(UsageError, match="outside its folder"):
            list(LlamaFactory()(str(tmp_path / "set")))


SWIFT: dict[str, Any] = {
    "messages": [plain("user", "<image>What is this?"), plain("assistant", "A cat.")],
    "images": ["kitten.png"],
    "rejected_response": "A dog.",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"images": "kitten.png"},
        {"messages": [plain("user", "What is this?"), plain("assistant", "A cat.")]},
        {"conversations": SWIFT["messages"], "messages": None},
        {"rejected_response": [plain("assistant", "A dog.")]},
        {
            "rejected_response": None,
            "rejected_messages": [plain("user", "<image>What is this?"), plain("assistant", "A dog.")],
            "rejected_images": ["kitten.png"],
        },
    ],
)
def test_forms_of_ms_swift(tmp_path: Path, changes: dict[str, Any]) -> None:
    (pair,) = pairs(MsSwift(), write_lines(tmp_path / "a.jsonl", [{**SWIFT, **changes}]))
    assert told(pair) == EXPECTED


@pytest.mark.parametrize(
    "changes",
    [
        {"rejected_response": None},
        {"rejected_response": "A cat."},
        {"rejected_response": None, "rejected_messages": SWIFT["messages"]},
    ],
)
def test_other_pictures_to_the_same_answer_are_a_preference_between_pictures(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    rows = [{**SWIFT, **changes, "rejected_images": [name]} for name in ("puppy.png", "pony.png", "kitten.png")]
    rows.append({**SWIFT, **changes, "rejected_images": ["a.png", "b.png"]})
    path = write_lines(tmp_path / "a.jsonl", rows)
    found = [outcome for outcome in MsSwift()(path) if isinstance(outcome, Pair)]
    assert [pair.rejected_images for pair in found] == [(ImageRef("puppy.png"),), (ImageRef("pony.png"),)]
    assert all((pair.chosen, pair.rejected) == ("A cat.", "A cat.") for pair in found)
    assert len({pair.sample.id for pair in found}) == 2
    assert reasons(MsSwift(), path) == ["REJECTED_EQUALS_CHOSEN", "ROW_SHAPE"]


@pytest.mark.parametrize(
    "changes",
    [
        {"rejected_response": None, "rejected": "A dog."},  # a column that ms-swift ignores
        {"rejected_images": ["puppy.png"]},
        {"messages": SWIFT["messages"][:1]},
        {"rejected_messages": [plain("user", "<image>Other?"), plain("assistant", "A dog.")]},
    ],
)
def test_what_is_no_pair_for_ms_swift(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert reasons(MsSwift(), write_lines(tmp_path / "a.jsonl", [SWIFT, {**SWIFT, **changes}])) == ["ROW_SHAPE"]
