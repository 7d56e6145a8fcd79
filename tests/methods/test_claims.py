"""Claims against canned lists and probabilities; p(yes) against the stock model of the scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from prefgen import images
from prefgen.driver import drive
from prefgen.engines import build
from prefgen.engines.base import Engine, EngineConfig
from prefgen.engines.fake import FakeEngine
from prefgen.errors import UsageError
from prefgen.methods import prompts
from prefgen.methods.claims import Claim, by_lines, by_sentences
from prefgen.methods.prompts import Template
from prefgen.methods.rank import Rank
from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Turn
from prefgen.requests import (
    Annotate,
    AnnotatorScore,
    Chat,
    Completion,
    Finish,
    Generate,
    Message,
    Reply,
    Request,
    Score,
    Scored,
)

SCENES = Path(__file__).parents[2] / "examples" / "scenes"
METHOD = Rank(prompts.load("claims"), by="claims", candidates=3)
LISTS = {
    "A dog by a car.": "1. There is a dog. | Is there a dog?\n2. There is a car. | Is there a car?",
    "A cat by a car.": "- There is a cat. | Is there a cat?\n- There is a car. | Is there a car?",
    "A dog.": "There is a dog. | Is there a dog?",
    "Lovely!": "None.",
    "Two cats.": "There is a cat. | Is there a cat?\nThere are two cats. | Are there two cats?",
}
P_YES = {"Is there a dog?": 0.9, "Is there a car?": 0.8, "Is there a cat?": 0.2, "Are there two cats?": 0.1}


def sample(picture: bytes = b"\x89PNG") -> Sample:
    prompt = (Turn("user", (Slot.IMAGE, "What is there?")),)
    return Sample("s1", prompt, (Image(picture, "x.png", 2, 2),), "A dog by a car.", "test", "row 1")


class Scripted:
    """Gives answers in order, lists their claims, and knows the probability of "Yes"."""

    def __init__(
        self, answers: list[str], lists: Callable[[str], str] = LISTS.__getitem__, finish: Finish = "eos"
    ) -> None:
        self._answers = iter(answers)
        self._lists = lists
        self._finish = finish
        self._pending: list[tuple[int, Request]] = []
        self.asked: list[Request] = []

    def submit(self, ticket: int, request: Request) -> None:
        self._pending.append((ticket, request))
        self.asked.append(request)

    def collect(self) -> list[tuple[int, Reply]]:
        pending, self._pending = self._pending, []
        return [(ticket, self._reply(request)) for ticket, request in pending]

    def _reply(self, request: Request) -> Reply:
        if isinstance(request, Annotate | Chat):
            turns = request.prompt if isinstance(request, Annotate) else request.turns
            told = self._lists(turns[-1].text.split(" answer\n")[-1].split("\n---")[0])
            if isinstance(request, Chat):
                return Message(told, "stop", 9, 99)
            return Completion(" " + told, self._finish, 9, 0, 0)
        if isinstance(request, Score):
            p_yes = P_YES[request.prompt[-1].text.removesuffix(" Please answer yes or no.")]
            return told_p(p_yes if request.answer == "Yes" else 1 - p_yes)
        assert isinstance(request, Generate)
        return Completion(" " + next(self._answers), "eos", 5, 64, 64)


def told_p(p: float) -> Scored:
    logps = (float(torch.tensor(p / 2).log()),)  # "Yes" and "No" have half of the probability
    return Scored((7,), logps, (7, 7), "", "", 64, 64)


def run(method: Rank, engine: Scripted) -> Outcome:
    engines: dict[type[Request], Engine] = dict.fromkeys((*method.asks,), engine)  # type: ignore[arg-type]
    ((_, found),) = drive([sample()], method, engines)
    assert not isinstance(found, list)
    return found


@pytest.mark.parametrize("split", ["annotator", "api"])
def test_the_answer_with_fewer_rejected_claims_is_chosen(split: str) -> None:
    engine = Scripted(["A dog by a car.", "Two cats.", "A cat by a car."])
    pair = run(replace(METHOD, claims_from=split), engine)  # type: ignore[arg-type]
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected, pair.variant) == ("A dog by a car.", "Two cats.", "claims")
    assert pair.params["scores"] == [0.0, -2.0]
    right = {"text": "There is a dog.", "question": "Is there a dog?", "expects": "yes", "p_yes": 0.9, "holds": True}
    assert pair.record["claims"]["chosen"][0] == right
    assert [claim["holds"] for claim in pair.record["claims"]["rejected"]] == [False, False]
    splits = [request for request in engine.asked if isinstance(request, Annotate | Chat)]
    assert [type(request) for request in splits] == [Annotate if split == "annotator" else Chat] * 3
    assert not any(request.images for request in splits)  # splitting needs no picture
    checks = [request for request in engine.asked if isinstance(request, AnnotatorScore)]
    assert len(checks) == 2 * len(P_YES)  # a question that several answers raise is asked once
    assert all(len(request.images) == 1 for request in checks)


def test_shares_do_not_favour_answers_that_say_little() -> None:
    answers = ["A cat by a car.", "Two cats.", "A dog."]
    assert run(METHOD, Scripted(answers)).params["scores"] == [0.0, -2.0]  # type: ignore[union-attr]
    shares = run(replace(METHOD, claim_score="share", chosen="reference"), Scripted(answers))
    assert isinstance(shares, Pair)
    assert shares.params["scores"] == [1.0, 0.0]
    assert (shares.chosen, [*shares.record["claims"]]) == ("A dog by a car.", ["rejected"])  # it was not checked


@pytest.mark.parametrize(
    ("score", "penalty", "scores"),
    [("balance", 1.0, [0.0, -2.0, 1.0]), ("balance", 0.5, [0.5, -1.0, 1.0]), ("rejected", 1.0, [-1.0, -2.0, 0.0])],
)
def test_a_balance_weighs_claims_that_hold_against_those_that_do_not(
    score: str, penalty: float, scores: list[float]
) -> None:
    method = replace(METHOD, claim_score=score, claim_penalty=penalty)  # type: ignore[arg-type]
    pair = run(method, Scripted(["A cat by a car.", "Two cats.", "A dog."]))
    assert isinstance(pair, Pair)
    assert pair.params["scores"] == [scores[2], scores[1]]
    assert (pair.chosen, pair.rejected) == ("A dog.", "Two cats.")
    said_little = run(method, Scripted(["A cat by a car.", "A dog.", "A dog by a car."]))
    assert isinstance(said_little, Pair)
    assert said_little.chosen == ("A dog by a car." if score == "balance" else "A dog.")


def test_scores_must_be_further_apart_than_the_margin() -> None:
    answers = ["A dog by a car.", "Two cats.", "A cat by a car."]
    assert isinstance(run(replace(METHOD, min_margin=1.0), Scripted(answers)), Pair)
    dropped = run(replace(METHOD, min_margin=2.0), Scripted(answers))
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.detail) == ("ANSWER_TIE", "scores from -2.000 to 0.000")


def test_an_answer_without_claims_is_neither_chosen_nor_rejected() -> None:
    pair = run(METHOD, Scripted(["Lovely!", "Two cats.", "A cat by a car."]))
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected) == ("A cat by a car.", "Two cats.")
    for lists in (LISTS.__getitem__, lambda _: "I'm sorry, I cannot help with that."):
        dropped = run(METHOD, Scripted(["Lovely!", "Two cats.", "Lovely!"], lists))
        assert isinstance(dropped, Dropped)
        assert dropped.reason == "ANSWER_NO_CLAIMS"


def test_a_list_that_was_cut_off_keeps_its_complete_lines() -> None:
    pair = run(METHOD, Scripted(["A dog by a car.", "Two cats.", "A cat by a car."], finish="length"))
    assert isinstance(pair, Pair)
    assert {side: [claim["text"] for claim in claims] for side, claims in pair.record["claims"].items()} == {
        "chosen": ["There is a dog."],
        "rejected": ["There is a cat."],
    }


def test_lists_are_read_with_bullets_headings_and_missing_questions() -> None:
    text = "Here it is:\n\n1. A man waves. | Does a man wave?\n* The sky is blue.\n(3) A man waves. | Does a man wave?"
    assert by_lines(text) == [
        Claim("A man waves.", "Does a man wave?"),
        Claim("The sky is blue.", "Is it true that the sky is blue?"),
    ]
    assert by_lines("12 boats are there. | Are there 12 boats?") == [
        Claim("12 boats are there.", "Are there 12 boats?")
    ]
    assert by_lines("none") == by_lines("None.") == by_lines("---\n") == []


@pytest.mark.parametrize(
    ("sentence", "question", "expects"),
    [
        ("There are two dogs on the lawn.", "Are there two dogs on the lawn?", "yes"),
        ("There is no dog.", "Is there a dog?", "no"),
        ("No, there are no dogs here.", "Are there any dogs here?", "no"),
        ("There isn't much to see.", "Is it true that there isn't much to see?", "yes"),
        ("The picture also shows an apple.", "Does the picture show an apple?", "yes"),
        ("I can see a boat!", "Can you see a boat?", "yes"),
        ("A boat can be seen behind it.", "Can a boat be seen behind it?", "yes"),
        ("Paris is a city.", "Is it true that Paris is a city?", "yes"),
        ("Yes.", "What is there?", "yes"),
        ("No!", "What is there?", "no"),
    ],
)
def test_sentences_become_questions(sentence: str, question: str, expects: str) -> None:
    (claim,) = by_sentences(sentence, "What is there?")
    assert (claim.question, claim.expects) == (question, expects)


def test_questions_and_rules_of_an_answer_are_no_claims() -> None:
    assert by_sentences("Is it big? ***\nYes, it is big.", "?") == [Claim("it is big.", "Is it true that it is big?")]


def test_a_denial_holds_where_no_is_likelier() -> None:
    method = replace(METHOD, claims_from="sentences", candidates=2)
    pair = run(method, Scripted(["There is no dog.", "There is no cat."]))
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected) == ("There is no cat.", "There is no dog.")


def test_a_prompt_must_show_the_answer() -> None:
    with pytest.raises(UsageError, match=r"lacks \$answer"):
        replace(METHOD, prompt=Template("own.txt", "=== user ===\n$question"))


def test_the_fake_engine_splits_and_checks() -> None:
    fake = FakeEngine()
    ((_, pair),) = drive([sample()], METHOD, dict.fromkeys(METHOD.asks, fake))
    assert isinstance(pair, Pair)
    assert 0 < pair.record["claims"]["chosen"][0]["p_yes"] < 1


def test_the_annotator_is_another_model_and_else_the_policy() -> None:
    config = EngineConfig(str(SCENES / "model"), device="cpu")
    engines = build.build(config, METHOD.asks)
    assert engines[AnnotatorScore] is engines[Annotate] is engines[Generate]
    assert build.identify(replace(config, annotator=config.model), (AnnotatorScore, Generate)).annotator_revision
    with pytest.raises(UsageError, match="--engine transformers"):
        build.identify(replace(config, engine="vllm"), (AnnotatorScore, Generate))


def test_p_yes_is_that_of_the_stock_model() -> None:
    names = [row["image"] for row in json.loads((SCENES / "llava_instruct.json").read_bytes())[:3]]
    asked = [f"Is there a {kind} in the image?" for kind in ("cup", "dog", "sofa")]
    engine = build.build(EngineConfig(str(SCENES / "model"), device="cpu"), (AnnotatorScore, Generate))[AnnotatorScore]
    processor = AutoProcessor.from_pretrained(SCENES / "model")
    model = AutoModelForImageTextToText.from_pretrained(SCENES / "model").eval()
    yes, no = (processor.tokenizer.encode(word, add_special_tokens=False)[-1] for word in (" Yes", " No"))
    method = replace(METHOD, claim_suffix="", claims_from="sentences")
    for name in names:
        of = sample((SCENES / "images" / name).read_bytes())
        found = checked(method, engine, of, [f"There is a {question.split()[3]} in the image." for question in asked])
        for question, p_yes in zip(asked, found, strict=True):
            text = f"USER: <image>\n{question} ASSISTANT:"
            inputs = processor(text=text, images=images.decode(of.loaded_images[0]), return_tensors="pt")
            with torch.inference_mode():
                two = model(**inputs).logits[0, -1, [yes, no]].double().softmax(-1)
            assert p_yes == pytest.approx(two[0].item(), abs=1e-4)


def checked(method: Rank, engine: Engine, of: Sample, answers: list[str]) -> list[float]:
    ((_, claims),) = drive([of], lambda each: method.claims().check(each, answers), {AnnotatorScore: engine})
    assert isinstance(claims, list)
    return [claim.p_yes for (claim,) in claims]
