from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefgen.view.diff import CHANGED, GENERATED, SWAPPED, parts


def test_changed_words_with_the_spaces_between_them() -> None:
    chosen, rejected = parts("A red bowl stands.", "A blue old bowl stands.")
    assert chosen == [("A ", 0), ("red", CHANGED), (" bowl stands.", 0)]
    assert rejected == [("A ", 0), ("blue old", CHANGED), (" bowl stands.", 0)]


def test_generated_and_swapped_stretches() -> None:
    _, rejected = parts("No, it is.", "Yes, it is.", spans=[(4, 11)], swaps=[(0, 3)])
    assert rejected == [("Yes", CHANGED | SWAPPED), (",", 0), (" it is.", GENERATED)]


def test_offsets_outside_of_the_text_are_ignored() -> None:
    assert parts("a", "a", spans=[(-5, 1), (7, 9)], swaps=[(3, 2)])[1] == [("a", GENERATED)]


def test_very_long_answers_are_not_compared() -> None:
    long = "word " * 2000
    assert parts(long, "other") == ([(long, 0)], [("other", 0)])


@given(st.text(max_size=60), st.text(max_size=60), st.lists(st.tuples(st.integers(-3, 70), st.integers(-3, 70))))
def test_the_parts_join_to_the_answers(chosen: str, rejected: str, spans: list[tuple[int, int]]) -> None:
    for text, found in zip((chosen, rejected), parts(chosen, rejected, spans), strict=True):
        assert "".join(piece for piece, _ in found) == text
