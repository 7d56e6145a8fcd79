"""Where two answers differ, by the record and by a diff."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefgen.records import Span
from prefgen.training.spans import found, recorded


def test_recorded_spans_name_what_stood_in_their_places() -> None:
    chosen = "A red star. It is small. Nothing else."
    rejected = "A red bar here. It is big. Nothing else."
    stretches = recorded(chosen, rejected, [Span(6, 15), Span(22, 26), Span(35, 40)], [6, 18, 33])
    assert stretches is not None
    old, new = (
        [text[span.start : span.end] for span in side] for text, side in zip((chosen, rejected), stretches, strict=True)
    )
    assert old == ["star.", "small."]  # the third stretch was written as it stood
    assert new == ["bar here.", "big."]


def test_an_unguided_answer_differs_throughout() -> None:
    assert recorded("One.", "Another.", [Span(0, 8)], []) == ((Span(0, 4),), (Span(0, 8),))


def test_a_record_that_does_not_explain_the_difference_is_no_record() -> None:
    assert recorded("Yes, it is.", "No, it was.", [Span(7, 11)], [8]) is None  # a swapped yes stands before the cut
    assert recorded("One.", "Two.", [], []) is None
    assert recorded("One. Two.", "One. Six.", [Span(0, 4), Span(5, 9)], [5]) is None


TOKENS = st.lists(st.integers(0, 3), max_size=12)


@given(TOKENS, TOKENS)
def test_outside_the_stretches_of_a_diff_nothing_differs(chosen: list[int], rejected: list[int]) -> None:
    old, new = found(chosen, rejected)

    def kept(tokens: list[int], spans: tuple[Span, ...]) -> list[int]:
        inside = {place for span in spans for place in range(span.start, span.end)}
        return [token for place, token in enumerate(tokens) if place not in inside]

    assert kept(chosen, old) == kept(rejected, new)
    assert bool(old) == (chosen != rejected)
