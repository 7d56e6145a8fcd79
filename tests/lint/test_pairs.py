from __future__ import annotations

import pytest

from prefgen.linting.pairs import EditSize, Identical, Similarity, edit_share
from tests.lint.rows import ask, row


def test_equal_nearly_equal_and_equal_when_cut() -> None:
    long = "The same words. " * 10
    found = ask(
        Identical(100),
        [
            row(0, "A bowl.", " A bowl. "),
            row(1, "A bowl.", "a  bowl"),
            row(2, long + "A bowl.", long + "A car."),
            row(3, "A bowl.", "A car."),
        ],
    )
    assert {name: (finding.level, finding.count) for name, finding in found.items()} == {
        "identical": ("error", 1),
        "near-identical": ("warning", 1),
        "identical-when-cut": ("warning", 1),
    }
    assert found["identical"].examples[0].row == f"{0:016x}"
    assert found["identical"].share == 0.25


def test_nothing_found_is_a_figure_without_advice() -> None:
    (finding,) = (found for found in ask(Identical(100), [row()]).values() if found.check == "identical")
    assert (finding.level, finding.count, finding.advice, finding.examples) == ("info", 0, "", ())


def test_similar_pairs_by_flag_or_by_figure() -> None:
    rows = [row(0, flags=("similar",)), row(1, similarity=0.98), row(2), row(3, similarity=None)]
    finding = ask(Similarity(), rows)["similarity"]
    assert (finding.level, finding.count) == ("warning", 2)
    assert "median 0.50" in finding.message
    assert ask(Similarity(), [row(similarity=None)])["similarity"].message == "no similarity is recorded"


@pytest.mark.parametrize(
    ("chosen", "rejected", "spans", "share"),
    [
        ("one two three four", "one two three five", (), 0.25),
        ("one two", "three four", (), 1.0),
        ("one", "", (), 0.0),
        ("whatever", "0123456789", ((2, 4), (5, 8)), 0.5),
    ],
)
def test_share_of_the_rejected_answer_that_is_new(
    chosen: str, rejected: str, spans: tuple[tuple[int, int], ...], share: float
) -> None:
    assert edit_share(chosen, rejected, spans) == share


def test_edit_size_says_how_it_was_measured() -> None:
    assert "by recorded spans" in ask(EditSize(), [row(spans=((0, 3),))])["edit-size"].message
    mixed = ask(EditSize(), [row(spans=((0, 3),)), row()])["edit-size"].message
    assert "spans of 1 rows, a word diff elsewhere" in mixed
