from __future__ import annotations

from pathlib import Path

import pytest

from prefgen.errors import UsageError
from prefgen.rundir.reader import Stored
from prefgen.select import Amount, dedup, mix, parse_amount
from tests.handmade import finished_run
from tests.select.runs import chosen_of, pair, picture, stored, table, written


def test_rows_pass_through_as_they_are(tmp_path: Path) -> None:
    one = stored(tmp_path / "a", [pair(number) for number in range(10)])
    rows = written(mix([(one, Amount())], 0), tmp_path / "out")
    assert rows == table(tmp_path / "a").to_pylist()


def test_a_mixture_has_its_proportions_everywhere(tmp_path: Path) -> None:
    many = stored(tmp_path / "a", [pair(number) for number in range(40)])
    few = stored(tmp_path / "b", [pair(100 + number) for number in range(30)])
    rows = written(mix([(many, Amount(share=0.75)), (few, Amount(rows=10))], 0), tmp_path / "out")
    numbers = [int(row["id"], 16) for row in rows]
    assert sum(number < 100 for number in numbers) == 30
    for start in range(0, 40, 8):
        assert sum(number >= 100 for number in numbers[start : start + 8]) == 2
    ours = [number for number in numbers if number < 100]
    assert ours == sorted(ours)
    assert ours != list(range(30))


def test_a_draw_depends_on_seed_and_id_alone(tmp_path: Path) -> None:
    pairs = [pair(number) for number in range(30)]
    forward, backward = stored(tmp_path / "a", pairs), stored(tmp_path / "b", pairs[::-1])
    drawn = [
        {row["id"] for row in written(mix([(run, Amount(rows=12))], seed), tmp_path / f"{run.name}{seed}")}
        for run in (forward, backward)
        for seed in (0, 1)
    ]
    assert drawn[0] == drawn[2]
    assert drawn[1] == drawn[3]
    assert drawn[0] != drawn[1]


def test_a_larger_draw_holds_the_smaller_one(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(number) for number in range(30)])
    small, large = (set(mix([(run, Amount(rows=rows))], 5).rows.tolist()) for rows in (8, 20))
    assert small < large


def test_two_runs_over_the_same_samples(tmp_path: Path) -> None:
    first = stored(tmp_path / "a", [pair(number) for number in range(6)])
    other = [pair(number, rejected=f"A fish {number}." if number % 2 else f"A dog {number}.") for number in range(6)]
    selection = mix([(first, Amount()), (stored(tmp_path / "b", other), Amount())], 0)
    assert selection.left_out == {"DUPLICATE": 3}
    rows = written(selection, tmp_path / "out")  # whose ids are unique, says prefgen verify
    assert len(rows) == 9
    assert {row["rejected_response"] for row in rows} == {p.rejected for p in other} | {f"A dog {n}." for n in range(6)}


def test_a_third_run_that_repeats_the_first(tmp_path: Path) -> None:
    runs = [
        (stored(tmp_path / name, [pair(0, rejected=text)]), Amount())
        for name, text in (("a", "x"), ("b", "y"), ("c", "x"))
    ]
    selection = mix(runs, 0)
    assert selection.left_out == {"DUPLICATE": 1}
    assert [row["rejected_response"] for row in written(selection, tmp_path / "out")] == ["x", "y"]


def test_left_out_rows_are_counted(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(number) for number in range(10)])
    assert mix([(run, Amount(rows=4))], 0).left_out == {"NOT_DRAWN": 6}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ("a", Amount())),
        ("a/b:0.5", ("a/b", Amount(share=0.5))),
        ("a:1.0", ("a", Amount())),
        ("a:5000", ("a", Amount(rows=5000))),
        ("C:x", ("C:x", Amount())),
    ],
)
def test_amounts(text: str, expected: tuple[str, Amount]) -> None:
    assert parse_amount(text) == expected


@pytest.mark.parametrize("text", ["a:0", "a:0.0", "a:1.5"])
def test_impossible_amounts(text: str) -> None:
    with pytest.raises(UsageError, match="share in"):
        parse_amount(text)


def test_more_rows_than_there_are(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(0)])
    with pytest.raises(UsageError, match="fewer than the 2"):
        mix([(run, Amount(rows=2))], 0)


def test_only_finished_runs_of_this_version_are_read(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "out")
    Stored(out)
    (out / ".prefgen" / "manifest.sha256").unlink()
    with pytest.raises(UsageError, match="unfinished"):
        Stored(out)
    with pytest.raises(UsageError, match="no prefgen run"):
        Stored(tmp_path)


def test_rows_taken_in_any_order(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(number) for number in range(20)])
    order = [19, 0, 7, 6, 8, 8, 3]
    assert chosen_of(run.take(order).to_pylist()) == [f"A cat {number}." for number in order]
    assert run.take([]).num_rows == 0


def test_rows_that_reject_other_pictures_are_other_rows(tmp_path: Path) -> None:
    noised = pair(3, rejected="A cat 3.", rejected_images=(picture(100),))
    cropped = pair(3, rejected="A cat 3.", rejected_images=(picture(101),))
    runs = [stored(tmp_path / name, [made]) for name, made in (("a", noised), ("b", cropped), ("c", noised))]
    chosen = mix([(run, Amount()) for run in runs], 0)
    assert chosen.left_out["DUPLICATE"] == 1
    rows = written(chosen, tmp_path / "out")
    assert len({row["id"] for row in rows}) == 2
    assert {row["rejected_images"][0]["path"] for row in rows} == {"100.png", "101.png"}
    assert len(dedup(Stored(tmp_path / "out"), "pair")) == 2
