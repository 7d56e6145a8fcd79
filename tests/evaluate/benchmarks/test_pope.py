from __future__ import annotations

import math
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks import pope
from prefgen.evaluate.benchmarks.files import Question


def question(number: int, label: str, file: str = "random.json", picture: int = 0) -> Question:
    return Question(file, str(number), f"{picture}.jpg", "Is there a dog?", {"label": label})


@pytest.mark.parametrize(
    ("answer", "official", "strict", "lenient"),
    [
        ("Yes", "yes", "yes", "yes"),
        ("No, there is no dog.", "no", "no", "no"),
        ("no", "no", "no", "no"),
        ("NO", "yes", "no", "no"),  # the published rule knows three spellings
        ("", "yes", "", ""),
        ("There is not a dog in it.", "no", "", "no"),
        ("There is no dog.", "no", "", "no"),
        ("I cannot see a dog.", "yes", "", "no"),
        ("There is a dog.", "yes", "", "yes"),
        ("The answer is yes.", "yes", "", "yes"),
        ("Well. No", "yes", "", "no"),  # only the first sentence counts
        ("A cat.", "yes", "", ""),
        ("**Yes**, it does", "yes", "yes", "yes"),
        ("Nothing like it", "yes", "", ""),
        ("yes or no?", "yes", "yes", "yes"),
    ],
)
def test_parsers(answer: str, official: str, strict: str, lenient: str) -> None:
    assert (pope.official(answer), pope.strict(answer), pope.lenient(answer)) == (official, strict, lenient)


ANSWERS = [("yes", "Yes"), ("yes", "No"), ("no", "Yes"), ("no", "no"), ("no", "A cat"), ("yes", "Yes."), ("yes", "hm")]


def test_figures_are_those_of_a_count_by_hand() -> None:
    """Of the seven under strict: tp 2, fn 2 (one of them unread), fp 1, tn 1, one unread answer to a no."""
    found = pope.score([pope.judge(question(n, *row[:1]), row[1], "strict") for n, row in enumerate(ANSWERS)], "strict")
    assert found["accuracy"] == pytest.approx(3 / 7, abs=1e-6)
    assert found["precision"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["recall"] == pytest.approx(2 / 4)
    assert found["f1"] == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5), abs=1e-6)
    assert found["yes_ratio"] == pytest.approx(3 / 7, abs=1e-6)
    assert found["files"]["random.json"]["unparsed_count"] == 2
    official = pope.score(
        [pope.judge(question(n, *row[:1]), row[1], "official") for n, row in enumerate(ANSWERS)], "official"
    )
    assert official["yes_ratio"] == pytest.approx(5 / 7, abs=1e-6)
    assert official["accuracy"] == pytest.approx(4 / 7, abs=1e-6)


def test_the_mean_is_that_of_the_files_and_intervals_are_of_pictures() -> None:
    rows = []
    for picture in range(40):
        right = picture < 30
        for number in range(6):
            label = "yes" if number % 2 else "no"
            answer = label if right else {"yes": "no", "no": "yes"}[label]
            rows.append(pope.judge(question(6 * picture + number, label, "a.json", picture), answer, "official"))
            rows.append(pope.judge(question(6 * picture + number, label, "b.json", picture), label, "official"))
    found = pope.score(rows, "official")
    assert found["files"]["a.json"]["accuracy"] == 0.75
    assert found["files"]["b.json"]["intervals"]["accuracy"] == (1.0, 1.0)
    assert found["accuracy"] == pytest.approx((0.75 + 1) / 2)
    low, high = found["files"]["a.json"]["intervals"]["accuracy"]
    error = math.sqrt(0.75 * 0.25 / 40)  # of pictures: that of single questions would be less than half of it
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    low, high = found["intervals"]["accuracy"]
    assert high - low == pytest.approx(1.96 * error, rel=0.15)


def test_figures_of_nothing_are_none() -> None:
    found = pope.score([pope.judge(question(0, "no"), "no", "official")], "official")
    assert (found["precision"], found["recall"], found["accuracy"]) == (None, None, 1.0)


@pytest.mark.parametrize("label", ["maybe", "", None])
def test_a_question_without_truth_is_refused(label: Any) -> None:
    with pytest.raises(UsageError, match=r"random.json question 7: its label"):
        pope.label_of(Question("random.json", "7", "x.jpg", "?", {"label": label}))
