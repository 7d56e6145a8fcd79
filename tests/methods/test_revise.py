"""Revision against canned replies: no network, no model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.methods import prompts
from prefgen.methods.revise import Revise, changed
from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Span, Turn
from prefgen.requests import Chat, Completion, Finish, Generate, Message
from prefgen.training import spans

ANSWER = "Two dogs sleep on a red sofa. A lamp stands behind them. The room is calm."
METHOD = Revise(prompts.load("revise"))
TEXT = Revise(prompts.load("revise-text"), reply="text")
GIVEN = replace(METHOD, answers="input")


def sample(answer: str | None = "Three dogs on a sofa.") -> Sample:
    prompt = (Turn("user", (Slot.IMAGE, "What do you see?")),)
    return Sample("s1", prompt, (Image(b"\x89PNG", "x.png", 2, 2),), answer, "test", "row 1")


def named(*repairs: tuple[int, str], kind: str = "count", **more: object) -> Message:
    listed = [{"number": number, "kind": kind, "problem": "why", "revised": text} for number, text in repairs]
    return said(json.dumps({"sentences": listed, **more}))


def said(text: str, finish: str = "stop") -> Message:
    return Message(text, finish, 20, 100)


def run(
    method: Revise, *messages: Message, answer: str = ANSWER, finish: Finish = "eos", of: Sample | None = None
) -> tuple[Outcome, list[Any]]:
    """The outcome and what was asked."""
    flow, replies, asked = method(of or sample()), iter(messages), list[Any]()
    try:
        requests = next(flow)
        while True:
            asked += requests
            made = (
                Completion(f" {answer}", finish, 15, 64, 64) if isinstance(request, Generate) else next(replies)
                for request in requests
            )
            requests = flow.send(tuple(made))
    except StopIteration as done:
        outcome: Outcome = done.value
        return outcome, asked


def pair(outcome: Outcome) -> Pair:
    assert isinstance(outcome, Pair), outcome
    return outcome


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Dropped), outcome
    return outcome.reason


def test_the_policys_answer_is_rejected_and_its_repair_chosen() -> None:
    outcome, (answered, asked) = run(METHOD, named((1, "Three dogs sleep on a red sofa.")))
    made = pair(outcome)
    assert made.rejected == ANSWER
    assert made.chosen == ANSWER.replace("Two", "Three")
    assert (made.variant, made.authors, made.iteration, made.tokens) == ("policy", (None, 0), 1, 35)
    assert made.flags == ("kind-count",)
    (repair,) = made.record["repairs"]
    assert (repair["before"], repair["problem"]) == ("Two dogs sleep on a red sofa.", "why")
    assert (answered.sampling.temperature, answered.sampling.top_p, answered.sampling.max_new_tokens) == (1, 0.95, 896)
    assert asked.sampling.temperature == 0


def test_the_judge_sees_the_picture_the_reference_and_numbered_sentences() -> None:
    _, (_, asked) = run(METHOD, named())
    assert isinstance(asked, Chat)
    assert len(asked.images) == 1
    shown = asked.turns[-1]
    assert shown.parts[0] is Slot.IMAGE
    for expected in (
        "[1] Two dogs sleep on a red sofa.\n[2] A lamp",
        "Three dogs on a sofa.",
        "question\nWhat do you see?",
    ):
        assert expected in shown.text
    assert "[1]" not in asked.plain[-1].text
    assert ANSWER in asked.plain[-1].text
    _, (_, without) = run(replace(METHOD, reference=False), named())
    assert "Three dogs on a sofa." not in without.turns[-1].text


def test_the_loss_looks_at_what_was_repaired() -> None:
    outcome, _ = run(METHOD, named((1, "Three dogs sleep on a blue sofa."), (2, "A tall lamp stands behind them.")))
    made = pair(outcome)
    stretches = spans.recorded(made.chosen, made.rejected, made.spans, made.cuts)
    assert stretches is not None
    sides = zip((made.chosen, made.rejected), stretches, strict=True)
    chosen, rejected = ([text[span.start : span.end].strip() for span in side] for text, side in sides)
    assert chosen == ["Three", "blue", "tall"]
    assert rejected == ["Two", "red", ""]


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("No, there is no dog.", "Yes, there is a dog."),
        ("A cat.\n\nA mat.", "A cat.\n\nA dog.\n\nA mat."),
        ("A.", "A. B."),
        ("B.", "A. B."),
        ("x y", "x y z w"),
        ("", "a b"),
        ("一隻貓。", "兩隻貓。"),
    ],
)
def test_stretches_explain_every_difference(chosen: str, rejected: str) -> None:
    cuts, generated = changed(chosen, rejected)
    stretches = spans.recorded(chosen, rejected, generated, cuts)
    assert stretches is not None
    kept = []
    for text, side in zip((chosen, rejected), stretches, strict=True):
        at, pieces = 0, []
        for span in side:
            pieces.append(text[at : span.start])
            at = span.end
        kept.append("".join([*pieces, text[at:]]))
    assert kept[0] == kept[1]


def test_added_words_leave_an_empty_stretch() -> None:
    assert changed("a big dog", "a dog") == ((1,), (Span(1, 1),))


def test_a_sentence_may_be_left_out() -> None:
    outcome, _ = run(METHOD, named((2, ""), kind="object"))
    made = pair(outcome)
    assert made.chosen == "Two dogs sleep on a red sofa. The room is calm."
    assert made.flags == ("kind-object", "sentence-removed")


def test_white_space_between_sentences_stays() -> None:
    listed = "I see:\n\n- two cats.\n- a mat.\n\nThat is all."
    outcome, _ = run(METHOD, named((2, "- three cats.")), answer=listed)
    assert pair(outcome).chosen == listed.replace("two", "three")


@pytest.mark.parametrize(
    "reply", [named(), named((1, "Two dogs sleep on a red sofa.")), named((3, "The room is calm"))]
)
def test_an_answer_without_an_error_makes_no_pair_and_is_not_asked_about_again(reply: Message) -> None:
    outcome, asked = run(METHOD, reply)
    assert reason(outcome) == "ANSWER_UNREVISED"
    assert outcome.tokens == 35
    assert len(asked) == 2


NEW = "I see many people at a market, who buy bread and fish and sing loudly."


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (named((1, NEW)), "REWRITTEN"),
        (named((1, ""), (2, ""), (3, "")), "EMPTY"),
        (named((2, "Two dogs sleep on a red sofa.")), "REPEATS"),
        (named((9, "A cat.")), "SCHEMA"),
        (named((1, "Three dogs sleep."), (1, "Four dogs sleep.")), "SCHEMA"),
        (named((1, "Three dogs."), kind="mood"), "SCHEMA"),
        (said('{"sentences": [{"number": "1"}]}'), "SCHEMA"),
        (said('{"sentences": 3}'), "SCHEMA"),
        (said("Three dogs sleep."), "SCHEMA"),
        (named((1, "Three dogs (not actually two) sleep on a red sofa.")), "GIVEAWAY"),
        (said("", "length"), "TRUNCATED"),
    ],
)
def test_replies_that_fail_a_check_are_asked_for_again(reply: Message, why: str) -> None:
    good = named((1, "Three dogs sleep on a red sofa."))
    outcome, (_, first, second) = run(METHOD, reply, good)
    assert pair(outcome).iteration == 2
    assert f"REPLY_{why}" in second.after
    assert second.seed != first.seed
    assert second.sampling.temperature == 1.0
    assert second.sampling.max_new_tokens == (2 if why == "TRUNCATED" else 1) * first.sampling.max_new_tokens
    dropped, asked = run(METHOD, reply, reply, reply)
    assert reason(dropped) == f"REPLY_{why}"
    assert len(asked) == 4


def test_a_refusal_is_asked_once() -> None:
    outcome, asked = run(METHOD, said("I'm sorry, I can't help with that."))
    assert reason(outcome) == "REPLY_REFUSAL"
    assert len(asked) == 2


def test_a_short_answer_may_be_exchanged_as_a_whole() -> None:
    outcome, _ = run(METHOD, named((1, "No.")), answer="Yes.")
    assert pair(outcome).chosen == "No."


@pytest.mark.parametrize(
    ("answer", "finish", "why"),
    [
        ("A dog. A cat. A dog.", "eos", "ANSWER_REPEATS"),
        ("", "eos", "REJECTED_EMPTY"),
        ("a dog and a cat and a", "length", "REJECTED_EMPTY"),
        ("I'm sorry, but I cannot view images.", "eos", "ANSWER_REFUSES"),
    ],
)
def test_the_judge_is_not_asked_about_answers_that_are_none(answer: str, finish: Finish, why: str) -> None:
    outcome, asked = run(METHOD, answer=answer, finish=finish)
    assert reason(outcome) == why
    assert [type(request) for request in asked] == [Generate]


def test_an_answer_that_is_cut_off_ends_with_a_whole_sentence() -> None:
    outcome, _ = run(
        METHOD, named((1, "Three dogs sleep.")), answer="Two dogs sleep. A lamp stands beh", finish="length"
    )
    made = pair(outcome)
    assert (made.chosen, made.rejected) == ("Three dogs sleep.", "Two dogs sleep.")


def test_answers_may_be_given() -> None:
    outcome, asked = run(GIVEN, named((1, "Three cats.")), of=sample("Two cats. A mat."))
    made = pair(outcome)
    assert (made.chosen, made.rejected) == ("Three cats. A mat.", "Two cats. A mat.")
    assert [type(request) for request in asked] == [Chat]
    assert GIVEN.asks == (Chat,)
    assert "Two cats" not in asked[0].turns[-1].text.partition("reference answer")[2].partition("---")[0]
    assert reason(run(GIVEN, of=sample(None))[0]) == "ANSWER_EMPTY"


def test_the_whole_answer_may_be_the_reply() -> None:
    outcome, (_, asked) = run(TEXT, said(ANSWER.replace("Two", "Three")))
    assert pair(outcome).chosen == ANSWER.replace("Two", "Three")
    assert asked.schema == ""
    assert "[1]" not in asked.turns[-1].text
    assert reason(run(TEXT, said(f"{ANSWER}\n"))[0]) == "ANSWER_UNREVISED"


def test_a_judge_that_gives_no_json_answers_in_plain_text() -> None:
    outcome, _ = run(METHOD, replace(said(ANSWER.replace("lamp", "plant")), how=("plain",)))
    made = pair(outcome)
    assert made.chosen == ANSWER.replace("lamp", "plant")
    assert made.record == {"repairs": [], "reply_read": ["plain"]}


@pytest.mark.parametrize("places", ["$question", "$question $answer $who", "$question $answer\n=== assistant ===\nx"])
def test_prompts_that_cannot_be_used_are_refused(places: str) -> None:
    with pytest.raises(UsageError, match="prompt own"):
        Revise(prompts.Template("own", f"=== user ===\n{places}"))
