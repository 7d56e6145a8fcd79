"""Rows to samples: the column shapes, where image slots go, which turns count, and the rows that give nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from prefgen.errors import RowError
from prefgen.images import DEFAULT_LIMITS
from prefgen.records import Dropped, ImageRef, Sample, Slot, Turn
from prefgen.sources.columns import outcomes
from prefgen.sources.image_columns import image_refs
from prefgen.sources.options import SourceOptions, Turns
from prefgen.sources.row import Row

IMAGE = Slot.IMAGE
PNG = b"\x89PNG"


def taken(columns: dict[str, Any], turns: Turns = "all") -> list[Sample | Dropped]:
    return list(outcomes(Row("row 1", columns), "set", SourceOptions(turns=turns)))


def only(columns: dict[str, Any]) -> Sample:
    [outcome] = taken(columns)
    assert isinstance(outcome, Sample), outcome
    return outcome


def reasons(columns: dict[str, Any], turns: Turns = "all") -> list[str]:
    return [outcome.reason if isinstance(outcome, Dropped) else "ok" for outcome in taken(columns, turns)]


def talk(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[place % 2], "value": value} for place, value in enumerate(values)]


# --- shapes ---------------------------------------------------------------------------------------------------------

ASKED = (Turn("user", (IMAGE, "What?")),)
PART_IMAGE = {"type": "image", "text": None}
SHAPES: dict[str, dict[str, Any]] = {
    "LLaVA": {"image": "a.jpg", "conversations": talk("<image>\nWhat?", "A.")},
    "LLaVA, image as list": {"image": ["a.jpg"], "conversations": talk("<image>\nWhat?", "A.")},
    "list stored as an object of lists": {
        "image": "a.jpg",
        "conversations": {"from": ["human", "gpt"], "value": ["<image>\nWhat?", "A."]},
    },
    "messages with strings": {
        "images": ["a.jpg"],
        "messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A."}],
    },
    "messages with parts": {
        "images": ["a.jpg"],
        "messages": [
            {"role": "user", "content": [PART_IMAGE, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "A."}]},
        ],
    },
    "parts that carry their image": {
        "messages": [
            {"role": "user", "content": [{"type": "image", "image": "a.jpg"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": "A."},
        ],
    },
    "text parts with a tag": {
        "image": "a.jpg",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "<image>\nWhat?"}]},
            {"role": "assistant", "content": "A."},
        ],
    },
    "flat": {"image": "a.jpg", "question": "What?", "answer": "A."},
    "flat, path column": {"image_path": "a.jpg", "prompt": "What?", "response": "A."},
    "flat, tag in the question": {"img_path": "a.jpg", "instruction": "<image>\nWhat?", "output": "A."},
    "preference set": {"image": {"path": "a.jpg", "bytes": None}, "question": "What?", "chosen": "A."},
    "query and response": {"images": ["a.jpg"], "query": "<image>What?", "response": "A."},
    "problem and solution": {"images": ["a.jpg"], "problem": "What?", "solution": "A."},
    "instruction and input": {"image": "a.jpg", "instruction": "", "input": "<image>What?", "output": "A."},
    "TRL's prompt and completion": {
        "images": ["a.jpg"],
        "prompt": [{"role": "user", "content": "What?"}],
        "completion": [{"role": "assistant", "content": "A."}],
    },
    "FineVision": {"images": ["a.jpg"], "texts": [{"user": "What?", "assistant": "A."}]},
    "ms-swift's pairs": {"images": ["a.jpg"], "conversation": [{"human": "<image>What?", "assistant": "A."}]},
    "conversations as JSON text": {"image": "a.jpg", "conversations": json.dumps(talk("<image>\nWhat?", "A."))},
    "speakers in capitals": {
        "image": "a.jpg",
        "conversations": [{"from": "USER", "value": "What?"}, {"from": "ChatGPT", "value": "A."}],
    },
    "image_file": {"image_file": "a.jpg", "question": "What?", "answer": "A."},
    "COCO's file_name": {"image_id": 5, "file_name": "a.jpg", "question": "What?", "answer": "A."},
    "a file: address": {"image": "file:a.jpg", "question": "What?", "answer": "A."},
    "an end token": {"image": "a.jpg", "question": "What?", "answer": "A.</s><|im_end|>\n"},
    "InternLM's tag": {"image": "a.jpg", "question": "<ImageHere>What?", "answer": "A."},
    "Qwen's tag": {"image": "a.jpg", "question": "<|vision_start|><|image_pad|><|vision_end|>What?", "answer": "A."},
    "Gemini's parts": {
        "image": "a.jpg",
        "contents": [{"role": "user", "parts": [{"text": "What?"}]}, {"role": "model", "parts": [{"text": "A."}]}],
    },
    "parts without a type": {
        "messages": [
            {"role": "user", "content": [{"image": "a.jpg"}, {"text": "What?"}]},
            {"role": "assistant", "content": "A."},
        ],
    },
    "empty system turn": {"image": "a.jpg", "conversations": [{"from": "system", "value": ""}, *talk("What?", "A.")]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_sample(shape: str) -> None:
    sample = only({"id": "x", **SHAPES[shape]})
    assert (sample.prompt, sample.images, sample.answer) == (ASKED, (ImageRef(path="a.jpg"),), "A.")
    assert sample.id == only({"id": "x", **SHAPES["LLaVA"]}).id
    assert {name: value for name, value in sample.meta.items() if name != "image_id"} == {}


def test_llama_factorys_columns_are_one_prompt() -> None:
    row = {
        "images": ["a.jpg", "b.jpg"],
        "instruction": "Answer briefly.",
        "input": "<image>What?",
        "output": "B.",
        "system": "Be kind.",
        "history": [["<image>Hello?", "Hi."]],
    }
    [sample] = taken(row, "last")
    assert isinstance(sample, Sample)
    assert sample.prompt == (
        Turn("system", ("Be kind.",)),
        Turn("user", (IMAGE, "Hello?")),
        Turn("assistant", ("Hi.",)),
        Turn("user", ("Answer briefly.", IMAGE, "What?")),
    )
    assert sample.meta == {}


@pytest.mark.parametrize("column", ["system", "system_prompt"])
def test_a_system_column_is_the_system_turn_unless_the_conversation_has_one(column: str) -> None:
    row = {"image": "a.jpg", "conversations": talk("What?", "A."), column: "Be brief."}
    assert only(row).prompt[0] == Turn("system", ("Be brief.",))
    row["conversations"] = [{"from": "system", "value": "Own."}, *talk("What?", "A.")]
    assert [turn.text for turn in only(row).prompt if turn.role == "system"] == ["Own."]


def test_every_turn_of_finevision_keeps_its_own_ratings() -> None:
    row = {
        "images": [{"bytes": PNG, "path": None}],
        "texts": [{"user": "1?", "assistant": "one", "source": "x"}, {"user": "2?", "assistant": "two", "source": "y"}],
        "visual_dependency_ratings": [5, 2],
    }
    first, second = taken(row)
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert [sample.meta["visual_dependency_rating"] for sample in (first, second)] == [5, 2]
    assert [sample.meta["turn_source"] for sample in (first, second)] == ["x", "y"]
    assert second.answer == "two"


def test_a_greeting_before_the_first_question_is_left_out_and_kept_in_meta() -> None:
    said = [{"from": "gpt", "value": "Hello!"}, *talk("<image>What?", "A.")]
    sample = only({"image": "a.jpg", "conversations": said})
    assert (sample.prompt, sample.answer, sample.meta) == (ASKED, "A.", {"greeting": "Hello!"})


def test_numbered_tags_take_the_image_of_their_number() -> None:
    sample = only({"images": ["a.jpg", "b.jpg"], "conversations": talk("Is <image_2> like <|image_1|>?", "No.")})
    assert sample.images == (ImageRef(path="b.jpg"), ImageRef(path="a.jpg"))
    assert sample.prompt[0].parts == ("Is ", IMAGE, " like ", IMAGE, "?")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
        {"inline_data": {"mime_type": "image/png", "data": "iVBORw=="}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    ],
)
def test_every_providers_parts_carry_their_image(part: dict[str, Any]) -> None:
    content = [part, {"type": "text", "text": "What?"}]
    sample = only({"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "A."}]})
    assert (sample.prompt, sample.images) == (ASKED, (ImageRef(data=PNG),))


@pytest.mark.parametrize(
    ("value", "images", "parts"),
    [
        ("<image>\nWhat?", 1, (IMAGE, "What?")),
        ("What?\n<image>", 1, ("What?", IMAGE)),
        ("What?\r\n<image>", 1, ("What?", IMAGE)),
        ("<image>What?", 1, (IMAGE, "What?")),
        ("Is <image> like <image>?", 2, ("Is ", IMAGE, " like ", IMAGE, "?")),
        ("<image>\n<image>\nWhat?", 2, (IMAGE, IMAGE, "What?")),
        ("Look\n<image>\nWhat?", 1, ("Look", IMAGE, "What?")),
        ("<image>\n\nWhat?", 1, (IMAGE, "\nWhat?")),
        ("What?", 1, (IMAGE, "What?")),
        ("Compare.", 2, (IMAGE, IMAGE, "Compare.")),
        ("<IMAGE> <|im_end|> </s>", 1, (IMAGE, "<IMAGE> <|im_end|> </s>")),
    ],
)
def test_slots_stand_where_the_tags_stood(value: str, images: int, parts: tuple[object, ...]) -> None:
    names = [f"{number}.jpg" for number in range(images)]
    sample = only({"image": names, "conversations": talk(value, "A.")})
    assert sample.prompt[0].parts == parts
    assert sample.images == tuple(ImageRef(path=name) for name in names)


def test_a_tag_is_only_text_in_an_answer_and_beside_image_parts() -> None:
    assert only({"image": "a.jpg", "question": "What?", "answer": "Type <image>."}).answer == "Type <image>."
    content = [{"type": "image"}, {"type": "text", "text": "What is <image>?"}]
    sample = only({"image": "a.jpg", "messages": [{"role": "user", "content": content}]})
    assert sample.prompt[0].parts == (IMAGE, "What is <image>?")


# --- turns ----------------------------------------------------------------------------------------------------------

LONG = {
    "id": 7,
    "image": ["a.jpg", "b.jpg"],
    "conversations": talk("<image>\n1?", "one", "<image>\n2?", "two", "3?", "three"),
}


def test_every_answer_becomes_a_sample_with_the_conversation_before_it() -> None:
    found = [outcome for outcome in taken(LONG) if isinstance(outcome, Sample)]
    assert [(s.turn, s.answer, len(s.prompt), len(s.images)) for s in found] == [
        (0, "one", 1, 1),
        (1, "two", 3, 2),
        (2, "three", 5, 2),
    ]
    assert found[2].prompt[3] == Turn("assistant", ("two",))
    assert len({sample.id for sample in found}) == 3
    assert {sample.source_id for sample in found} == {"7"}


@pytest.mark.parametrize(
    ("turns", "expected"), [("first", ["one"]), ("last", ["three"]), ("all", ["one", "two", "three"])]
)
def test_turns_selects_answers_without_changing_their_ids(turns: Turns, expected: list[str]) -> None:
    chosen = [outcome for outcome in taken(LONG, turns) if isinstance(outcome, Sample)]
    assert [sample.answer for sample in chosen] == expected
    assert {sample.id for sample in chosen} <= {outcome.id for outcome in taken(LONG)}


def test_an_answer_before_the_first_image_is_text_only() -> None:
    row = {"image": "a.jpg", "conversations": talk("Hello", "Hi", "<image>\nWhat?", "A.")}
    assert reasons(row) == ["TEXT_ONLY", "ok"]


def test_a_system_turn_is_part_of_every_prompt() -> None:
    row = {"image": "a.jpg", "conversations": [{"from": "system", "value": "Be brief."}, *talk("1?", "one")]}
    assert only(row).prompt == (Turn("system", ("Be brief.",)), Turn("user", (IMAGE, "1?")))


def test_a_question_without_any_answer_is_a_sample_and_a_trailing_one_is_left_out() -> None:
    assert only({"image": "a.jpg", "question": "What?"}).answer is None
    assert only({"image": "a.jpg", "conversations": talk("What?")}).answer is None
    assert only({"image": "a.jpg", "conversations": talk("1?", "one", "2?")}).answer == "one"


def test_a_bad_turn_ends_the_conversation_and_keeps_what_was_before() -> None:
    row = {"image": "a.jpg", "conversations": talk("1?", "one", "2?", "  ", "3?", "three")}
    assert reasons(row) == ["ok", "TEXT_EMPTY"]
    assert reasons(row, "first") == ["ok"]
    assert reasons(row, "last") == ["TEXT_EMPTY"]
    dropped = taken(row)[1]
    assert isinstance(dropped, Dropped)
    assert (dropped.turn, dropped.detail) == (1, "row 1: a turn of the assistant has no text")


# --- columns that are kept, ids ---------------------------------------------------------------------------------------


def test_unknown_columns_are_kept_as_json_and_the_rest_is_not() -> None:
    row = {
        "id": "x",
        "image": "a.jpg",
        "question": "Q?",
        "answer": "A.",
        "score": 0.5,
        "tags": ["a", float("nan"), PNG],
    }
    assert only(row).meta == {"score": 0.5, "tags": ["a", None, None]}


@pytest.mark.parametrize("own", ["../../x", "5" * 5000, "two\nlines", "7"])
def test_any_id_is_data(own: str) -> None:
    row = {"image": "a.jpg", "question": "Q?", "answer": "A."}
    sample = only({"id": own, **row})
    assert sample.source_id == own
    assert len(sample.id) == 16
    assert only({"id": 7, **row}).id == only({"idx": "7", **row}).id


@pytest.mark.parametrize("own", [None, "", "  ", 1.5, True])
def test_a_row_without_an_id_is_named_by_its_place(own: object) -> None:
    assert only({"id": own, "image": "a.jpg", "question": "Q?", "answer": "A."}).source_id == "row 1"


def test_the_id_depends_on_everything_that_makes_the_sample() -> None:
    base = {"id": "x", "image": "a.jpg", "question": "Q?", "answer": "A."}
    changes: list[dict[str, Any]] = [
        {},
        {"id": "y"},
        {"image": "b.jpg"},
        {"image": PNG},
        {"question": "R?"},
        {"answer": "B."},
    ]
    assert len({only({**base, **change}).id for change in changes}) == len(changes)


# --- rows that give nothing -------------------------------------------------------------------------------------------

FLAT = {"image": "a.jpg", "question": "What?", "answer": "A."}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "text only": ({"conversations": talk("Write a poem.", "Roses.", "More.", "Violets.")}, "TEXT_ONLY"),
    "image null": ({**FLAT, "image": None}, "TEXT_ONLY"),
    "image empty": ({**FLAT, "image": ""}, "TEXT_ONLY"),
    "image of nulls": ({**FLAT, "image": {"bytes": None, "path": None}}, "TEXT_ONLY"),
    "no images": ({**FLAT, "image": []}, "TEXT_ONLY"),
    "tag without image": ({"conversations": talk("<image>\nWhat?", "A.")}, "IMG_COUNT"),
    "two tags, one image": ({"image": "a.jpg", "conversations": talk("<image><image>What?", "A.")}, "IMG_COUNT"),
    "one tag, two images": ({"image": ["a", "b"], "conversations": talk("<image>What?", "A.")}, "IMG_COUNT"),
    "empty entry among images": ({**FLAT, "image": ["a.jpg", None]}, "IMG_COUNT"),
    "question empty": ({**FLAT, "question": ""}, "TEXT_EMPTY"),
    "question of spaces": ({**FLAT, "question": " \n\u3000"}, "TEXT_EMPTY"),
    "question only a tag": ({**FLAT, "question": "<image>\n"}, "TEXT_EMPTY"),
    "answer empty": ({**FLAT, "answer": " "}, "TEXT_EMPTY"),
    "value null": ({"image": "a.jpg", "conversations": [{"from": "human", "value": None}]}, "TEXT_EMPTY"),
    "NUL": ({**FLAT, "answer": "A\0."}, "TEXT_CONTROL"),
    "escape": ({**FLAT, "question": "\x1b[31mWhat?"}, "TEXT_CONTROL"),
    "gpt first": ({"image": "a.jpg", "conversations": talk("1?", "one")[::-1]}, "ROW_SHAPE"),
    "two questions": ({"image": "a.jpg", "conversations": talk("1?") * 2}, "ROW_SHAPE"),
    "only a system turn": ({"image": "a.jpg", "conversations": [{"from": "system", "value": "x"}]}, "ROW_SHAPE"),
    "unknown speaker": ({"image": "a.jpg", "conversations": [{"from": "tool", "value": "x"}]}, "ROW_SHAPE"),
    "speaker not text": ({"image": "a.jpg", "conversations": [{"from": ["human"], "value": "x"}]}, "ROW_SHAPE"),
    "message not an object": ({"image": "a.jpg", "conversations": ["What?"]}, "ROW_SHAPE"),
    "ragged object of lists": ({"image": "a.jpg", "conversations": {"from": ["human"], "value": []}}, "ROW_SHAPE"),
    "conversations a number": ({"image": "a.jpg", "conversations": 1}, "ROW_SHAPE"),
    "content a number": ({"image": "a.jpg", "conversations": [{"from": "human", "value": 1}]}, "ROW_SHAPE"),
    "video part": ({"image": "a.jpg", "messages": [{"role": "user", "content": [{"type": "video"}]}]}, "VIDEO"),
    "video column": ({**FLAT, "video": "a.mp4"}, "VIDEO"),
    "audio beside the image": ({**FLAT, "audios": ["a.wav"]}, "AUDIO"),
    "a chat token inside an answer": ({**FLAT, "answer": "One.<|im_end|>\n<|im_start|>user\nTwo?"}, "TEXT_SPECIAL"),
    "an end token and nothing else": ({**FLAT, "answer": "</s>"}, "TEXT_EMPTY"),
    "answer of a table's nothing": ({**FLAT, "answer": "NaN"}, "TEXT_EMPTY"),
    "conversations no JSON": ({"image": "a.jpg", "conversations": "[{"}, "ROW_SHAPE"),
    "history no pairs": ({**FLAT, "history": ["Hello?"]}, "ROW_SHAPE"),
    "number without an image": (
        {"image": ["a", "b"], "conversations": talk("<image_1> <image_3>?", "A.")},
        "IMG_COUNT",
    ),
    "answer a list": ({**FLAT, "answer": ["A", "B"]}, "ROW_SHAPE"),
    "no question": ({"image": "a.jpg", "caption": "x"}, "ROW_SHAPE"),
    "no columns": ({}, "ROW_SHAPE"),
    "image a number": ({**FLAT, "image": 5}, "ROW_SHAPE"),
    "bytes not base64": ({**FLAT, "image": {"bytes": "***"}}, "IMG_BASE64"),
    "bytes not text": ({**FLAT, "image": {"bytes": 5}}, "IMG_BASE64"),
    "image_bytes not base64": ({"image_bytes": "a.jpg", "question": "Q?", "answer": "A."}, "IMG_BASE64"),
    "data URI not base64": ({**FLAT, "image": "data:image/png,abc"}, "IMG_BASE64"),
    "base64 outside ASCII": ({**FLAT, "image": "data:image/png;base64,ää"}, "IMG_BASE64"),
    "URL": ({**FLAT, "image": "https://example.org/a.jpg"}, "URL_DISABLED"),
    "pipe": ({**FLAT, "image": "pipe:cat /etc/passwd"}, "URL_SCHEME"),
    "s3": ({**FLAT, "image": "s3://bucket/a.jpg"}, "URL_SCHEME"),
    "fsspec chain": ({**FLAT, "image": "zip::http://x/a.zip"}, "URL_SCHEME"),
    "ftp in capitals": ({**FLAT, "image": "FTP://x/a.jpg"}, "URL_SCHEME"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_row_is_dropped_once_with_its_reason_and_place(case: str) -> None:
    columns, expected = BAD[case]
    [dropped] = taken(columns)
    assert isinstance(dropped, Dropped), dropped
    assert dropped.reason == expected
    assert dropped.detail.startswith("row 1: ")
    assert dropped.id is None


def test_a_row_that_could_not_be_read_is_dropped_with_its_place() -> None:
    [dropped] = outcomes(Row("line 17", RowError("JSON_SYNTAX", "broken")), "set", SourceOptions())
    assert dropped == Dropped("JSON_SYNTAX", "line 17: broken", "set", "line 17")


# --- image columns ----------------------------------------------------------------------------------------------------


def test_images_come_by_path_bytes_base64_and_url() -> None:
    text = base64.b64encode(PNG).decode()
    assert image_refs(["a.jpg", "C:/x/b.jpg", "odd:name.jpg"], False) == tuple(
        ImageRef(path=name) for name in ("a.jpg", "C:/x/b.jpg", "odd:name.jpg")
    )
    for value in (
        PNG,
        {"bytes": PNG},
        {"bytes": text},
        {"bytes": f"{text[:3]}\n{text[3:]}"},
        f"data:image/png;base64,{text}",
    ):
        assert image_refs(value, False) == (ImageRef(data=PNG),)
    for value in ("https://example.org/a", {"url": "https://example.org/a"}):
        assert image_refs(value, True) == (ImageRef(url="https://example.org/a"),)


def test_base64_beyond_the_size_limit_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(RowError, match="IMG_SIZE"):
        image_refs("data:image/png;base64," + "A" * (DEFAULT_LIMITS.max_bytes * 4 // 3 + 100), False)
