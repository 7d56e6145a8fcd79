"""Sentence pairs against canned sentences: no model, no judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from prefgen.driver import drive
from prefgen.engines.base import Engine
from prefgen.errors import RowError, UsageError
from prefgen.methods import prompts
from prefgen.methods.sentence_checks import ByDetectors, ByGain, ByJudge, ByObjects, Checker, ObjectLists
from prefgen.methods.sentences import Sentences
from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Span, Turn
from prefgen.requests import Chat, Completion, Detect, Detected, Generate, Message, Reply, Request, Score, Scored
from prefgen.training import spans

ANIMALS = ("cat", "dog", "bird")


@dataclass(frozen=True)
class Words:
    """Three animals."""

    def mentions(self, text: str) -> list[str]:
        return [word for word in text.lower().replace(".", "").split() if word in ANIMALS]


CHECKER = ByObjects(Words(), ObjectLists())
METHOD = Sentences(CHECKER, candidates=3, sentences=3)


def sample(objects: Any = ("cat", "dog")) -> Sample:
    prompt = (Turn("user", (Slot.IMAGE, "What is there?")),)
    meta = {"objects": list(objects) if isinstance(objects, tuple) else objects}
    return Sample("s1", prompt, (Image(b"\x89PNG", "a/x.png", 2, 2),), None, "test", "row 1", meta=meta)


@dataclass
class Scripted:
    """Draws the sentences of a script, by what was said before, and answers other requests by `tell`."""

    script: dict[str, Sequence[str]]
    tell: Callable[[Request], Reply] | None = None
    asked: list[Request] = field(default_factory=list)
    finish: Any = "stop"

    def __post_init__(self) -> None:
        self._pending: list[tuple[int, Request]] = []
        self._drawn: dict[str, int] = {}

    def submit(self, ticket: int, request: Request) -> None:
        self._pending.append((ticket, request))
        self.asked.append(request)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        pending, self._pending = self._pending, []
        return [(ticket, self._answer(request)) for ticket, request in pending]

    def _answer(self, request: Request) -> Reply:
        if not isinstance(request, Generate):
            assert self.tell
            return self.tell(request)
        number = self._drawn[request.prefix] = self._drawn.get(request.prefix, -1) + 1
        text = self.script.get(request.prefix, [""] * 9)[number]
        return Completion(text, self.finish, 4, 64, 64)


def run(method: Sentences, engine: Scripted, of: Sample | None = None) -> list[Outcome]:
    engines: dict[type[Request], Engine] = dict.fromkeys((Generate, Chat, Score, Detect), engine)
    ((_, found),) = drive([of or sample()], method, engines)
    return found if isinstance(found, list) else [found]


def shown(outcomes: Sequence[Outcome]) -> list[str | tuple[str, str]]:
    return [(one.chosen, one.rejected) if isinstance(one, Pair) else one.reason for one in outcomes]


def test_a_true_and_an_invented_sentence_make_a_pair_and_the_true_one_goes_on() -> None:
    engine = Scripted(
        {
            "": [" A bird sings.", " A cat sits.", " A cat sits."],
            "A cat sits.": [" A dog runs.", " There is a bird.", " So it is."],
        }
    )
    outcomes = run(METHOD, engine)
    assert shown(outcomes) == [
        ("A cat sits.", "A bird sings."),
        ("A cat sits. A dog runs.", "A cat sits. There is a bird."),
        "SENTENCE_END",
    ]
    first, second = outcomes[:2]
    assert isinstance(first, Pair)
    assert isinstance(second, Pair)
    assert (first.tokens, second.tokens, second.iteration) == (36, 0, 2)  # nine draws, told once
    assert second.spans == (Span(len("A cat sits."), len(second.rejected)),)
    assert second.record["context_chars"] == len("A cat sits.")
    assert [found["verdict"] for found in second.record["verdicts"]] == ["verified", "hallucinated", "neutral"]
    assert second.record["verdicts"][1]["told"] == {"named": ["bird"], "absent": ["bird"]}
    draws = [request.seed for request in engine.asked if isinstance(request, Generate)]
    assert len({*draws}) == 9
    assert second.params["checker"].startswith("objects, column objects, words ")


def test_the_span_loss_sees_the_sentence_alone() -> None:
    engine = Scripted({"": [" A cat sits."] * 3, "A cat sits.": [" A dog runs.", " A bird is there.", ""]})
    pair = run(METHOD, engine)[1]
    assert isinstance(pair, Pair)
    old, new = spans.recorded(pair.chosen, pair.rejected, pair.spans, pair.cuts) or ((), ())
    assert [pair.chosen[span.start : span.end] for span in old] == [" A dog runs."]
    assert [pair.rejected[span.start : span.end] for span in new] == [" A bird is there."]


@pytest.mark.parametrize(
    ("drawn", "reasons"),
    [
        ([" A cat sits.", " A dog sits.", " Hm."], ["SENTENCE_VERIFIED", "SENTENCE_END", "SENTENCE_END"]),
        ([" A bird sings.", " A bird flies.", ""], ["SENTENCE_HALLUCINATED", "SENTENCE_END", "SENTENCE_END"]),
        (["", " ", ""], ["SENTENCE_END"] * 3),
    ],
)
def test_sentences_that_make_no_pair_say_why(drawn: list[str], reasons: list[str]) -> None:
    assert shown(run(METHOD, Scripted({"": drawn}))) == reasons


def test_what_names_nothing_is_gone_on_from_where_nothing_is_verified() -> None:
    engine = Scripted({"": [" Look at this."] * 3, "Look at this.": [" A dog.", " A bird.", " A cat."]})
    assert shown(run(METHOD, engine))[:2] == ["SENTENCE_UNCLEAR", ("Look at this. A dog.", "Look at this. A bird.")]


def test_a_sentence_of_the_same_objects_as_the_context_is_preferred() -> None:
    engine = Scripted({"": [" A cat."] * 3, "A cat.": [" A dog.", " A cat and a dog.", " A bird."]})
    assert shown(run(METHOD, engine))[1] == ("A cat. A cat and a dog.", "A cat. A bird.")


def test_repeats_and_sentences_without_an_end_are_no_candidates() -> None:
    engine = Scripted({"": [" A cat."] * 3, "A cat.": [" A cat.", " A cat.", " A cat."]})
    assert shown(run(METHOD, engine)) == ["SENTENCE_VERIFIED", "SENTENCE_END", "SENTENCE_END"]
    endless = Scripted({"": [" A cat.", " A bird.", " A dog."]}, finish="length")
    assert shown(run(METHOD, endless)) == ["SENTENCE_END"] * 3


@pytest.mark.parametrize("objects", [None, "cat", [3]])
def test_a_row_without_a_list_of_objects_is_dropped_before_anything_is_drawn(objects: Any) -> None:
    engine = Scripted({})
    assert shown(run(METHOD, engine, sample(objects))) == ["SENTENCE_NO_OBJECTS"]
    assert engine.asked == []


def test_lists_of_a_file_go_by_the_pictures_name() -> None:
    lists = ObjectLists("", "list.json", {"x.png": frozenset({"bird"})})
    assert lists.of(sample()) == frozenset({"bird"})
    assert ObjectLists("", "list.json", {}).of(sample()) is None


def test_detectors_look_for_each_object_once_and_must_agree() -> None:
    def detected(request: Request) -> Reply:
        assert isinstance(request, Detect)
        assert request.image.path == "a/x.png"
        return Detected((0.9, 0.1), {"cat": True, "bird": False, "dog": None}[request.name])

    method = replace(METHOD, checker=ByDetectors(Words(), "one@1 and other@2"), candidates=6)
    drawn = [" A cat and a dog.", " A bird and a dog.", " A cat.", " It is so.", " A cat sits.", " A bird."]
    engine = Scripted({"": drawn}, detected)
    pair = run(method, engine)[0]
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected, pair.variant) == ("A cat.", "A bird and a dog.", "detector")
    verdicts = [found["verdict"] for found in pair.record["verdicts"]]
    assert verdicts == ["unclear", "hallucinated", "verified", "neutral", "verified", "hallucinated"]
    looked = [request.name for request in engine.asked if isinstance(request, Detect)]
    assert looked[:3] == ["bird", "cat", "dog"]
    assert pair.record["verdicts"][2]["told"] == {"cat": [0.9, 0.1]}


def judged(request: Request) -> Reply:
    assert isinstance(request, Chat)
    assert len(request.images) == 1
    sentence = request.turns[-1].text.partition(" sentence\n")[2]
    verdict = "supported" if "cat" in sentence else "contradicted" if "bird" in sentence else "who knows"
    return Message(json.dumps({"reason": "I looked.", "verdict": verdict}), "stop", 9, 100)


def test_a_judge_is_shown_the_picture_and_what_was_said() -> None:
    method = replace(METHOD, checker=ByJudge(prompts.load("sentence")))
    engine = Scripted({"": [" A cat.", " A bird.", " A dog."]}, judged)
    outcomes = run(method, engine)
    assert shown(outcomes)[0] == ("A cat.", "A bird.")
    assert isinstance(outcomes[0], Pair)
    assert [found["verdict"] for found in outcomes[0].record["verdicts"]] == ["verified", "hallucinated", "unclear"]
    assert method.asks == (Chat, Generate)


def test_a_refusing_judge_decides_nothing() -> None:
    method = replace(METHOD, checker=ByJudge(prompts.load("sentence")))
    engine = Scripted({"": [" A cat.", " A bird.", " A dog."]}, lambda _: Message("No.", "content_filter", 1, 1))
    assert shown(run(method, engine)) == ["SENTENCE_UNCLEAR", "SENTENCE_END", "SENTENCE_END"]


def gained(request: Request) -> Reply:
    """Words are tokens; the picture adds 2 nats to each word of a sentence with a cat, and takes 1 from others."""
    assert isinstance(request, Score)
    words = request.answer.split()
    last = request.answer.rpartition(". ")[2].split()
    seen = request.view.rho == 0.0
    gain = (2.0 if "cat" in last else -1.0) * seen
    logps = [-9.0 + 5 * seen] * (len(words) - len(last)) + [-5.0 + gain] * len(last)
    return Scored(tuple(map(hash, words)), tuple(logps), (), "", "", 64, 64)


def test_the_gain_is_that_of_the_sentence_alone() -> None:
    method = replace(METHOD, checker=ByGain(verified_from=1.5, hallucinated_to=-0.5))
    engine = Scripted(
        {"": [" A bird .", " A cat sits ."] * 2, "A cat sits .": [" A big cat .", " A dog .", " A cat ."]}, gained
    )
    outcomes = run(method, engine)
    assert shown(outcomes)[:2] == [
        ("A cat sits .", "A bird ."),
        ("A cat sits . A big cat .", "A cat sits . A dog ."),
    ]
    assert isinstance(outcomes[1], Pair)
    assert [found["told"]["image_gain"] for found in outcomes[1].record["verdicts"]] == [2.0, -1.0, 2.0]


def test_a_checker_names_all_that_its_verdicts_depend_on() -> None:
    checkers: list[Checker] = [ByGain(0.5, 0.0), ByGain(0.6, 0.0), ByGain(0.5, 0.1), ByJudge(prompts.load("sentence"))]
    assert len({*map(str, checkers)}) == len(checkers)
    with pytest.raises(UsageError, match=r"lacks \$context"):
        ByJudge(prompts.Template("own", "=== user ===\n$question $sentence"))
    with pytest.raises(UsageError, match="--candidates 1"):
        replace(METHOD, candidates=1)


def test_dropped_rows_are_of_every_part() -> None:
    outcomes = run(replace(METHOD, sentences=1), Scripted({"": [" A cat.", " A bird.", ""]}))
    assert shown(outcomes) == [("A cat.", "A bird.")]
    assert not any(isinstance(outcome, Dropped) for outcome in outcomes)
