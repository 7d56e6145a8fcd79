from __future__ import annotations

import pytest

from prefgen.linting.answers import AnswerKinds, Scripts, UnknownWords, YesNo, script
from tests.lint.rows import ask, row


def test_a_one_sided_yes() -> None:
    rows = [row(n, "Yes, it is.", "No, it is not.") for n in range(18)] + [row(n, "No.", "Yes.") for n in range(2)]
    finding = ask(YesNo(), rows)["yes-no"]
    assert (finding.level, finding.count) == ("warning", 20)
    assert "yes in 90% of 20 chosen" in finding.message
    assert "18 from yes to no, 2 from no to yes" in finding.message


def test_balanced_or_too_few_yes() -> None:
    rows = [row(n, *(("Yes.", "No.") if n % 2 else ("no", "yes"))) for n in range(40)]
    assert ask(YesNo(), rows)["yes-no"].level == "info"
    assert "too few" in ask(YesNo(), [row(0, "Yes.", "No."), row(1, "Nothing.", "Yesterday.")])["yes-no"].message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I'm sorry, but I cannot tell.", "refusals"),
        ("As an AI, no. I cannot see it.", "refusals"),
        ("It seems like your message is empty. How can I assist you today?", "refusals"),
        ("The image is blurry and pixelated.", "blur-talk"),
        ("There is random noise on it.", "blur-talk"),
        ("A cat.</s>", "tags"),
        ("ASSISTANT: a cat", "tags"),
        ("A cat <|im_end|>", "tags"),
        ("(hallucinated) A cat", "tags"),
        ("Rejected: a cat".lower(), "tags"),
    ],
)
def test_phrases_that_tell(text: str, kind: str) -> None:
    found = ask(AnswerKinds(), [row(0, "A cat.", text), row(1)])
    assert {name for name, finding in found.items() if finding.count} == {kind}
    assert found[kind].level == ("error" if kind == "tags" else "warning")


def test_plain_answers_hold_none_of_them() -> None:
    text = "A <b>sign</b> says 3 < 4; a noisy street, a user: none. He is sorry; the glass has a modified label."
    found = ask(AnswerKinds(), [row(0, text, text)])
    assert {finding.count for finding in found.values()} == {0}


def test_blur_on_both_sides_is_no_shortcut() -> None:
    assert ask(AnswerKinds(), [row(0, "It is blurry.", "It is blurred.")])["blur-talk"].level == "info"


def test_words_that_are_none() -> None:
    rows = [row(n, "A bowl stands on the table.", "A bowl stands on the tablorp.") for n in range(10)]
    finding = ask(UnknownWords(), rows)["unknown-words"]
    assert (finding.level, finding.count) == ("warning", 10)
    assert finding.share == pytest.approx(1 / 6)
    assert finding.examples[0].text == "tablorp"


def test_rare_words_are_natural_where_the_chosen_answers_have_as_many() -> None:
    rows = [row(n, f"It is word{'abcdefghij'[n]}x.", f"It is thing{'abcdefghij'[n]}x.") for n in range(10)]
    assert ask(UnknownWords(), rows)["unknown-words"].level == "info"


def test_words_of_later_rows_are_known() -> None:
    rows = [row(0, "A cat.", "A dog."), row(1, "A dog.", "A cat.")]
    assert ask(UnknownWords(), rows)["unknown-words"].count == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("plain", "Latin"),
        ("über", "Latin"),
        ("猫が椅子の上にいる", "Japanese"),
        ("一只猫", "Han"),
        ("кот", "Cyrillic"),
        ("42", ""),
    ],
)
def test_script_of_a_text(text: str, name: str) -> None:
    assert script(text) == name


def test_a_change_of_script() -> None:
    finding = ask(Scripts(), [row(0, "A cat.", "一只猫"), row(1, "A cat.", "7"), row(2)])["script"]
    assert (finding.level, finding.count) == ("warning", 1)
