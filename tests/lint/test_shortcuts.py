from __future__ import annotations

import random

import numpy as np
import pytest

from prefgen.linting.shortcuts import Detectability, LengthBias, auc, separate
from tests.lint.rows import ask, row

WORDS = [f"{first}{second}" for first in "bcdfglmnprst" for second in ("ad", "en", "ilo", "or")]


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(12))


def test_length_that_tells() -> None:
    finding = ask(LengthBias(), [row(n, "one two three " * (n % 3 + 1), "one two") for n in range(30)])["length-bias"]
    assert finding.level == "warning"
    assert "right in 100.0%" in finding.message
    assert finding.count == 30
    assert finding.examples[0].text == "3 words chosen, 2 rejected"


def test_cohens_d_is_that_of_the_textbook() -> None:
    chosen, rejected = [4, 6, 8], [5, 9, 13]
    rows = [row(n, "w " * c, "w " * r) for n, (c, r) in enumerate(zip(chosen, rejected, strict=True))]
    pooled = ((np.var(chosen) + np.var(rejected)) / 2) ** 0.5
    assert f"d {(9 - 6) / pooled:+.2f}" in ask(LengthBias(), rows)["length-bias"].message


def test_equal_lengths_tell_nothing() -> None:
    finding = ask(LengthBias(), [row(n) for n in range(10)])["length-bias"]
    assert (finding.level, finding.advice) == ("info", "")
    assert "right in 50.0%" in finding.message


def test_words_that_tell_are_found_and_named() -> None:
    rng = random.Random(1)
    rows = [row(n, sentence(rng), f"{sentence(rng)} fabricated") for n in range(200)]
    finding = ask(Detectability(), rows)["detectable"]
    assert finding.level == "warning"
    assert "“fabricated”" in finding.message.partition("; chosen:")[0]
    assert len(finding.examples) == 3


def test_answers_of_one_kind_cannot_be_told_apart() -> None:
    rng = random.Random(2)
    finding = ask(Detectability(), [row(n, sentence(rng), sentence(rng)) for n in range(300)])["detectable"]
    assert finding.level == "info"
    found = separate([(sentence(rng), sentence(rng)) for _ in range(300)])
    assert found is not None
    assert found.low < 0.5 < found.high


def test_an_answer_that_comes_again_does_not_leak_between_folds() -> None:
    """Each chosen answer stands in ten pairs: who knows the answer knows the label, unless folds keep them together."""
    rng = random.Random(3)
    chosen = [sentence(rng) for _ in range(40)]
    found = separate([(chosen[n % 40], sentence(rng)) for n in range(400)])
    assert found is not None
    assert found.auc < 0.65


def test_the_sample_does_not_depend_on_the_order_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefgen.linting.thresholds.CLASSIFIER_PAIRS", 120)
    rng = random.Random(4)
    rows = [row(n, sentence(rng), sentence(rng)) for n in range(400)]
    assert ask(Detectability(), rows) == ask(Detectability(), rows[::-1])


@pytest.mark.parametrize("rows", [99, 0])
def test_too_few_pairs_for_a_classifier(rows: int) -> None:
    assert separate([("a b", "c d")] * rows) is None
    assert separate([("same", f"c {n}") for n in range(200)]) is None  # one group only
    assert separate([(f"u{n}", f"v{n}") for n in range(200)]) is None  # no word comes twice


def test_auc_counts_ties_one_half() -> None:
    assert auc(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == 0.875
