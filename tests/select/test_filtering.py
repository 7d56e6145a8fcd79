from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prefgen.cli import app
from prefgen.errors import UsageError
from prefgen.select import dedup, keep
from prefgen.select.expressions import parse
from tests.select.runs import chosen_of, pair, picture, stored, written

ROW: dict[str, Any] = {
    "similarity": 0.5,
    "method": "bdhs",
    "flags": ["similar"],
    "chosen_chars": 10,
    "rejected_chars": 25,
    "iteration": 2,
    "meta": json.dumps({"source": {"origin": {"type": "qa"}, "score": 3}}),
}
TRUE = [
    "similarity < 0.9",
    "0.2 < similarity <= 0.5",
    "method == 'bdhs' and iteration > 1",
    "'similar' in flags and 'truncated' not in flags",
    "method in ['povid', 'bdhs']",
    "length_ratio == 2.5",
    "rejected_chars - chosen_chars > 10 or similarity is None",
    "not (iteration % 2 == 1)",
    "similarity is not None",
    "meta['source']['origin']['type'] == 'qa'",
    "meta['source']['nothing']['at all'] is None",
    "-similarity < 0",
    "True",
]


@pytest.mark.parametrize("text", TRUE)
def test_conditions(text: str) -> None:
    condition = parse(text)
    assert set(condition.columns) <= set(ROW)
    assert condition(ROW) is True
    assert parse(f"not ({text})")(ROW) is False


@pytest.mark.parametrize(
    "text", ["similarity < 0.9", "similarity >= 0", "similarity + 1 > 0", "similarity / 0 < 1", "method < 3"]
)
def test_a_comparison_with_nothing_is_false(text: str) -> None:
    assert parse(text)({**ROW, "similarity": None}) is False


def test_no_division_by_zero() -> None:
    assert parse("length_ratio > 0")({**ROW, "chosen_chars": 0}) is False


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "similarity.real > 0",
        "[x for x in flags]",
        "(lambda: 1)()",
        "len(flags) > 1",
        "2 ** 100000000",
        "1 << 99",
        "f'{method}'",
        "meta[0]",
        "flags[method]",
        "similarity < 0.9; 1",
        "(similarity := 1)",
        "similarity <",
        "(" * 500 + "1" + ")" * 500,
        "1 " + "+ 1 " * 2000,
        "images == 1",
        "similarty < 1",
        "b'x' == 1",
        "similarity < 0,95",
        "[]",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    "text", ["-" * 975 + "1 < 2", "not " * 300 + "True", "(" * 90 + "-1" + ")" * 90 + " < 1 - " + "-" * 60 + "1"]
)
def test_what_is_nested_too_deep_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError, match=r"nested|no condition") as raised:
        parse(text)
    assert len(str(raised.value)) < 400


def test_a_chain_of_parts_is_no_nest() -> None:
    assert parse(" or ".join(f"similarity == {number}" for number in range(70)))(ROW) is False


def test_texts_are_never_multiplied() -> None:
    assert parse("method * 1000000000 == 'x'")(ROW) is False


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean 'similarity'"):
        parse("similarty < 1")


def test_rows_that_meet_a_condition_are_kept(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(number, similarity=number / 10) for number in range(10)])
    selection = keep(run, parse("similarity < 0.45 and method == 'bdhs'"))
    assert selection.left_out == {"CONDITION": 5}
    assert chosen_of(written(selection, tmp_path / "out")) == [f"A cat {number}." for number in range(5)]
    assert len(keep(run, parse("True"))) == 10


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(0)])
    with pytest.raises(UsageError, match=r"leaves no row \(1 CONDITION\)"):
        written(keep(run, parse("similarity > 2")), tmp_path / "out")


def test_where_nothing_is_left_the_columns_values_are_told(tmp_path: Path) -> None:
    run = tmp_path / "a"
    stored(run, [pair(number, similarity=number / 10) for number in range(10)])
    for condition, told in (
        ("similarity > 2", "similarity: 0 to 0.9"),
        ("method == 'povid'", "method: 'bdhs' 10"),
        ("length_ratio > 100 and 'x' in flags", "chosen_chars: "),
    ):
        result = CliRunner().invoke(app, ["filter", str(run), condition, "-o", str(tmp_path / "out")])
        assert isinstance(result.exception, UsageError)
        assert "filter leaves no row of 10" in str(result.exception)
        assert told in str(result.exception)


def test_duplicates_of_each_kind(tmp_path: Path) -> None:
    texts: dict[str, Any] = {"chosen": "A cat.", "rejected": "A dog."}
    pairs = [
        pair(0, shade=1, **texts),
        pair(1, shade=1, **texts),
        pair(2, shade=1, **{**texts, "rejected": "A fish."}),
        pair(3, shade=1, **{**texts, "chosen": "One cat."}),
        pair(4, shade=1, question="Which?", **texts),
        pair(5, shade=2, **texts),
        pair(6, images=(picture(1, "another name.png"),), **texts),
    ]
    run = stored(tmp_path / "a", pairs)
    assert dedup(run).rows.tolist() == [0, 2, 3, 4, 5]
    assert dedup(run, "answer").rows.tolist() == [0, 3, 4, 5]
    assert dedup(run, "prompt").rows.tolist() == [0, 4, 5]
    assert dedup(run, "image").rows.tolist() == [0, 5]
    assert dedup(run).left_out == {"DUPLICATE": 2}
