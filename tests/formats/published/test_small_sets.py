"""LLaVA-RLHF, HA-DPO, SeVa, MMPR and flat rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.formats.jsonl import Jsonl
from prefgen.formats.mmpr import Mmpr
from prefgen.formats.published.ha_dpo import QUESTIONS, HaDpo
from prefgen.formats.published.llava_rlhf import LlavaRlhf
from prefgen.formats.published.seva import Seva
from prefgen.records import Slot, Turn
from tests.formats.written import image_of, llava_rlhf_row, pairs, reasons, told, write_json, write_lines

VG = [
    {"image_id": 2370135, "url": "https://example.org/rak248/VG_100K_2/2370135.jpg", "width": 8},
    {"image_id": 1, "url": "https://example.org/rak248/VG_100K/1.jpg", "width": 8},
]
DESCRIBED = {"2370135": {"chosen": ["A dog.", "One dog.", "A dog lies."], "rejected": ["A cat.", "Cats.", "Two cats."]}}
POPE = {
    "image_id": 1,
    "question": "Is there a cat?",
    "chosen": "No.",
    "reject": "Yes.",
    "answer": "no",
    "correct": False,
}


@pytest.mark.parametrize(
    ("preference", "expected"), [(1, ("Fruit.", "Fruit and fish.")), (2, ("Fruit and fish.", "Fruit."))]
)
def test_llava_rlhf_counts_preferences_from_one(tmp_path: Path, preference: int, expected: tuple[str, str]) -> None:
    (pair,) = pairs(LlavaRlhf(), write_json(tmp_path / "a.json", [llava_rlhf_row(preference=preference)]))
    assert (pair.chosen, pair.rejected) == expected
    assert pair.sample.meta == {"hallucination": True}
    assert [turn.role for turn in pair.sample.prompt] == ["user", "assistant", "user"]


def test_llava_rlhf_conversations_may_be_nested(tmp_path: Path) -> None:
    nested = llava_rlhf_row(conversations=[llava_rlhf_row()["conversations"]])
    flat, deep = (pairs(LlavaRlhf(), write_json(tmp_path / "a.json", [row]))[0] for row in (llava_rlhf_row(), nested))
    assert flat == deep


@pytest.mark.parametrize("preference", [0, 3, "1", True, None])
def test_llava_rlhf_other_preferences_are_dropped(tmp_path: Path, preference: object) -> None:
    rows = [llava_rlhf_row(), llava_rlhf_row(1, preference=preference)]
    assert reasons(LlavaRlhf(), write_json(tmp_path / "a.json", rows)) == ["ROW_SHAPE"]


@pytest.fixture
def hadpo(tmp_path: Path) -> str:
    write_json(tmp_path / "desc_data.json", DESCRIBED)
    write_json(tmp_path / "pope_data.json", [POPE, {**POPE, "question": "A dog?", "correct": True}])
    write_json(tmp_path / "image_data.json", VG)
    return str(tmp_path)


def test_ha_dpo_reads_both_files_and_finds_both_folders(hadpo: str) -> None:
    outcomes = list(HaDpo()(hadpo))
    assert [outcome.reason for outcome in outcomes if hasattr(outcome, "reason")] == ["REJECTED_CORRECT"]
    pope, described = [outcome for outcome in outcomes if not hasattr(outcome, "reason")]
    assert told(pope)[1:] == ("No.", "Yes.")
    assert (image_of(pope).path, pope.variant) == ("VG_100K/1.jpg", "pope")
    assert (image_of(described).path, described.variant) == ("VG_100K_2/2370135.jpg", "desc")
    assert described.chosen in DESCRIBED["2370135"]["chosen"]
    assert described.rejected in DESCRIBED["2370135"]["rejected"]
    assert described.sample.prompt[0].text in QUESTIONS
    assert pope.sample.meta == {"answer": "no", "correct": False}


def test_ha_dpo_draws_by_picture_and_seed(hadpo: str) -> None:
    src = f"{hadpo}/desc_data.json"
    drawn = {told(pairs(HaDpo(seed=seed), src)[0]) for seed in range(30)}
    assert len(drawn) > 10
    assert pairs(HaDpo(seed=3), src) == pairs(HaDpo(seed=3), src)
    every = pairs(HaDpo(descriptions="all"), src)
    assert len({(pair.chosen, pair.rejected) for pair in every}) == 9
    assert len({pair.sample.id for pair in every}) == 9


def test_ha_dpo_needs_to_know_where_pictures_lie(tmp_path: Path, hadpo: str) -> None:
    (tmp_path / "image_data.json").unlink()
    with pytest.raises(UsageError, match="--image-data"):
        list(HaDpo()(hadpo))
    other = write_json(tmp_path / "vg.json", VG[1:])
    assert reasons(HaDpo(image_data=Path(other)), hadpo) == ["REJECTED_CORRECT", "IMG_MISSING"]


def test_seva_calls_it_reject(tmp_path: Path) -> None:
    row = {"image_id": "a.jpg", "question": "What?", "chosen": "Stop.", "reject": "Shop."}
    (pair,) = pairs(Seva(), write_json(tmp_path / "a.json", [row]))
    assert told(pair)[1:] == ("Stop.", "Shop.")
    assert image_of(pair).path == "a.jpg"


def test_mmpr_with_one_and_several_pictures(tmp_path: Path) -> None:
    row = {"id": 7, "image": "a.png", "question": "<image>\nHow many?", "chosen": "Five.", "rejected": "Six."}
    several = {**row, "id": 8, "image": ["a.png", "b.png"], "question": "<image>\n<image>\nWhich?"}
    one, two = pairs(Mmpr(), write_lines(tmp_path / "a.jsonl", [row, several]))
    assert one.sample.prompt == (Turn("user", (Slot.IMAGE, "How many?")),)
    assert two.sample.prompt == (Turn("user", (Slot.IMAGE, Slot.IMAGE, "Which?")),)
    assert one.sample.source_id == "7"


def test_columns_of_flat_rows_can_be_named(tmp_path: Path) -> None:
    row: dict[str, Any] = {"pic": "a.jpg", "q": "What?", "win": "A cat.", "lose": "A dog.", "key": "k1", "extra": 1}
    importer = Jsonl(
        image_column="pic", prompt_column="q", chosen_column="win", rejected_column="lose", id_column="key"
    )
    (pair,) = pairs(importer, write_lines(tmp_path / "a.jsonl", [row]))
    assert told(pair) == ((Turn("user", (Slot.IMAGE, "What?")),), "A cat.", "A dog.")
    assert (pair.sample.source_id, pair.sample.meta) == ("k1", {"extra": 1})
    assert pair.sample.licence == "other"


def test_urls_are_off_unless_allowed(tmp_path: Path) -> None:
    row = {"image": "https://example.org/a.jpg", "prompt": "What?", "chosen": "A", "rejected": "B"}
    path = write_lines(tmp_path / "a.jsonl", [row])
    assert reasons(Jsonl(), path) == ["URL_DISABLED"]


def test_a_bad_line_costs_its_line(tmp_path: Path) -> None:
    row = {"image": "a.jpg", "prompt": "What?", "chosen": "A", "rejected": "B"}
    path = Path(write_lines(tmp_path / "a.jsonl", [row]))
    path.write_text(path.read_text() + "{broken\n")
    assert reasons(Jsonl(), str(path)) == ["JSON_SYNTAX"]
