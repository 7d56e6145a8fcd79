"""Placeholders of grounding rows: filled from ``objects``, or a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefgen.formats.checking import check
from prefgen.formats.ms_swift import MsSwift
from prefgen.records import Dropped, Sample, Slot, Turn
from prefgen.sources import SourceOptions, read
from tests.formats.written import pairs, picture, reasons, told, write_lines

BOXES = [[1, 2, 30, 40], [5.5, 6, 50, 60]]


def row(asked: str, answer: str, objects: object, **changes: object) -> dict[str, Any]:
    said = [{"role": "user", "content": f"<image>{asked}"}, {"role": "assistant", "content": answer}]
    return {"messages": said, "images": ["a.png"], "objects": objects, **changes}


def test_sft_rows_are_filled_in_order(tmp_path: Path) -> None:
    objects = {"ref": ["cup", "jug"], "bbox": BOXES}
    source = write_lines(tmp_path / "a.jsonl", [row("The <ref-object>?", "<bbox>, not <ref-object> <bbox>.", objects)])
    (sample,) = read(source, SourceOptions())
    assert isinstance(sample, Sample)
    assert sample.prompt == (Turn("user", (Slot.IMAGE, "The cup?")),)
    assert sample.answer == "[1, 2, 30, 40], not jug [5.5, 6, 50, 60]."
    assert sample.meta == {"objects": objects}


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        (None, "TEXT_PLACEHOLDER"),
        ({"ref": ["cup"], "bbox": BOXES[:1]}, "TEXT_PLACEHOLDER"),
        ({"bbox": BOXES}, "TEXT_PLACEHOLDER"),
        ("not JSON", "TEXT_PLACEHOLDER"),
    ],
)
def test_what_cannot_be_filled_is_dropped(tmp_path: Path, objects: object, reason: str) -> None:
    whole = row("What?", "A cup.", None)
    source = write_lines(tmp_path / "a.jsonl", [whole, row("The <ref-object>?", "<bbox> <bbox>", objects)])
    assert [outcome.reason for outcome in read(source, SourceOptions()) if isinstance(outcome, Dropped)] == [reason]


def test_answers_that_differ_in_their_boxes_are_not_equal(tmp_path: Path) -> None:
    two = row("Where?", "<bbox>", {"ref": [], "bbox": BOXES}, rejected_response="<bbox>")
    (pair,) = pairs(MsSwift(), write_lines(tmp_path / "a.jsonl", [two]))
    assert told(pair)[1:] == ("[1, 2, 30, 40]", "[5.5, 6, 50, 60]")
    one = row("Where?", "<bbox>", {"ref": [], "bbox": BOXES[:1]}, rejected_response="<bbox>")
    assert reasons(MsSwift(), write_lines(tmp_path / "b.jsonl", [one])) == ["REJECTED_EQUALS_CHOSEN"]


def test_a_rejected_answer_may_share_the_boxes_of_the_chosen_one(tmp_path: Path) -> None:
    shared = row("Where?", "At <bbox>.", {"ref": [], "bbox": BOXES[:1]}, rejected_response="Not at <bbox>.")
    (pair,) = pairs(MsSwift(), write_lines(tmp_path / "a.jsonl", [shared]))
    assert told(pair)[1:] == ("At [1, 2, 30, 40].", "Not at [1, 2, 30, 40].")


def test_check_sees_placeholders_without_objects(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture().data)
    whole = row("The <ref-object>?", "At <bbox>.", {"ref": ["cup"], "bbox": BOXES[:1]}, rejected_response="No.")
    lacking = {**whole, "objects": None}
    found = check(Path(write_lines(tmp_path / "a.jsonl", [whole, lacking])), "ms-swift").problems
    assert [problem.detail for problem in found if "objects" in problem.detail] == [
        "1 <ref-object> for 0 ref in objects",
        "1 <bbox> for 0 bbox in objects",
    ]
