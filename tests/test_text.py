import re

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from prefgen.linting.answers import BLUR
from prefgen.records import Span
from prefgen.text import (
    BOILERPLATE,
    REFUSAL,
    Cut,
    Pattern,
    cut_points,
    cut_sentence,
    full_stop_end,
    sentence_end,
    split_sentences,
    swap_yes_no,
)

ENGLISH = (
    'Dr. Smith paid 3.5 dollars, i.e. too much. He said "Hello there." Then he left!\n\n'
    "The list:\n- apples\n- pears, approx. 3.5 kg\n1. Red one\n2. Blue one.\n\n  The end (really.) Is it?"
)


def bodies(text: str, **options: str) -> list[str]:
    return [sentence.body for sentence in split_sentences(text, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("It costs 3.5 dollars. Dr. Smith paid.", "en", ["It costs 3.5 dollars.", "Dr. Smith paid."]),
        ('He said "Hello there." Then he left.', "en", ['He said "Hello there."', "Then he left."]),
        ("Things:\n- apples\n- pears\n\nDone.", "en", ["Things:", "- apples", "- pears", "Done."]),
        ("1. Red one.\n2. Blue one.", "en", ["1. Red one.", "2. Blue one."]),
        ("Pears, approx. 3.5 kg. Good.", "en", ["Pears, approx. 3.5 kg.", "Good."]),
        ("今天很好。我们走吧！你呢？", "zh", ["今天很好。", "我们走吧！", "你呢？"]),
        ("Das kostet z. B. 3,5 €. Am 3. Mai ging er.", "de", ["Das kostet z. B. 3,5 €.", "Am 3. Mai ging er."]),
        ("यह एक है। वह दो है।", "hi", ["यह एक है।", "वह दो है।"]),
    ],
)
def test_sentences_of_many_languages(text: str, language: str, expected: list[str]) -> None:
    assert bodies(text, language=language) == expected


def test_other_splitters_know_lines_or_nothing() -> None:
    assert bodies("One. Two.\nThree.", splitter="newline") == ["One. Two.", "Three."]
    assert bodies("One. Two.\nThree.", splitter="none") == ["One. Two.\nThree."]


def test_blank_text_has_no_sentence() -> None:
    assert split_sentences(" \n ") == ()


@given(
    st.text(alphabet=st.sampled_from('ab1. \n\t"()?!。、-3A是\r।é'), max_size=60),
    st.sampled_from(["sentencex", "newline"]),
)
@settings(max_examples=400)
def test_pieces_rejoin_to_the_input(text: str, splitter: str) -> None:
    sentences = split_sentences(text, splitter)  # type: ignore[arg-type]
    if text.strip():
        assert "".join(sentence.body + sentence.tail for sentence in sentences) == text
        assert all(text[s.start :].startswith(s.body) and s.body.strip() for s in sentences)


@given(st.text(max_size=80))
def test_any_text_rejoins(text: str) -> None:
    if text.strip():
        assert "".join(sentence.body + sentence.tail for sentence in split_sentences(text)) == text


def test_cuts_fall_at_word_boundaries_and_leave_a_word() -> None:
    assert [("The red cat."[:point], "The red cat."[point:]) for point in cut_points("The red cat.")] == [
        ("The", " red cat."),
        ("The red", " cat."),
    ]
    assert cut_points("Yes.") == ()
    assert cut_points("Hello !") == ()
    assert cut_points("- apples") == (1,)


def test_cuts_between_characters_where_no_spaces_are_written() -> None:
    assert cut_points("今天很好。") == (1, 2, 3)
    assert cut_points("एक दो है।") == (2, 5)


def test_every_cut_is_equally_likely() -> None:
    body = "One two three four."
    drawn = [cut_sentence(body, 0.0, (draw + 0.5) / 300).offset for draw in range(300)]
    assert {point: drawn.count(point) for point in cut_points(body)} == dict.fromkeys(cut_points(body), 100)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Yes, it is.", "No, it is."),
        ("no.", "yes."),
        ("YES!", "NO!"),
        ("\n No", "\n Yes"),
        ("Nothing is.", None),
        ("Noted.", None),
        ("Yesterday it rained.", None),
        ("No-one is there.", None),
        ("Not here.", None),
        ("Is it? Yes", None),
    ],
)
def test_yes_and_no_are_swapped_as_whole_words(body: str, expected: str | None) -> None:
    swapped = swap_yes_no(body)
    assert (swapped[0] if swapped else None) == expected


def test_the_printed_pattern_has_no_word_boundary() -> None:
    swapped = swap_yes_no("Nothing is.", literal=True)
    assert swapped == ("Yesthing is.", Span(0, 3))
    assert swap_yes_no("NO.", literal=True) is None


def test_as_printed_a_cut_is_anywhere() -> None:
    body = "No star is here."
    cuts = [cut_sentence(body, 0.0, draw / 64, literal=True) for draw in range(64)]
    assert {cut.prefix for cut in cuts} == {body[:at].rstrip() for at in range(len(body))}
    assert all(cut.offset == len(cut.prefix) for cut in cuts)
    assert {cut_sentence(body, 0.0, draw / 64).prefix for draw in range(64)} == {"No", "No star", "No star is"}
    swapped = [cut_sentence(body, 0.9, draw / 64, literal=True) for draw in range(64)]
    assert all(cut.prefix.startswith("Yes") for cut in swapped)
    assert {cut.prefix for cut in swapped} >= {"Yes", "Yes s", "Yes star is her", "Yes star is here"}


def test_a_swapped_word_survives_into_the_prefix() -> None:
    for draw in range(20):
        cut = cut_sentence("Yes, there is a star.", 0.5, draw / 20)
        assert cut.prefix.startswith("No,")
        assert cut.swap == Span(0, 2)
        assert "Yes, there is a star."[: cut.offset] == "Yes" + cut.prefix[2:]


def test_of_a_single_word_only_a_swapped_one_is_kept() -> None:
    assert cut_sentence("Yes.", 0.5, 0.9) == Cut("No", 3, Span(0, 2))
    assert cut_sentence("Yes.", 0.49, 0.9) == Cut("", 0)
    assert cut_sentence("Two.", 0.9, 0.9) == Cut("", 0)


@given(
    st.text(max_size=40).map(str.strip).filter(bool),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
)
def test_a_cut_keeps_a_true_beginning(body: str, swap_draw: float, cut_draw: float) -> None:
    cut = cut_sentence(body, swap_draw, cut_draw)
    if cut.swap is None:
        assert cut.prefix == body[: cut.offset]
    else:
        assert cut.prefix[cut.swap.end :] == body[len(body[: cut.offset]) - len(cut.prefix) + cut.swap.end : cut.offset]


def end_of(prefix: str, generated: str, *, final: bool = False) -> str | None:
    end = sentence_end(prefix + generated, 0, len(prefix), final=final)
    return None if end is None else (prefix + generated)[len(prefix) : end]


@pytest.mark.parametrize(
    ("prefix", "generated", "expected"),
    [
        ("The cat", " is big.", None),  # a digit could follow
        ("The cat", " is big. T", " is big."),
        ("It costs", " 3.", None),
        ("It costs", " 3.5 dollars. I", " 3.5 dollars."),
        ("He met", " Dr. Smith", None),
        ("He said", ' "Go." Then', ' "Go."'),
        ("The cat", " is big!\n\nThe dog", " is big!"),
        ("- a", "pple\n", "pple"),
        ("Mr. T. met", " a cat. It", " a cat."),
        ("他", "很好。我", "很好。"),
    ],
)
def test_a_sentence_ends_where_the_next_begins(prefix: str, generated: str, expected: str | None) -> None:
    assert end_of(prefix, generated) == expected


def test_the_end_of_the_text_ends_the_sentence() -> None:
    assert end_of("The cat", " is big", final=True) == " is big"
    assert end_of("The cat", " is 3.5 kg. It", final=True) == " is 3.5 kg."


def test_earlier_sentences_do_not_count() -> None:
    text = "A dog. A red cat"
    assert sentence_end(text + " sits. O", 7, len(text), final=False) == len(text + " sits.")


def test_the_printed_rule_stops_at_the_first_full_stop() -> None:
    assert full_stop_end("It costs 3.5 dollars.", len("It costs")) == len("It costs 3.")
    assert full_stop_end("A b. c", 4) is None


@pytest.mark.parametrize("pattern", [BOILERPLATE, REFUSAL, BLUR], ids=["boilerplate", "refusal", "blur"])
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_every_match_has_a_sign(pattern: Pattern, data: st.DataObject) -> None:
    """Texts are drawn from the pattern itself."""
    matching = st.from_regex(re.compile(pattern.pattern, re.IGNORECASE), alphabet=st.characters(max_codepoint=0x2FFF))
    text = data.draw(matching)
    assert bool(pattern.search(text)) == bool(regex.search(pattern.pattern, text, regex.IGNORECASE))
