from __future__ import annotations

import json
from pathlib import Path

from prefgen.formats import LOADERS, checking
from prefgen.records import Span
from prefgen.select import join, relabel
from tests.select.runs import pair, stored, written


def test_the_rows_of_one_chosen_answer_stand_side_by_side(tmp_path: Path) -> None:
    povid = stored(tmp_path / "povid", [pair(number, method="povid") for number in range(8)])
    ours = [pair(number, rejected=f"A fish {number}.") for number in (6, 2, 4, 40)]
    selection = join([povid, stored(tmp_path / "bdhs", ours)])
    rows = written(selection, tmp_path / "out", shard_size=3)
    assert [(row["chosen_response"], row["rejected_response"]) for row in rows] == [
        (f"A cat {number}.", f"A {animal} {number}.") for number in (2, 4, 6) for animal in ("dog", "fish")
    ]
    assert [row["method"] for row in rows] == ["povid", "bdhs"] * 3
    joined = [json.loads(row["meta"])["joined"] for row in rows]
    groups = [mark["group"] for mark in joined]
    assert groups[::2] == groups[1::2]  # also where a shard ends between the rows of a group
    assert len({*groups}) == 3
    assert {mark["size"] for mark in joined} == {2}
    assert [checking.check(tmp_path / "out", trainer).problems for trainer in LOADERS] == [()] * 3
    assert selection.left_out == {"UNMATCHED": 5 + 1}


def test_equal_answers_are_no_two_answers(tmp_path: Path) -> None:
    first = stored(tmp_path / "a", [pair(0), pair(1)])
    second = stored(tmp_path / "b", [pair(0), pair(1, rejected="A fish.")])
    selection = join([first, second])
    assert selection.left_out == {"DUPLICATE": 2}
    assert len(selection) == 2


def test_rejected_answers_are_swapped_in(tmp_path: Path) -> None:
    ranked = stored(tmp_path / "a", [pair(number, method="vlfeedback", licence="mit") for number in range(5)])
    corrupted = [
        pair(
            10 + number,
            shade=number,
            rejected=f"A fish {number}.",
            spans=(Span(2, 6),),
            finish=("stop",),
            licence="cc-by-nc-4.0",
            params={"rho": 0.5},
            flags=("truncated",),
        )
        for number in (3, 1)
    ]
    selection = relabel(ranked, stored(tmp_path / "b", corrupted), "rejected")
    rows = written(selection, tmp_path / "out")
    assert [(row["chosen_response"], row["rejected_response"]) for row in rows] == [
        ("A cat 1.", "A fish 1."),
        ("A cat 3.", "A fish 3."),
    ]
    assert selection.left_out == {"UNMATCHED": 3}
    row = rows[0]
    assert (row["method"], row["licence"], row["flags"]) == ("bdhs", "cc-by-nc-4.0", ["truncated"])
    assert row["spans"] == [{"start": 2, "end": 6}]
    assert (row["similarity"], row["cuts"]) == (None, [])
    meta = json.loads(row["meta"])
    assert meta["options"] == {"rho": 0.5}
    assert meta["relabelled"] == {"side": "rejected", "id": f"{11:016x}", "source": "rows.json"}
    assert row["id"] not in {f"{number:016x}" for number in range(20)}


def test_chosen_answers_are_swapped_in(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(number) for number in range(3)])
    better = [pair(number, chosen=f"A grey cat {number}." if number else "A dog 0.", rejected="x") for number in (0, 2)]
    selection = relabel(run, stored(tmp_path / "b", better), "chosen")
    (row,) = written(selection, tmp_path / "out")
    assert (row["chosen_response"], row["rejected_response"]) == ("A grey cat 2.", "A dog 2.")
    assert row["conversations"][-1] == {"role": "assistant", "content": "A grey cat 2."}
    assert selection.left_out == {"REJECTED_EQUALS_CHOSEN": 1, "UNMATCHED": 1}
