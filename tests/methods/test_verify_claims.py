"""Verification of finished pairs against canned lists and probabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from prefgen.driver import drive
from prefgen.engines.base import Engine
from prefgen.errors import UsageError
from prefgen.methods import prompts
from prefgen.methods.verify_claims import VerifyClaims
from prefgen.records import Dropped, Image, Outcome, Pair, StoredSample
from prefgen.requests import AnnotatorScore, Request
from tests.methods.test_claims import Scripted, sample

METHOD = VerifyClaims(prompts.load("claims"))
BOTH, WRONG, WORSE, NOTHING = "A dog by a car.", "A cat by a car.", "Two cats.", "Lovely!"


def stored(chosen: str, rejected: str, **changes: Any) -> StoredSample:
    return replace(StoredSample(**vars(sample())), answer=chosen, rejected=rejected, **changes)


def run(method: VerifyClaims, of: StoredSample) -> tuple[Outcome, list[Request]]:
    engine = Scripted([])
    engines: dict[type[Request], Engine] = dict.fromkeys(method.asks, engine)  # type: ignore[arg-type]
    ((_, found),) = drive([of], method, engines)
    return found, engine.asked


def kept(chosen: str, rejected: str, **options: Any) -> str:
    """Empty if the pair is kept, else the reason for which it is dropped."""
    found, _ = run(replace(METHOD, **options), stored(chosen, rejected))
    return found.reason if isinstance(found, Dropped) else ""


def test_a_pair_stays_with_the_verdicts_on_both_answers() -> None:
    found, asked = run(METHOD, stored(BOTH, WRONG))
    assert isinstance(found, Pair)
    assert (found.chosen, found.rejected) == (BOTH, WRONG)
    claims = found.record["claims"]
    assert [(claim["text"], claim["holds"]) for claim in claims["chosen"]] == [
        ("There is a dog.", True),
        ("There is a car.", True),
    ]
    assert [claim["holds"] for claim in claims["rejected"]] == [False, True]
    questions = [request.prompt[-1].text for request in asked if isinstance(request, AnnotatorScore)]
    assert len(questions) == 2 * 3  # what both claim is asked once


@pytest.mark.parametrize(
    ("chosen", "rejected", "options", "reason"),
    [
        (WRONG, WORSE, {}, "ANSWER_CLAIMS_FAIL"),
        (WRONG, WORSE, {"chosen_holds": 0.5}, ""),
        (WRONG, WRONG, {"chosen_holds": 0.5}, "REJECTED_CLAIMS_HOLD"),  # it fails as often
        (WRONG, WORSE, {"chosen_holds": 0.5, "rejected_fails": 2}, "REJECTED_CLAIMS_HOLD"),
        (WRONG, WORSE, {"answers": "rejected", "rejected_fails": 2}, ""),
        (BOTH, BOTH, {}, "REJECTED_CLAIMS_HOLD"),
        (BOTH, BOTH, {"rejected_fails": 0}, ""),
        (BOTH, BOTH, {"answers": "chosen"}, ""),
        (BOTH, WRONG, {"threshold": 0.85}, "ANSWER_CLAIMS_FAIL"),  # the car has 0.8
        (WRONG, WORSE, {"threshold": 0.15}, ""),  # the cat has 0.2, two of them 0.1
        (NOTHING, WRONG, {}, "ANSWER_NO_CLAIMS"),
        (BOTH, NOTHING, {}, "ANSWER_NO_CLAIMS"),
        (NOTHING, WRONG, {"answers": "rejected"}, ""),
    ],
)
def test_rules(chosen: str, rejected: str, options: dict[str, Any], reason: str) -> None:
    assert kept(chosen, rejected, **options) == reason


def test_a_dropped_pair_tells_what_failed() -> None:
    found, _ = run(METHOD, stored(WRONG, WORSE))
    assert isinstance(found, Dropped)
    assert found.detail == "1 of 2 fail: 'There is a cat.' p 0.20"
    found, _ = run(METHOD, stored(BOTH, BOTH))
    assert isinstance(found, Dropped)
    assert found.detail == "0 of 2 fail, in the chosen answer 0; the least likely: 'There is a car.' p 0.80"


def test_an_answer_that_is_not_checked_is_not_asked_about() -> None:
    _, asked = run(replace(METHOD, answers="chosen"), stored(BOTH, WRONG))
    questions = {request.prompt[-1].text.partition("?")[0] for request in asked if isinstance(request, AnnotatorScore)}
    assert questions == {"Is there a dog", "Is there a car"}


def test_rejected_pictures_are_what_the_rejected_answer_is_checked_against() -> None:
    other = Image(b"other", "y.png", 2, 2)
    _, asked = run(METHOD, stored(BOTH, BOTH, rejected_images=(other,)))
    pictures = [request.images for request in asked if isinstance(request, AnnotatorScore)]
    assert pictures == [sample().images] * 4 + [(other,)] * 4


@pytest.mark.parametrize(
    "options", [{"chosen_holds": 1.5}, {"rejected_fails": -1}, {"threshold": 2}, {"answers": "all"}]
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(METHOD, **options)
