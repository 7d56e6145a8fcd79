"""Each trainer's rules, on rows that keep and that break them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.formats import checking, llamafactory, ms_swift, trl
from prefgen.formats.llamafactory import Registered
from tests.formats.test_trainer_formats import ALPACA, SHAREGPT, SWIFT, plain, said, trl_row
from tests.formats.written import picture, write_json, write_lines

IMAGE = {"type": "image", "text": None}


def asked(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def test_what_trl_reads() -> None:
    string_content = {"prompt": [plain("user", "What?")], "chosen": [plain("assistant", "A")], "rejected": said("B")}
    for row in (
        trl_row(),
        trl_row(prompt="<image>\nWhat?", chosen="A", rejected="B"),
        trl_row(prompt="<|image_pad|>What?", chosen="A", rejected="B"),
        {**string_content, "rejected": [plain("assistant", "B")], "images": [1, 2]},
        trl_row(images=[], prompt=asked({"type": "text", "text": "Hello?"})),
    ):
        assert list(trl.problems(row)) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"images": "a.jpg"}, "images should be a list"),
        ({"images": [1, 2]}, "1 image parts for 2 images"),
        ({"prompt": asked(IMAGE, IMAGE)}, "2 image parts for 1 images"),
        ({"prompt": asked({**IMAGE, "image": None})}, "counts no placeholder"),
        ({"prompt": asked(IMAGE, {"type": "text", "text": "<image> what?"})}, "a text holds <image>"),
        ({"prompt": None}, "no prompt"),
        ({"prompt": said("x")}, "ends with the assistant's turn"),
        ({"chosen": asked(IMAGE)}, "starts with the user's turn"),
        ({"chosen": said("A dog.")}, "identical"),
        ({"chosen": said(" ")}, "chosen has no text"),
        ({"chosen": "A cat."}, "all be strings or all lists"),
        ({"prompt": "What?", "chosen": "A", "rejected": "B"}, "own image token"),
        ({"chosen": [{"text": "A"}]}, "role and content"),
    ],
)
def test_what_trl_breaks_on(changes: dict[str, Any], problem: str) -> None:
    found = list(trl.problems(trl_row(**changes)))
    assert any(problem in detail for detail in found), found


def test_trl_without_any_images() -> None:
    row = trl_row()
    del row["images"]
    assert any("images: []" in detail for detail in trl.problems(row))


def llamafactory_problems(row: dict[str, Any]) -> list[str]:
    return list(llamafactory.problems({role: row.get(name) for role, name in Registered("x").columns.items()}))


def test_what_llama_factory_reads() -> None:
    system = [{"from": "system", "value": "Be brief."}, *SHAREGPT["conversations"]]
    for row in (SHAREGPT, ALPACA, {**SHAREGPT, "conversations": system}, {**ALPACA, "history": [["a", "b"]]}):
        assert llamafactory_problems(row) == []


@pytest.mark.parametrize(
    ("base", "changes", "problem"),
    [
        (SHAREGPT, {"chosen": said("A cat.")}, "silently read as no preference"),
        (SHAREGPT, {"chosen": "A cat."}, "should be one message"),
        (ALPACA, {"chosen": {"from": "gpt", "value": "A"}}, "should be a string"),
        (ALPACA, {"chosen": ["A"]}, "silently"),
        (SHAREGPT, {"images": "img/1.jpg"}, "images should be a list"),
        (SHAREGPT, {"images": ["1.jpg", "2.jpg"]}, "1 <image> tags in prompt and chosen for 2 images"),
        (SHAREGPT, {"conversations": [{"from": "human", "value": "What?"}]}, "0 <image> tags"),
        (ALPACA, {"instruction": "What?"}, "0 <image> tags"),
        (SHAREGPT, {"rejected": {"from": "gpt", "value": "<image>"}}, "2 <image> tags in prompt and rejected"),
        (SHAREGPT, {"chosen": {"from": "gpt", "value": "<video>"}}, "1 <video> tags"),
        (SHAREGPT, {"conversations": SHAREGPT["conversations"] * 2}, "must be odd"),
        (SHAREGPT, {"conversations": [{"from": "gpt", "value": "<image>"}]}, "should alternate"),
        (SHAREGPT, {"chosen": SHAREGPT["rejected"]}, "identical"),
        (SHAREGPT, {"chosen": {"from": "gpt", "value": ""}}, "no text"),
    ],
)
def test_what_llama_factory_breaks_on(base: dict[str, Any], changes: dict[str, Any], problem: str) -> None:
    found = llamafactory_problems({**base, **changes})
    assert any(problem in detail for detail in found), found


def test_what_ms_swift_reads() -> None:
    no_tag = [plain("user", "What is this?"), plain("assistant", "A cat.")]
    again = {"rejected_messages": [*SWIFT["messages"][:1], plain("assistant", "A dog.")], "rejected_images": ["a.png"]}
    for row in (SWIFT, {**SWIFT, "messages": no_tag}, {**SWIFT, "rejected_response": None, **again}):
        assert list(ms_swift.problems(row)) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rejected_response": None, "rejected": "A dog."}, "a column rejected is ignored"),
        ({"rejected_response": "A cat."}, "which raises"),
        ({"rejected_response": " "}, "no text"),
        ({"rejected_response": "<image>"}, "taken for a picture"),
        ({"rejected_messages": said("A dog.")}, "without rejected_images"),
        ({"images": []}, "1 <image> tags for 0 images"),
        ({"messages": SWIFT["messages"][:1]}, "at least two"),
        ({"messages": SWIFT["messages"][:1] * 2}, "should end with the chosen answer"),
        ({"messages": "Hello"}, "should be a list"),
    ],
)
def test_what_ms_swift_breaks_on(changes: dict[str, Any], problem: str) -> None:
    found = list(ms_swift.problems({**SWIFT, **changes}))
    assert any(problem in detail for detail in found), found


def test_rows_that_break_are_named(tmp_path: Path) -> None:
    rows = [SWIFT, {**SWIFT, "id": "bad", "rejected_response": "A cat."}]
    for name in SWIFT["images"]:
        (tmp_path / name).write_bytes(picture().data)
    path = Path(write_lines(tmp_path / "a.jsonl", rows))
    path.write_text(path.read_text() + "{\n")
    found = checking.check(path, "ms-swift")
    assert found.rows == 3
    assert [problem.row for problem in found.problems] == ["a.jsonl line 2 (id bad)", "a.jsonl line 3"]
    assert "JSON_SYNTAX" in found.problems[1].detail


def test_a_listing_tells_the_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture().data)
    write_json(tmp_path / "x.json", [{"q": "<image>What?", "win": "A", "lose": "A", "pics": ["a.jpg"]}])
    columns = {"prompt": "q", "chosen": "win", "rejected": "lose", "images": "pics"}
    write_json(tmp_path / "dataset_info.json", {"set": {"file_name": "x.json", "ranking": True, "columns": columns}})
    (problem,) = checking.check(tmp_path, "llamafactory").problems
    assert problem.detail == "chosen and rejected are identical"


def test_what_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give one of trl"):
        checking.check(tmp_path, "axolotl")
    with pytest.raises(UsageError, match="give the file"):
        checking.check(tmp_path, "trl")


@pytest.mark.parametrize("trainer", ["llamafactory", "ms-swift", "trl"])
def test_pictures_that_do_not_exist_are_named(tmp_path: Path, trainer: str) -> None:
    (tmp_path / "here.png").write_bytes(picture().data)
    rows: list[dict[str, list[object]]] = [
        {"images": ["here.png", "gone/0.jpg"]},
        {"images": [{"bytes": None, "path": "gone/1.jpg"}]},
    ]
    rows += [{"images": [{"bytes": "x", "path": "a.jpg"}]}, {"images": ["https://there/2.jpg"]}]
    file = write_lines(tmp_path / "rows.jsonl", rows)
    lost = [problem.detail for problem in checking.check(Path(file), trainer).problems if "exist" in problem.detail]
    assert lost == ["1 of 2 images do not exist, e.g. gone/0.jpg", "1 of 1 images do not exist, e.g. gone/1.jpg"]
