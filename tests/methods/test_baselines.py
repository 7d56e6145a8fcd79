"""The simple methods against canned replies: what each asks for, and what it makes of the answer."""

from __future__ import annotations

from typing import Any

import pytest

from prefgen.driver import drive
from prefgen.engines.fake import FakeEngine
from prefgen.errors import UsageError
from prefgen.methods import BASELINES, METHODS
from prefgen.methods.append import Append
from prefgen.methods.base import Method
from prefgen.methods.blind import Blind
from prefgen.methods.continuing import without_images
from prefgen.methods.contrastive import Contrastive
from prefgen.methods.dropout_ntp import DropoutNTP
from prefgen.methods.weakened import Weakened
from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Turn
from prefgen.requests import Completion, Contrast, Generate
from prefgen.visibility import View

ANSWER = "There is a red cat. It sits on a mat."


def sample(answer: str | None = ANSWER) -> Sample:
    prompt = (Turn("user", (Slot.IMAGE, "\nWhat is there?")),)
    return Sample("s1", prompt, (Image(b"x", "x.png", 2, 2),), answer, "test", "row 1")


def run(method: Method, what: Sample, text: str = " a green dog.", image_tokens: int = 64) -> tuple[Outcome, Generate]:
    asked: list[Generate] = []

    class Canned(FakeEngine):
        def _answer(self, request: Any) -> Any:
            if isinstance(request, Generate):
                asked.append(request)
                return Completion(text, "eos", 5, image_tokens, image_tokens)
            return super()._answer(request)

    engine = Canned()
    ((_, outcome),) = drive([what], method, dict.fromkeys(method.asks, engine))
    assert not isinstance(outcome, list)
    return outcome, asked[0]


def pair(outcome: Outcome) -> Pair:
    assert isinstance(outcome, Pair), outcome
    return outcome


def test_dropout_ntp_writes_the_second_half_without_the_image() -> None:
    outcome, asked = run(DropoutNTP(), sample(), image_tokens=0)
    assert asked.prefix == "There is a red cat."  # 5 of 10 words
    assert (asked.images, asked.prompt) == ((), (Turn("user", ("What is there?",)),))
    assert (asked.stop, asked.sampling.temperature) == ("end", 0.7)
    made = pair(outcome)
    assert made.rejected == "There is a red cat. a green dog."
    assert made.cuts == (19,)
    assert made.rejected[made.spans[0].start : made.spans[0].end] == " a green dog."
    assert set(made.flags) == {"blind"}


@pytest.mark.parametrize(
    ("answer", "share", "kept"),
    [("One two three.", 0.5, "One"), ("One two three four.", 0.5, "One two"), ("Yes.", 0.5, ""), ("One two.", 0.0, "")],
)
def test_dropout_ntp_keeps_a_share_of_the_words(answer: str, share: float, kept: str) -> None:
    assert DropoutNTP(keep_share=share).kept(answer) == kept


def test_blind_answers_without_the_image() -> None:
    outcome, asked = run(Blind(), sample(), image_tokens=0)
    assert (asked.prefix, asked.images, asked.stop) == ("", (), "end")
    made = pair(outcome)
    assert (made.rejected, made.cuts, set(made.flags)) == ("a green dog.", (), {"unguided", "blind"})


def test_weakened_answers_a_noised_image_greedily() -> None:
    method = Weakened(seed=2)
    outcome, asked = run(method, sample())
    assert (asked.view, asked.view.noise_steps) == (method.view("s1", 1), 500)
    assert asked.images == sample().images
    assert asked.sampling.temperature == 0.0
    assert pair(outcome).flags == ("unguided",)


def test_contrastive_answers_a_noised_image_away_from_the_clean_one() -> None:
    method = Contrastive(alpha=0.5, seed=2)
    outcome, asked = run(method, sample())
    assert isinstance(asked, Contrast)
    assert (asked.view, asked.view.noise_steps) == (method.view("s1", 1), 500)
    assert (asked.against, asked.alpha, asked.plausibility) == (View(), 0.5, 0.1)
    assert (asked.images, asked.prefix, asked.sampling.temperature) == (sample().images, "", 1.0)
    assert pair(outcome).flags == ("unguided",)
    with pytest.raises(UsageError, match="--plausibility"):
        Contrastive(plausibility=1.5)


def test_append_adds_a_sentence_that_must_not_be_nothing() -> None:
    outcome, asked = run(Append(), sample(f"{ANSWER}\n"), " A dog is next to it.")
    assert (asked.prefix, asked.open_at, asked.stop) == (ANSWER, len(ANSWER), "sentence")
    assert asked.sampling.min_new_tokens == 1
    assert asked.view.rho == 0.99
    assert pair(outcome).rejected == f"{ANSWER} A dog is next to it."


@pytest.mark.parametrize("method", [kind() for kind in BASELINES.values()], ids=str)
def test_what_is_no_preference_is_dropped(method: Method) -> None:
    whole = {"append": " ", "dropout-ntp": " It sits on a mat."}.get(method.name, ANSWER)
    outcome, _ = run(method, sample(), whole)
    assert isinstance(outcome, Dropped)
    assert outcome.reason == "REJECTED_EQUALS_CHOSEN"
    engine = FakeEngine()
    ((_, empty),) = drive([sample(" ")], method, dict.fromkeys(method.asks, engine))
    assert isinstance(empty, Dropped)
    assert empty.reason == "ANSWER_EMPTY"


@pytest.mark.parametrize(
    "method",
    [kind() for name, kind in METHODS.items() if name not in ("corrupt", "revise", "rank", "sentences")],
    ids=str,
)
def test_every_method_explains_and_rehearses_itself(method: Method) -> None:
    names = [name for name, _ in method.explain(576.0)]
    assert names[0] == "method"
    assert all(isinstance(line, str) for line in method.rehearse(sample()))
    assert METHODS[method.name](**vars(method)) == method  # what a row records makes the method again


def test_words_remain_where_an_image_is_taken_out() -> None:
    prompt = (Turn("user", (Slot.IMAGE, "\nIs it red?")), Turn("assistant", ("No. ",)), Turn("user", ("And this?",)))
    assert without_images(prompt) == (
        Turn("user", ("Is it red?",)),
        Turn("assistant", ("No. ",)),
        Turn("user", ("And this?",)),
    )
