"""Rows with more than two answers: typed negatives, ranked lists, lists of answers, A/B labels, marked answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.formats import Importer
from prefgen.formats.ab import Ab
from prefgen.formats.jsonl import Jsonl
from prefgen.formats.mmpr import Mmpr
from prefgen.formats.ms_swift import MsSwift
from prefgen.formats.published.bpo import Bpo
from prefgen.formats.published.mm_rlhf import MmRlhf
from prefgen.formats.ranked import Ranked
from prefgen.formats.unpaired import Unpaired
from prefgen.records import Dropped, Pair, Slot, Turn
from prefgen.rundir.layout import Plan
from prefgen.rundir.shards import RunDirectory
from prefgen.rundir.verify import verify
from prefgen.runner.import_job import ImportJob, survey, work
from prefgen.sources import SourceOptions
from tests.formats.written import image_of, pairs, picture, reasons, told, write_json, write_lines
from tests.handmade import card
from tests.select.runs import table

IMAGE = {"image": "a.png"}


def answers(found: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in found]


def groups(found: list[Pair]) -> list[tuple[str, int] | None]:
    return [(pair.joined["group"], pair.joined["size"]) if pair.joined else None for pair in found]


def run(importer: Importer, src: str, out: Path) -> list[dict[str, Any]]:
    """Rows of the run that an import makes."""
    job = ImportJob(importer, src, SourceOptions(), out, 2)
    with RunDirectory.open(out, Plan(survey(job).rows, 2, job.fingerprint())) as directory:
        work(job, directory, None, lambda outcome: None)
        directory.finalize(card)
    assert verify(out).problems == ()
    rows: list[dict[str, Any]] = table(out).to_pylist()
    return rows


def completion(response: str, score: object, kind: str | None = None, **more: object) -> dict[str, Any]:
    return {"response": response, "score": score, **({"type": kind} if kind else {}), **more}


BPO = {
    **IMAGE,
    "prompt": "Describe.\n<image>",
    "completions": [completion("A cup.", 1, "gt"), completion("A dog.", 0, "mllm-hal"), completion("A fox.", 0, "llm")],
}


def test_bpo_s_negatives_are_joined_and_keep_their_kind(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture().data)
    single = {**BPO, "completions": BPO["completions"][:2], "prompt": "What?"}
    rows = run(Bpo(), write_json(tmp_path / "a.json", [BPO, single]), tmp_path / "out")
    assert [row["rejected_response"] for row in rows] == ["A dog.", "A fox.", "A dog."]
    assert {row["chosen_response"] for row in rows} == {"A cup."}
    assert [row["variant"] for row in rows] == ["mllm-hal", "llm", "mllm-hal"]
    metas = [json.loads(row["meta"]) for row in rows]
    assert [meta["source"]["type"] for meta in metas] == ["mllm-hal", "llm", "mllm-hal"]
    assert metas[0]["joined"] == metas[1]["joined"]
    assert metas[0]["joined"]["size"] == 2
    assert "joined" not in metas[2]


def test_training_takes_the_joined_rows_for_one_sample(tmp_path: Path) -> None:
    from prefgen.training.rows import _group  # what `prefgen train` groups neighbouring rows by

    (tmp_path / "a.png").write_bytes(picture().data)
    rows = run(Bpo(), write_json(tmp_path / "a.json", [BPO]), tmp_path / "out")
    assert len({_group(place, row) for place, row in enumerate(rows)}) == 1


@pytest.mark.parametrize(
    ("completions", "reason"),
    [
        ([completion("A", 1), completion("B", 1)], "ANSWER_TIE"),
        ([], "ANSWER_TIE"),
        ([completion("A", 1), completion("B", "0")], "ROW_SHAPE"),
        ([completion("A", 1), {"response": "B"}], "ROW_SHAPE"),
        (["A", "B"], "ROW_SHAPE"),
    ],
)
def test_bpo_rows_without_a_better_answer(tmp_path: Path, completions: object, reason: str) -> None:
    source = write_json(tmp_path / "a.json", [BPO, {**BPO, "completions": completions}])
    assert reasons(Bpo(), source) == [reason]


def test_a_group_counts_the_pairs_that_there_are(tmp_path: Path) -> None:
    third = [*BPO["completions"], completion("A cup.", 0), completion("A dog.", 0, "other")]
    outcomes = list(Bpo()(write_json(tmp_path / "a.json", [{**BPO, "completions": third}])))
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Dropped)] == [
        "REJECTED_EQUALS_CHOSEN",
        "DUPLICATE",
    ]
    assert [pair.joined["size"] for pair in outcomes if isinstance(pair, Pair)] == [2, 2]


MM = {"image": "short/a.jpg", "prompt": "<image>\nHow many?", "chosen": "Three.", "rejected": "Two.", "is_tie": False}


def test_mm_rlhf_s_pairs(tmp_path: Path) -> None:
    rows = [
        {**MM, "chosen_reason": "Right.", "mixed_up_image": "short/b.jpg"},
        {**MM, "prompt": "No tag?"},
        {**MM, "is_tie": True},
        {**{name: value for name, value in MM.items() if name != "image"}, "video": "video/1.mp4"},
    ]
    write_lines(tmp_path / "dpo_pairs.jsonl", rows)
    outcomes = list(MmRlhf()(str(tmp_path)))
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Dropped)] == ["ANSWER_TIE", "VIDEO"]
    first, second = (outcome for outcome in outcomes if isinstance(outcome, Pair))
    assert first.sample.prompt == (Turn("user", (Slot.IMAGE, "How many?")),)
    assert second.sample.prompt == (Turn("user", (Slot.IMAGE, "No tag?")),)
    assert first.sample.meta == {"chosen_reason": "Right.", "mixed_up_image": "short/b.jpg"}
    assert image_of(first).path == "short/a.jpg"
    with pytest.raises(UsageError, match=r"holds no dpo_pairs.jsonl"):
        list(MmRlhf()(str(tmp_path.parent)))


def test_mmpr_by_its_meta_file(tmp_path: Path) -> None:
    row = {"id": 1, "image": "x.png", "question": "<image>\nHow many?", "chosen": "Five.", "rejected": "Six."}
    folder = tmp_path / "MMPR-v9"
    (folder / "annotations").mkdir(parents=True)
    write_lines(folder / "annotations" / "one.jsonl", [row, {**row, "id": 2, "chosen": "5."}])
    write_lines(folder / "annotations" / "two.jsonl", [{**row, "question": "What?"}])
    entry: dict[str, Any] = {"data_augment": False, "repeat_time": 1, "length": 2}
    meta = {
        "one": {**entry, "root": "images/one", "annotation": "annotations/one.jsonl"},
        "two": {**entry, "root": "images/two", "annotation": "MMPR-v9/annotations/two.jsonl", "repeat_time": 2},
    }
    found = pairs(Mmpr(), write_json(folder / "meta.json", meta))
    assert [image_of(pair).path for pair in found] == [*["images/one/x.png"] * 2, *["images/two/x.png"] * 2]
    assert [pair.sample.source_id for pair in found] == ["1", "2", "1", "1#2"]


RANKED = {**IMAGE, "prompt": "What?", "responses": ["A disc.", "A ring.", "A cup."], "scores": [5, 3, 1]}


@pytest.mark.parametrize(
    "row",
    [
        RANKED,
        {**IMAGE, "instruction": "What?", "generations": RANKED["responses"], "ratings": ["5", "3", "1"]},
        {**IMAGE, "question": "What?", "completions": RANKED["responses"], "ranks": [1, 2, 3]},
        {
            **IMAGE,
            "query": [{"role": "user", "content": "<image>What?"}],
            "candidates": [
                {"text": text, "rank": rank} for rank, text in enumerate(["A disc.", "A ring.", "A cup."], 1)
            ],
        },
        {**RANKED, "responses": [{"text": text} for text in ["A disc.", "A ring.", "A cup."]]},
    ],
)
def test_forms_of_ranked_lists(tmp_path: Path, row: Mapping[str, Any]) -> None:
    source = write_lines(tmp_path / "a.jsonl", [row])
    assert answers(pairs(Ranked(), source)) == [("A disc.", "A cup.")]
    every = [("A disc.", "A ring."), ("A disc.", "A cup."), ("A ring.", "A cup.")]
    assert answers(pairs(Ranked(pairing="all"), source)) == every
    drawn = {answers(pairs(Ranked(pairing="best-random", seed=seed), source))[0] for seed in range(9)}
    assert drawn == set(every[:2])


def test_what_a_ranked_pair_records(tmp_path: Path) -> None:
    row = {**RANKED, "generation_models": ["m1", "m2", "m3"], "rationales": ["", "", "round"]}
    (pair,) = pairs(Ranked(), write_lines(tmp_path / "a.jsonl", [row]))
    assert pair.params == {
        "chosen_model": "m1",
        "rejected_model": "m3",
        "chosen_rating": 5,
        "rejected_rating": 1,
    }
    assert pair.sample.meta == {"rationales": ["", "", "round"]}
    assert pair.variant == "best-worst"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scores": [3, 3, 3]}, "ANSWER_TIE"),
        ({"scores": [5, None, "N/A"]}, "ANSWER_UNRATED"),
        ({"scores": ["nan", True, 1]}, "ANSWER_UNRATED"),
        ({"scores": [5, 3]}, "ROW_SHAPE"),
        ({"scores": None}, "ROW_SHAPE"),
        ({"scores": None, "ranking": [2, 0, 1]}, "ROW_SHAPE"),
        ({"responses": None}, "ROW_SHAPE"),
        ({"image": None}, "TEXT_ONLY"),
    ],
)
def test_ranked_lists_that_give_no_pair(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    source = write_json(tmp_path / "a.json", [RANKED, {**RANKED, **changes}])
    assert reasons(Ranked(), source) == [reason]


def test_a_margin(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [RANKED])
    assert answers(pairs(Ranked(pairing="all", min_margin=3), source)) == [("A disc.", "A cup.")]
    with pytest.raises(UsageError, match="--pairing"):
        Ranked(pairing="some")  # type: ignore[arg-type]


def test_every_answer_of_a_list_is_kept(tmp_path: Path) -> None:
    row = {**IMAGE, "prompt": "What?", "chosen": ["A disc.", "A filled disc."], "rejected": ["A ring.", "A cup."]}
    found = pairs(Jsonl(), write_lines(tmp_path / "a.jsonl", [row]))
    assert answers(found) == [(better, worse) for better in row["chosen"] for worse in row["rejected"]]
    first, second, third, fourth = groups(found)
    assert first == second != third == fourth
    assert len({pair.sample.id for pair in found}) == 4


def test_every_rejected_response_of_ms_swift_is_kept(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A disc."}]
    row = {"messages": said, "images": ["a.png"], "rejected_response": ["A ring.", "A cup."]}
    one = {**row, "rejected_response": [{"role": "assistant", "content": "A ring."}]}
    turns = {**row, "rejected_response": [*said, {"role": "assistant", "content": "A ring."}]}
    source = write_lines(tmp_path / "a.jsonl", [row, {**one, "id": 1}, {**turns, "id": 2}])
    outcomes = list(MsSwift()(source))
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Dropped)] == ["ROW_SHAPE"]
    assert answers([outcome for outcome in outcomes if isinstance(outcome, Pair)]) == [
        ("A disc.", "A ring."),
        ("A disc.", "A cup."),
        ("A disc.", "A ring."),
    ]


AB = {**IMAGE, "question": "What?", "response_a": "A disc.", "response_b": "A ring.", "preference": "A"}
OUTPUTS = {**IMAGE, "prompt": "What?", "output_1": "A ring.", "output_2": "A disc."}
ZERO = {**IMAGE, "prompt": "What?", "response_0": "A disc.", "response_1": "A ring."}


@pytest.mark.parametrize(
    "row",
    [
        AB,
        {**AB, "preference": " a "},
        {**AB, "preference": "response_a"},
        {**OUTPUTS, "choice": 2},
        {**OUTPUTS, "winner": "output_2"},
        {**ZERO, "better_response_id": 0},
    ],
)
def test_forms_of_a_b_labels(tmp_path: Path, row: dict[str, Any]) -> None:
    (pair,) = pairs(Ab(), write_lines(tmp_path / "a.jsonl", [row]))
    assert told(pair) == ((Turn("user", (Slot.IMAGE, "What?")),), "A disc.", "A ring.")
    assert pair.sample.meta == {}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**AB, "preference": "tie"}, "ANSWER_TIE"),
        ({**AB, "preference": "both"}, "ANSWER_TIE"),
        ({**AB, "preference": 1}, "ROW_SHAPE"),
        ({**AB, "preference": "first"}, "ROW_SHAPE"),
        ({**AB, "preference": None}, "ROW_SHAPE"),
        ({**ZERO, "winner": 2}, "ROW_SHAPE"),
        ({**AB, "response_b": None}, "ROW_SHAPE"),
    ],
)
def test_labels_are_not_guessed_at(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    assert reasons(Ab(), write_lines(tmp_path / "a.jsonl", [AB, row])) == [reason]


def marked(prompt: str, answer: str, label: object, **more: object) -> dict[str, Any]:
    return {**IMAGE, "prompt": prompt, "completion": answer, "label": label, **more}


def test_marked_answers_become_pairs_where_a_prompt_has_both(tmp_path: Path) -> None:
    rows = [
        marked("What?", "A disc.", True, id="7", source_model="m"),
        marked("Which?", "This.", True),
        marked("What?", "A ring.", False),
        marked("Which?", "That.", 1),
        marked("Where?", "Here.", False),
        marked("What?", "A cup.", False),
        marked("What?", "A hat.", False, image="b.png"),
        marked("What?", "A cat.", "yes"),
    ]
    outcomes = list(Unpaired()(write_lines(tmp_path / "a.jsonl", rows)))
    dropped = [outcome.reason for outcome in outcomes if isinstance(outcome, Dropped)]
    assert dropped == [*["ANSWER_UNPAIRED"] * 4, "ROW_SHAPE"]
    found = [outcome for outcome in outcomes if isinstance(outcome, Pair)]
    assert answers(found) == [("A disc.", "A ring."), ("A disc.", "A cup.")]
    assert groups(found)[0] == groups(found)[1] == (found[0].sample.id, 2)
    assert found[0].sample.source_id == "7"
    assert found[0].sample.meta == {"source_model": "m"}


@pytest.mark.parametrize("label", ["label", "kto_tag"])
@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_marked_conversations(tmp_path: Path, column: str, label: str) -> None:
    def row(answer: str, mark: bool) -> dict[str, Any]:
        said = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": answer}]
        return {column: said, "images": ["a.png"], label: mark}

    (pair,) = pairs(Unpaired(), write_lines(tmp_path / "a.jsonl", [row("A ring.", False), row("A disc.", True)]))
    assert told(pair) == ((Turn("user", (Slot.IMAGE, "What?")),), "A disc.", "A ring.")
