"""Rows to samples: the column shapes, where image slots go, which turns count, and the rows that give nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
ANSWERED = {"role": "assistant", "content": "A."}
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
    "Qwen-VL's path in the prompt": {"conversations": talk("<img>a.jpg</img>\nWhat?", "A.")},
    "the path in the prompt and in a column": {"image": "a.jpg", "conversations": talk("<img>a.jpg</img>What?", "A.")},
    "an image of number one": {"image_1": "a.jpg", "image_2": None, "question": "What?", "answer": "A."},
    "MMMU's tag": {"image_1": "a.jpg", "question": "<image 1>What?", "answer": "A."},
    "images as JSON text": {"image": '["a.jpg"]', "question": "What?", "answer": "A."},
    "a conversation as Python writes it": {"image": "a.jpg", "conversations": str(talk("<image>\nWhat?", "A."))},
    "a path in a text part": {"messages": [{"role": "user", "content": [{"text": "<img>a.jpg</img>What?"}]}, ANSWERED]},
    "columns of NaN": {
        "image": "a.jpg",
        "question": "What?",
        "answer": "A.",
        "video": float("nan"),
        "input": float("nan"),
    },
    "speaker and value": {
        "image": "a.jpg",
        "conversations": [{"speaker": "user", "value": "What?"}, {"speaker": "bot", "value": "A."}],
    },
    "empty system turn": {"image": "a.jpg", "conversations": [{"from": "system", "value": ""}, *talk("What?", "A.")]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_sample(shape: str) -> None:
    sample = only({"id": "x", **SHAPES[shape]})
    assert (sample.prompt, sample.images, sample.answer) == (ASKED, (ImageRef(path="a.jpg"),), "A.")
    assert sample.id == only({"id": "x", **SHAPES["LLaVA"]}).id
    assert {name: value for name, value in sample.meta.items() if name != "image_id" and value} == {}


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


def test_several_turns_of_one_speaker_are_one_and_counted() -> None:
    said = [{"from": speaker, "value": text} for speaker, text in (("human", "Look."), ("human", "<image>What?"))]
    said += [{"from": "gpt", "value": text} for text in ("A jug.", "It is red.")]
    sample = only({"image": "a.jpg", "conversations": said})
    assert sample.prompt == (Turn("user", ("Look.", IMAGE, "What?")),)
    assert (sample.answer, sample.meta) == ("A jug.\nIt is red.", {"joined_turns": 2})


def test_a_picture_and_its_question_may_be_two_turns() -> None:
    said = [{"from": "human", "value": "<image>"}, *talk("What?", "A.")]
    assert only({"image": "a.jpg", "conversations": said}).prompt == ASKED


def test_one_image_that_every_question_tags_stands_in_the_first() -> None:
    row = {"image": "a.jpg", "conversations": talk("<image>\n1?", "one", "2?\n<image>", "two", "<image>3?", "three")}
    found = taken(row)
    assert [sample.prompt[-1].parts for sample in found if isinstance(sample, Sample)] == [
        (IMAGE, "1?"),
        ("2?",),
        ("3?",),
    ]
    assert {sample.meta["repeated_image_tags"] for sample in found if isinstance(sample, Sample)} == {2}


def test_placeholders_are_filled_in_the_order_of_the_conversation() -> None:
    objects = {"ref": ["a cup"], "bbox": [[1, 2, 30, 40], [5, 6, 50.5, 60]]}
    row: dict[str, Any] = {"images": ["a.jpg"], "objects": objects}
    row["messages"] = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is <ref-object> at <bbox>?"}]},
        {"role": "assistant", "content": "No, at <bbox>."},
    ]
    sample = only(row)
    assert sample.prompt[0].text == "Is a cup at [1, 2, 30, 40]?"
    assert (sample.answer, sample.meta) == ("No, at [5, 6, 50.5, 60].", {"objects": row["objects"]})
    row["objects"] = json.dumps(objects)
    assert only(row).answer == sample.answer


def test_objects_without_placeholders_are_kept() -> None:
    assert only({"image": "a.jpg", "question": "What?", "answer": "A.", "objects": {"bbox": []}}).meta == {
        "objects": {"bbox": []}
    }


def test_numbered_images_stand_behind_the_first() -> None:
    row = {"image": "a.jpg", "image_3": "c.jpg", "image_2": "b.jpg", "question": "Compare.", "answer": "A."}
    assert [image.path for image in only(row).images if isinstance(image, ImageRef)] == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_question_in_several_languages_is_asked_in_english_and_the_first_of_several_answers_is_taken() -> None:
    row = {"image": "a.jpg", "query": {"de": "Was?", "en": "What?"}, "answers": ["A.", "An a."]}
    sample = only(row)
    assert (sample.prompt[0].text, sample.answer) == ("What?", "A.")
    assert sample.meta == {"query": {"de": "Was?", "en": "What?"}, "answers": ["A.", "An a."]}


def test_the_truth_of_a_reward_is_the_answer_and_stays_in_meta() -> None:
    reward = {"style": "rule", "ground_truth": "A."}
    sample = only({"image": "a.jpg", "prompt": "What?", "reward_model": reward})
    assert (sample.answer, sample.meta) == ("A.", {"reward_model": reward})


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
    content = [{"type": "text", "text": "Is <image_2> like <image_1>?"}]
    assert (
        only({"images": ["a.jpg", "b.jpg"], "messages": [{"role": "user", "content": content}]}).images == sample.images
    )


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
    "two questions, one of them empty": ({"image": "a.jpg", "conversations": [*talk("1?"), *talk(" ")]}, "ROW_SHAPE"),
    "a tag of a video": ({"image": "a.jpg", "conversations": talk("<image><video>What?", "A.")}, "VIDEO"),
    "a tag of a sound": ({"image": "a.jpg", "conversations": talk("<image>What says <audio>?", "A.")}, "AUDIO"),
    "question NaN": ({"image": "a.jpg", "question": float("nan"), "answer": "A."}, "JSON_NONFINITE"),
    "answer infinite": ({"image": "a.jpg", "question": "What?", "answer": float("inf")}, "JSON_NONFINITE"),
    "content NaN": ({"image": "a.jpg", "conversations": [{"from": "human", "value": float("nan")}]}, "JSON_NONFINITE"),
    "choices unread": ({**FLAT, "choices": ["red", "blue"]}, "ROW_UNREAD"),
    "context unread": ({**FLAT, "context": "It is noon."}, "ROW_UNREAD"),
    "two questions in two columns": ({**FLAT, "instruction": "Answer briefly."}, "ROW_UNREAD"),
    "numbers beside an image": ({**FLAT, "image_1": "b.jpg"}, "ROW_UNREAD"),
    "a number left out": ({"image_1": "a", "image_3": "b", "question": "What?", "answer": "A."}, "ROW_UNREAD"),
    "a box without objects": ({**FLAT, "answer": "At <bbox>."}, "TEXT_PLACEHOLDER"),
    "more boxes than objects": (
        {**FLAT, "answer": "At <bbox> and <bbox>.", "objects": {"bbox": [[1, 2, 3, 4]]}},
        "TEXT_PLACEHOLDER",
    ),
    "other paths in the prompt": ({**FLAT, "question": "<img>b.jpg</img>What?"}, "IMG_COUNT"),
    "two tags in a turn, one image": (
        {"image": "a.jpg", "conversations": talk("<image><image>1?", "one", "<image>2?", "two")},
        "IMG_COUNT",
    ),
    "pairs of numbers": ({"image": "a.jpg", "texts": [{"user": 1, "assistant": 2}]}, "ROW_SHAPE"),
    "history of nothing": ({**FLAT, "history": [[None, None]]}, "ROW_SHAPE"),
    "prompt a truth value": ({"image": "a.jpg", "prompt": True, "input": ""}, "ROW_SHAPE"),
    "pairs of nothing": ({"image": "a.jpg", "texts": [{"user": None, "assistant": None}]}, "ROW_SHAPE"),
    "a tool": ({"image": "a.jpg", "conversations": [*talk("What?"), {"from": "tool", "value": "x"}]}, "ROW_SHAPE"),
    "messages without content": ({"image": "a.jpg", "conversations": [{"from": "human", "said": "x"}]}, "ROW_SHAPE"),
    "a question in two languages": ({**FLAT, "question": {"de": "Was?", "fr": "Quoi?"}}, "ROW_SHAPE"),
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


NAMES = (
    *("image", "images", "image_2", "img_path", "conversations", "messages", "texts", "question", "prompt", "input"),
    *("query", "answer", "answers", "caption", "system", "history", "choices", "objects", "id", "reward_model"),
)
TEXTS = st.sampled_from(
    ["", " ", "What?", "<image>", "<image_2>", "<img>a.jpg</img>", "<bbox>", "a.jpg", "[1]", "[{", "nan"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=4) | TEXTS | st.text(max_size=5)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("from", "role", "value", "content", "user", "assistant", "type", "text"), TEXTS | LEAVES
        ),
    )
    | st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "system"]), "value": TEXTS}),
    max_size=4,
)
VALUES = (
    LEAVES
    | MESSAGES
    | st.recursive(
        LEAVES, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=4), some, max_size=3)
    )
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6), st.sampled_from(["", "What is it?"]))
@settings(max_examples=400, deadline=None)
def test_any_row_gives_samples_that_are_whole_or_a_reason(columns: dict[str, Any], question: str) -> None:
    found = list(outcomes(Row("row 1", columns), "set", SourceOptions(question=question)))
    assert found
    for outcome in found:
        if isinstance(outcome, Sample):
            assert sum(turn.image_count for turn in outcome.prompt) == len(outcome.images) > 0
            assert outcome.prompt[-1].role == "user"
            assert all(turn.text.strip() for turn in outcome.prompt)
            json.dumps(outcome.meta, allow_nan=False)
        else:
            assert outcome.reason
            assert outcome.detail.startswith("row 1: ")


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
