"""Final answers as models write them: found, or left alone where more than one thing could be meant."""

from __future__ import annotations

import pytest

from prefgen.errors import UsageError
from prefgen.methods.final_answers import Final, FinalAnswers, Kind, contains

RULE = FinalAnswers()


@pytest.mark.parametrize(
    ("reference", "kind", "value"),
    [
        ("Yes, there is.", "yes-no", "yes"),
        ("no", "yes-no", "no"),
        ("(B)", "option", "B"),
        ("$1,234.50", "number", "2469/2"),
        (r"\frac{3}{4}", "number", "3/4"),
        ("twelve", "number", "12"),
        ("-3", "number", "-3"),
        ("Nothing at all", "text", "nothing at all"),
        ("The answer is: on the table by the window", "text", "on table by window"),
        ("A red car.", "text", "red car"),
        ("Two of them are parked. The answer is 2.", "number", "2"),
    ],
)
def test_a_reference_says_what_kind_of_answer_is_asked_for(reference: str, kind: Kind, value: str) -> None:
    assert RULE.of_reference(reference) == Final(kind, value)


def test_a_sentence_is_no_final_answer_unless_it_is_said_to_be() -> None:
    """It can be said otherwise and be as right: "in the top left corner", "at the top left"."""
    assert RULE.of_reference("There is one triangle.") is None
    assert FinalAnswers("number").of_reference("There is one triangle.") == Final("number", "1")
    assert FinalAnswers("text").of_reference("There is one ring.") == Final("text", "there is one ring")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("There are 3 cars and 2 vans. The answer is 5.", "number", "5"),
        ("First answer: 4. No: wait.\nFinal Answer: **7**", "number", "7"),
        (r"Thus \boxed{\frac{1}{2}}.", "number", "1/2"),
        ("There is one triangle.", "number", "1"),
        ("I count 12cm", "number", "12"),
        ("There are two of the three.", "number", None),
        ("At the top there is a red ring. I can see three purple squares, one below another.", "number", None),
        ("Ones and twenty-two", "number", None),
        ("3,5", "number", None),  # three and a half, or two numbers
        ("I think so. Final answer: no.", "yes-no", "no"),
        ("Nothing is there.", "yes-no", None),
        ("The final answer is\n\n**(C) a dog**", "option", "C"),
        ("B", "option", "B"),
        ("b.", "option", "B"),
        ("B. a dog", "option", "B"),
        ("A dog is there.", "option", None),
        ("The answer is red. It was painted.", "text", "red"),
        ("The Red", "text", "red"),
        ("It was painted last year, by hand, in a colour that I would call a deep red.", "text", None),
        ("<think>the answer is 4</think>The answer is 5.", "number", "5"),
        ("<think>the answer is 4", "number", None),
        ("", "text", None),
    ],
)
def test_a_final_answer_is_read_or_there_is_none(text: str, kind: Kind, value: str | None) -> None:
    assert RULE.read(text, kind) == (None if value is None else Final(kind, value))


def test_a_pattern_of_ones_own_is_read_where_it_last_matches() -> None:
    rule = FinalAnswers(pattern=r"<answer>(.*?)</answer>")
    assert rule.read("<answer>3</answer> or <answer>4</answer>; the answer is 5", "number") == Final("number", "4")
    for pattern in ("(", "answer: .*", "(a)(b)"):
        with pytest.raises(UsageError, match="--answer-pattern"):
            FinalAnswers(pattern=pattern)


def test_numbers_may_be_off_by_a_share_of_the_reference() -> None:
    close, reference = Final("number", "97"), Final("number", "100")
    assert not RULE.agree(close, reference)
    assert FinalAnswers(tolerance=0.03).agree(close, reference)
    assert not FinalAnswers(tolerance=0.02).agree(close, reference)
    assert RULE.agree(Final("number", "1/2"), RULE.read("0.50", "number") or close)


def test_a_text_contains_whole_words_of_another() -> None:
    assert contains(Final("text", "black cat there"), Final("text", "cat"))
    assert not contains(Final("text", "cattle"), Final("text", "cat"))
    assert not contains(Final("number", "13"), Final("number", "3"))
