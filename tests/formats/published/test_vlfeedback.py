from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.formats.published.vlfeedback import VLFeedback
from prefgen.records import Slot, Turn
from tests.formats.written import completion, image_of, pairs, reasons, vlfeedback_row, write_lines, write_parquet

LLAVA, QWEN, GPT, BLIP = (entry["response"] for entry in vlfeedback_row()["completions"])


def answers(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    path = write_lines(tmp_path / "vlfeedback_80k.jsonl", rows or [vlfeedback_row()])
    return [(pair.chosen, pair.rejected) for pair in pairs(VLFeedback(**options), path)]


def test_the_best_answer_against_the_worst(tmp_path: Path) -> None:
    # means: llava 14/3, qwen 8/3, gpt 14/3, blip 11/3; of the two best the first in the file
    assert answers(tmp_path) == [(LLAVA, QWEN)]


def test_all_pairs_but_ties(tmp_path: Path) -> None:
    expected = [(LLAVA, BLIP), (LLAVA, QWEN), (GPT, BLIP), (GPT, QWEN), (BLIP, QWEN)]
    assert answers(tmp_path, pairing="all") == expected


def test_a_random_worse_answer_depends_on_row_and_seed_alone(tmp_path: Path) -> None:
    drawn = [answers(tmp_path, pairing="best-random", seed=seed)[0] for seed in range(40)]
    assert {chosen for chosen, _ in drawn} == {LLAVA}
    assert Counter(rejected for _, rejected in drawn).keys() == {BLIP, QWEN}
    assert answers(tmp_path, vlfeedback_row(id="other"), vlfeedback_row(), pairing="best-random", seed=3)[1] == drawn[3]


@pytest.mark.parametrize(
    ("aspect", "pair"),
    [("helpfulness", (LLAVA, QWEN)), ("visual_faithfulness", (GPT, QWEN)), ("mean", (LLAVA, QWEN))],
)
def test_aspects(tmp_path: Path, aspect: str, pair: tuple[str, str]) -> None:
    assert answers(tmp_path, aspect=aspect) == [pair]


def test_equal_ratings_make_no_pair(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [vlfeedback_row()])
    assert reasons(VLFeedback(aspect="ethical_considerations"), path) == ["ANSWER_TIE"]


def test_a_margin_counts_thirds_exactly(tmp_path: Path) -> None:
    assert answers(tmp_path, pairing="all", min_margin=2) == [(LLAVA, QWEN), (GPT, QWEN)]
    assert answers(tmp_path, pairing="all", min_margin=1) == [
        (LLAVA, BLIP),
        (LLAVA, QWEN),
        (GPT, BLIP),
        (GPT, QWEN),
        (BLIP, QWEN),
    ]


def test_the_chosen_model_must_match_and_be_ranked_first(tmp_path: Path) -> None:
    assert answers(tmp_path, chosen_model="GPT-4*") == [(GPT, QWEN)]
    assert answers(tmp_path, chosen_model="instruct*", pairing="all") == [(BLIP, QWEN)]
    path = write_lines(tmp_path / "a.jsonl", [vlfeedback_row()])
    assert reasons(VLFeedback(chosen_model="instruct*"), path) == ["ROW_FILTERED"]


def test_prompts_of_one_source(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [vlfeedback_row(), vlfeedback_row(id="LLaVA-7")])
    importer = VLFeedback(prompt_source="llava-*")
    assert reasons(importer, path) == ["ROW_FILTERED"]
    assert len(list(importer(path))) == 2


@pytest.mark.parametrize("rating", ["N/A", "", None, "nan", "inf"])
def test_an_answer_without_a_number_is_left_out(tmp_path: Path, rating: str | None) -> None:
    row = vlfeedback_row()
    row["completions"][0] = completion("llava-v1.5-7b", LLAVA, "5", "5", rating)
    assert answers(tmp_path, row, pairing="all") == [(GPT, BLIP), (GPT, QWEN), (BLIP, QWEN)]
    # an aspect that it was rated in counts
    assert answers(tmp_path, row, aspect="helpfulness") == [(LLAVA, QWEN)]


def test_one_rated_answer_makes_no_pair(tmp_path: Path) -> None:
    row = vlfeedback_row(completions=vlfeedback_row()["completions"][:1])
    assert reasons(VLFeedback(), write_lines(tmp_path / "a.jsonl", [row])) == ["ANSWER_UNRATED"]


def test_completions_as_an_object_of_lists(tmp_path: Path) -> None:
    entries = vlfeedback_row()["completions"]
    lists = {name: [entry[name] for entry in entries] for name in entries[0]}
    path = write_parquet(tmp_path / "a.parquet", [vlfeedback_row(completions=lists)])
    (pair,) = pairs(VLFeedback(), path)
    assert (pair.chosen, pair.rejected) == (LLAVA, QWEN)


def test_what_is_recorded(tmp_path: Path) -> None:
    (pair,) = pairs(VLFeedback(), write_lines(tmp_path / "a.jsonl", [vlfeedback_row()]))
    assert pair.sample.prompt == (Turn("user", (Slot.IMAGE, "Describe the scene.")),)
    assert image_of(pair).path == "merged_images/svit-detail-1234.jpg"
    assert (pair.variant, pair.sample.licence) == ("best-worst", "other")
    assert pair.params["chosen_model"] == "llava-v1.5-7b"
    assert pair.params["rejected_model"] == "qwen-vl-chat"
    assert pair.params["chosen_rating"] == pytest.approx(14 / 3)
    assert list(pair.sample.meta) == ["models"]


def test_a_row_without_a_path_has_a_picture_of_its_id(tmp_path: Path) -> None:
    row = vlfeedback_row()
    del row["img_path"]
    (pair,) = pairs(VLFeedback(), write_lines(tmp_path / "a.jsonl", [row]))
    assert image_of(pair).path == "svit-detail-1234.jpg"


@pytest.mark.parametrize("options", [{"pairing": "best"}, {"aspect": "Helpfulness"}, {"min_margin": -1.0}])
def test_unknown_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="give"):
        VLFeedback(**options)
