from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefgen.formats.published.rlaif_v import RlaifV
from prefgen.formats.published.rlhf_v import RlhfV
from prefgen.records import Slot, Turn
from tests.formats.written import (
    image_of,
    pairs,
    picture,
    reasons,
    rlaif_v_row,
    rlhf_v_row,
    told,
    write_lines,
    write_parquet,
)


def test_json_inside_strings_is_decoded(tmp_path: Path) -> None:
    (pair,) = pairs(RlhfV(), write_parquet(tmp_path / "a.parquet", [rlhf_v_row(3)]))
    assert told(pair) == ((Turn("user", (Slot.IMAGE, "What is he doing?")),), "He reads 3.", "He runs 3.")
    assert pair.sample.meta["origin_split"] == {"model": "Muffin", "type": "detailed_description"}
    assert pair.sample.meta["origin_dataset"] == "LCS-558K"
    assert pair.sample.licence == "cc-by-nc-4.0"
    assert pair.sample.source_id == "3"


def test_the_embedded_picture_takes_its_name_from_the_other_column(tmp_path: Path) -> None:
    (pair,) = pairs(RlhfV(), write_parquet(tmp_path / "a.parquet", [rlhf_v_row(3)]))
    assert (image_of(pair).data, image_of(pair).path) == (picture(3).data, "llava1.5_split/0003.png")


def test_the_older_form_with_columns(tmp_path: Path) -> None:
    row = {"image": "a.jpg", "question": "What?", "chosen": "This.", "rejected": "That.", "idx": 1}
    (pair,) = pairs(RlhfV(), write_lines(tmp_path / "a.jsonl", [row]))
    assert told(pair)[1:] == ("This.", "That.")
    assert pair.sample.meta == {}


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', '{"question": "a", "chosen": "b"}', '{"question": 1}'])
def test_a_broken_text_costs_its_row(tmp_path: Path, text: str) -> None:
    rows = [rlhf_v_row(0), rlhf_v_row(1, text=text)]
    assert reasons(RlhfV(), write_parquet(tmp_path / "a.parquet", rows)) == ["ROW_SHAPE"]


def test_rlaif_v_has_no_tag_and_a_string_for_an_id(tmp_path: Path) -> None:
    (pair,) = pairs(RlaifV(), write_parquet(tmp_path / "a.parquet", [rlaif_v_row(17)]))
    assert told(pair) == ((Turn("user", (Slot.IMAGE, "What is in the sky?")),), "17 kites.", "17 birds.")
    assert (pair.sample.source_id, image_of(pair).path) == ("17", "17.png")
    assert pair.sample.meta["origin_split"] == {"models": "LLaVA-1.5", "type": "question_answering"}


@pytest.mark.parametrize("logps", [{"logps": [1.5, [0.5]]}, [1.5, [0.5]]])
def test_log_probabilities_are_kept_in_both_forms(tmp_path: Path, logps: object) -> None:
    (pair,) = pairs(RlaifV(), write_parquet(tmp_path / "a.parquet", [rlaif_v_row(logps=json.dumps(logps))]))
    assert json.loads(pair.sample.meta["logps"]) == logps
