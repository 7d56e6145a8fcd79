from __future__ import annotations

import json
from math import comb
from pathlib import Path

import numpy as np
import pytest

from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks import compare, pope
from prefgen.evaluate.benchmarks.files import Question
from prefgen.evaluate.benchmarks.intervals import differences, drawn, intervals, mcnemar, share


def test_mcnemar_is_a_coin_thrown_for_every_item_that_one_alone_has_right() -> None:
    for first, second in ((0, 0), (3, 3), (1, 9), (12, 4)):
        count = first + second
        likely = (
            sum(comb(count, k) for k in range(count + 1) if abs(k - count / 2) >= abs(first - count / 2)) / 2**count
        )
        assert mcnemar(first, second) == pytest.approx(likely) == mcnemar(second, first)


def test_resamples_draw_as_many_pictures_as_there_are() -> None:
    weights = drawn(7, seed=3, resamples=50)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == drawn(7, seed=3, resamples=50)).all()
    assert not (weights == drawn(7, seed=4, resamples=50)).all()


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    counts = np.stack([np.arange(400) % 2, np.ones(400)], axis=1)
    (low, high) = intervals(counts, lambda sums: {"share": share(*sums)}, drawn(400, 0))["share"] or (0, 0)
    assert (low, high) == pytest.approx((0.5 - 1.96 / 40, 0.5 + 1.96 / 40), abs=0.008)


def test_paired_differences_cancel_what_both_share() -> None:
    one = np.stack([np.arange(400) % 2, np.ones(400)], axis=1).astype(float)
    other = one.copy()
    other[::10, 0] = 1 - other[::10, 0]  # of even numbers alone, which were 0: 40 more
    found = differences(one, other, lambda sums: {"share": share(*sums)}, drawn(400, 0))["share"]
    assert found is not None
    value, (low, high) = found
    assert value == pytest.approx(0.1)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.1 * 0.9 / 400), rel=0.15)  # not that of independent runs


def written(folder: Path, answers: list[str], parser: pope.Parser = "official") -> Path:
    questions = [Question("q.json", str(n), f"{n // 2}.jpg", "?", {"label": "yes"}) for n in range(len(answers))]
    judged = [pope.judge(q, text, parser) for q, text in zip(questions, answers, strict=True)]
    folder.mkdir()
    items = [
        {"id": q.id, "picture": q.image, "counts": j.counts, "right": j.right}
        for q, j in zip(questions, judged, strict=True)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "scores.json").write_text(json.dumps(pope.score(judged, parser)))
    return folder


def test_two_evaluations_are_paired_by_id(tmp_path: Path) -> None:
    one = written(tmp_path / "one", ["yes", "no", "no", "yes", "no", "yes"])
    other = written(tmp_path / "other", ["yes", "yes", "yes", "no"])
    found = compare.compare(one, other)
    assert (found["items"], found["only_in_one"], found["only_in_other"]) == (4, 2, 0)
    assert (found["right_only_in_one"], found["right_only_in_other"]) == (1, 2)
    assert found["mcnemar_p"] == 1.0
    assert found["one_figures"]["accuracy"] == 0.5  # of the four
    assert found["differences"]["accuracy"]["value"] == pytest.approx(0.25)
    assert compare.compare(one, one)["differences"]["accuracy"] == {"value": 0.0, "interval": (0.0, 0.0)}


def test_what_was_not_scored_alike_is_not_compared(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one", ["yes"]), written(tmp_path / "other", ["yes"], "strict")
    with pytest.raises(UsageError, match="parser 'official' and 'strict'"):
        compare.compare(one, other)
    with pytest.raises(UsageError, match=r"holds no scores.json"):
        compare.compare(one, tmp_path)
