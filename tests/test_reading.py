"""Replies as servers give them: whatever is around the answer is taken off, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefgen import reading
from prefgen.methods.verdicts import Verdict, read_verdict

KEYS = frozenset({"answer", "changes"})
VALUE = {"changes": [{"kind": "count", "before": "two", "after": "three"}], "answer": "Three {dogs} sleep."}
TAGS = ("think", "thinking", "THINK", "reasoning", "thought", "analysis", "seed:think")
PROSE = st.sampled_from(["", "Here is the object:", "Sure! I will do that.\n", "Done, as asked {roughly}: "])
THOUGHT = st.sampled_from(
    ["", "Let me see.", 'A draft: {"answer": "x"} …', "Two < three > one.\n\n", 'like {"answer": ']
)


@st.composite
def wrapped(draw: st.DrawFn) -> str:
    text = json.dumps(VALUE, indent=draw(st.sampled_from([None, 2])))
    if draw(st.booleans()):
        text = f"```{draw(st.sampled_from(['', 'json', 'JSON']))}\n{text}\n```"
    text = draw(PROSE) + text + draw(st.sampled_from(["", "\n\nI hope that this helps.", "\n"]))
    if draw(st.booleans()):
        text = f"<answer>{text}</answer>"
    for _ in range(draw(st.integers(0, 2))):
        tag = draw(st.sampled_from(TAGS))
        text = f"<{tag}>\n{draw(THOUGHT)}\n</{tag}>\n\n{text}"
    if draw(st.booleans()):
        text = f"{draw(THOUGHT.filter(lambda thought: '{' not in thought))}</think>{text}"
    return text + draw(st.sampled_from(["", "<|im_end|>", "</s>"]))


@given(wrapped())
def test_the_object_is_found_in_any_wrapping(reply: str) -> None:
    found = reading.json_object(reply, KEYS)
    assert found is not None
    assert found[0] == VALUE


@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    reading.answer(text)
    reading.json_object(text, KEYS)
    read_verdict(text)


@pytest.mark.parametrize(
    ("reply", "answer", "how"),
    [
        ("Plain.", "Plain.", ()),
        ("<think>a</think>Two.", "Two.", ("reasoning",)),
        ("<think>a <think>b</think> c</think> Two.", "Two.", ("reasoning",)),
        ("a</think>Two.", "Two.", ("reasoning",)),
        ("[THINK]a[/THINK]Two.", "Two.", ("reasoning",)),
        ("◁think▷a◁/think▷Two.", "Two.", ("reasoning",)),
        ("<think>never ends", "", ("unclosed-reasoning",)),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Two.",
            "Two.",
            ("channel",),
        ),
        ("<|channel|>analysis<|message|>a", "", ("channel", "unclosed-reasoning")),
        ("<|begin_of_box|>Two.<|end_of_box|>", "Two.", ("box",)),
        ("The sign says <think>.", "The sign says <think>.", ()),
    ],
)
def test_what_is_taken_off_is_recorded(reply: str, answer: str, how: tuple[str, ...]) -> None:
    read = reading.answer(reply)
    assert (read.text, read.how) == (answer, how)


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(VALUE) * 2,
        json.dumps(VALUE) + " or " + json.dumps({**VALUE, "answer": "Four."}),
        json.dumps(VALUE)[:-1],
        '{"wrong": NaN, "inside": ' + json.dumps(VALUE) + "}",
        f"<think>{json.dumps(VALUE)}</think> I do not know.",
        f"<think>{json.dumps(VALUE)} and on",
        json.dumps({"answer": "x"}),
    ],
)
def test_what_is_not_one_whole_answer_is_not_taken_for_one(reply: str) -> None:
    assert reading.json_object(reply, KEYS) is None


def test_an_object_ends_reasoning_that_was_never_closed() -> None:
    found = reading.json_object(f"<think>Let me see.\n{json.dumps(VALUE)}", KEYS)
    assert found == (VALUE, ("unclosed-reasoning",))


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("A", "first"),
        ("**B**", "second"),
        ("Response 2 is better", "second"),
        ("Response 1 is better because Response 2 invents a dog.", "first"),
        ("The second response is more accurate.", "second"),
        ("Answer A is worse.", "second"),
        ("I prefer Answer 1.", "first"),
        ("Answer A names a dog. Verdict: B", "second"),
        ("Better response: Response 2", "second"),
        ("The better answer is A.", "first"),
        ("[[B]]", "second"),
        ("<think>Response 1 is better?</think>Response 2 is better.", "second"),
        ('```json\n{"reason": "x", "verdict": "tie"}\n```', "tie"),
        ("It is a tie.", "tie"),
        ("I think the first one is more accurate.", "first"),
        ("The second answer contains fewer hallucinations.", "second"),
        ("The second response provides a more accurate description.", "second"),
        ("The first response contains more errors.", "second"),
        ("Response 2 wins.", "second"),
        ("Answer 1 should be preferred.", "first"),
        ("Better: 2", "second"),
        ("Preferred: A", "first"),
        ("I choose B", "second"),
        ("I'd go with Response 1.", "first"),
        ('{"better": 2}', "second"),
        ('{"reason": "x", "winner": "The second response"}', "second"),
        ("I choose a simple way to say it.", "unclear"),
        ("Better colours would help.", "unclear"),
        ("Response 2 has no more errors than Response 1.", "unclear"),
        ("Both responses are equally good.", "tie"),
        ("Response 1 is not better.", "unclear"),
        ("Response 1 is better. Response 2 is better.", "unclear"),
        ("A dog is in the picture.", "unclear"),
        ("I cannot tell.", "unclear"),
        ('{"reason": "x", "verdict": "maybe"}', "unclear"),
    ],
)
def test_verdicts_in_words(reply: str, verdict: Verdict) -> None:
    assert read_verdict(reply) == verdict
