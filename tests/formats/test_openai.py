"""OpenAI's preference fine-tuning format, in and out."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from openai.types.chat import ChatCompletionAssistantMessageParam, ChatCompletionMessageParam
from pydantic import TypeAdapter

from prefgen.errors import UsageError
from prefgen.formats.exporting import export
from prefgen.formats.openai_ import OpenAi
from prefgen.formats.roundtrip_column import beside
from prefgen.records import Image, Pair, Slot, Turn
from prefgen.sources import SourceOptions
from tests.formats.written import image_of, pairs, picture, reasons, told, write_lines
from tests.handmade import ask, sample
from tests.handmade import pair as handmade_pair
from tests.select.runs import pair, stored

DATA = f"data:image/png;base64,{base64.b64encode(picture(7).data).decode()}"


def part(address: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address, "detail": "auto"}}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def row(content: object, **changes: object) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": content}], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": "A cat."}],
        "non_preferred_output": [{"role": "assistant", "content": "A dog."}],
        **changes,
    }


def test_pictures_stand_in_the_content_in_their_order(tmp_path: Path) -> None:
    content = [text("This:"), part(DATA), text("or that:"), part("file:b.png"), text("Which?")]
    (found,) = pairs(OpenAi(), write_lines(tmp_path / "a.jsonl", [row(content)]))
    prompt = (Turn("user", ("This:", Slot.IMAGE, "or that:", Slot.IMAGE, "Which?")),)
    assert told(found) == (prompt, "A cat.", "A dog.")
    first, second = found.sample.images
    assert not isinstance(first, Image)
    assert not isinstance(second, Image)
    assert (first.data, second.path) == (picture(7).data, "b.png")
    assert found.sample.meta == {}


def test_system_turns_history_and_tools(tmp_path: Path) -> None:
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [part("a.png"), text("What?")]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Which?"},
    ]
    tool = {"type": "function", "function": {"name": "look"}}
    (found,) = pairs(
        OpenAi(), write_lines(tmp_path / "a.jsonl", [row("", input={"messages": said, "tools": [tool]}, level=3)])
    )
    assert [turn.role for turn in found.sample.prompt] == ["system", "user", "assistant", "user"]
    assert found.sample.meta == {"level": 3, "input": {"tools": [tool]}}
    (bare,) = pairs(OpenAi(), write_lines(tmp_path / "b.jsonl", [row("", input=said)]))
    assert told(bare) == told(found)


def test_addresses_of_others_need_permission(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [row([part("https://example.org/a.png"), text("What?")])])
    assert reasons(OpenAi(), source) == ["URL_DISABLED"]
    allowed = OpenAi(source=SourceOptions(allow_urls=True))
    assert image_of(pairs(allowed, source)[0]).url == "https://example.org/a.png"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input": {"messages": [{"role": "user", "content": "What?"}]}}, "TEXT_ONLY"),
        ({"preferred_output": [{"role": "assistant", "content": "x"}] * 2}, "ROW_SHAPE"),
        ({"preferred_output": [{"role": "user", "content": "x"}]}, "ROW_SHAPE"),
        ({"non_preferred_output": [{"role": "assistant", "content": "A cat."}]}, "REJECTED_EQUALS_CHOSEN"),
        ({"input": {"messages": []}}, "ROW_SHAPE"),
        ({"input": {}}, "ROW_SHAPE"),
        ({"input": 3}, "ROW_SHAPE"),
    ],
)
def test_rows_that_are_no_pair(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    content = [part("a.png"), text("What?")]
    source = write_lines(tmp_path / "a.jsonl", [row(content), row(content, **changes)])
    assert reasons(OpenAi(), source) == [reason]


def lines(out: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def test_rows_are_what_openai_s_own_types_take(tmp_path: Path) -> None:
    talk = (Turn("system", ("Be brief.",)), ask("This, or that?", images=2), Turn("assistant", ("This.",)))
    several: Pair = handmade_pair(5, sample=sample(5, prompt=(*talk, Turn("user", ("Why?",)))))
    exported = export(stored(tmp_path / "run", [pair(3), several]), "openai", tmp_path / "out")
    assert exported.rows == 2
    for line in lines(tmp_path / "out"):
        assert line.keys() == {"input", "preferred_output", "non_preferred_output"}
        TypeAdapter(list[ChatCompletionMessageParam]).validate_python(line["input"]["messages"])
        for side in ("preferred_output", "non_preferred_output"):
            (said,) = line[side]
            TypeAdapter(ChatCompletionAssistantMessageParam).validate_python(said)
    one, two = lines(tmp_path / "out")
    assert one["input"]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert [message["role"] for message in two["input"]["messages"]] == ["system", "user", "assistant", "user"]
    assert two["input"]["messages"][-1]["content"] == "Why?"


def grey(size: int = 16) -> Image:
    file = io.BytesIO()
    PIL.Image.new("L", (size, size), 90).save(file, "PNG")
    return Image(file.getvalue(), "grey.png", size, size)


def bitmap() -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), (1, 2, 3)).save(file, "BMP")
    return Image(file.getvalue(), "a.bmp", 16, 16)


def test_pictures_that_openai_refuses(tmp_path: Path) -> None:
    large = Image(picture(2).data + b"\0" * 10_000_000, "large.png", 16, 12)
    made = [
        pair(1),
        pair(2, images=(grey(),)),
        pair(3, images=(bitmap(),)),
        pair(4, images=(large,)),
        pair(5, images=tuple(picture(number) for number in range(11))),
    ]
    exported = export(stored(tmp_path / "run", made), "openai", tmp_path / "out")
    assert (exported.rows, exported.left_out) == (1, {"IMG_FORMAT": 2, "IMG_SIZE": 1, "IMG_COUNT": 1})


def test_edited_rows_are_read_without_their_record(tmp_path: Path) -> None:
    export(stored(tmp_path / "run", [pair(3), pair(4)]), "openai", tmp_path / "out")
    path = tmp_path / "out" / "train.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{second}\n{first.replace('A dog 3.', 'A horse.')}\n")
    moved, edited = pairs(OpenAi(), str(tmp_path / "out"))
    assert (moved.method, moved.sample.source, moved.sample.source_id) == ("bdhs", "rows.json", "4")
    assert (edited.method, edited.rejected, edited.sample.source) == ("openai", "A horse.", "train.jsonl")
    beside(path).write_text("{}\n")
    with pytest.raises(UsageError, match="not what prefgen export writes"):
        pairs(OpenAi(), str(path))
