"""Benchmarks judged by a chat model, with our own prompts: MMHAL-Bench and LLaVA-Bench (In-the-Wild).

MMHAL (Sun et al., arXiv:2309.14525): rows ``{"question_type", "image_content", "question", "gt_answer", …}``, the
answer as ``model_answer`` or in a file of answers. The judge rates each from 0 to 6; below 3 it hallucinates. ``score``
is the mean as published, where a reply without one clear rating counts 0; ``score_read`` leaves such replies out.
With the picture shown it is MMHAL-V.

LLaVA-Bench (Liu et al., arXiv:2304.08485): questions, a caption of each picture, and reference answers. The judge gives
the reference and the model's answer a number each. ``relative_score`` is the sum of the second by that of the first as
published, where an unreadable reply counts -1 for both; ``relative_score_read`` leaves such replies out.

The published figures are by GPT-4 of March and June 2023 and the authors' prompts, which are not ours to ship: give
them with ``--judge-prompt`` to come near. Compare models by one judge and prompt.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefgen import seeds
from prefgen.driver import Asking, drive
from prefgen.engines.base import Engines
from prefgen.errors import RowError, UsageError
from prefgen.evaluate.benchmarks.intervals import Figures, Sums, by_picture, drawn, intervals, rounded, share
from prefgen.methods import replies
from prefgen.methods.prompts import Template
from prefgen.records import Dropped, Image, Sample, Slot, Turn
from prefgen.requests import Chat, Message, Sampling

TYPES = ("attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other")
_RATING = re.compile(r"\brating\W{0,4}([0-6])\b", re.IGNORECASE)
_NUMBERS = re.compile(r"\A\W*(-?\d+(?:\.\d+)?)\s*(?:[,;/]|\s|and)\s*(-?\d+(?:\.\d+)?)\b")
MMHAL_PLACES = ("question", "content", "reference", "answer")
BENCH_PLACES = ("question", "context", "reference", "answer")


@dataclass(frozen=True)
class Case:
    """An answer to judge.

    Attributes:
        kind: category of the question.
        picture: what tells pictures apart.
        image: the picture itself, to be shown.
        places: what fills the prompt.
    """

    id: str
    kind: str
    picture: str
    places: Mapping[str, str]
    image: Image | None = None


@dataclass(frozen=True)
class Verdict:
    """The judge's verdict on a case. `values`: rating, or both scores; None if unreadable."""

    case: Case
    values: tuple[float, ...] | None
    reply: str
    failed: str = ""


def ratings(text: str) -> tuple[float, ...] | None:
    """The only rating in a reply."""
    found = {*_RATING.findall(text)}
    return (float(found.pop()),) if len(found) == 1 else None


def both_scores(text: str) -> tuple[float, ...] | None:
    """The two numbers at the start of a reply."""
    found = _NUMBERS.match(text)
    return (float(found[1]), float(found[2])) if found else None


def ask(
    cases: Sequence[Case],
    prompt: Template,
    read: Callable[[str], tuple[float, ...] | None],
    engines: Engines,
    *,
    temperature: float,
    max_new_tokens: int,
    check: Callable[[], None] = lambda: None,
) -> list[Verdict]:
    """Have every case judged.

    Args:
        read: the verdict of a reply's text.
        engines: answer `Chat`.

    Raises:
        PrefgenError: the judge cannot be asked any more; its replies are in the ledger.
    """
    known = {case.id: case for case in cases}

    def flow(sample: Sample) -> Asking[Verdict]:
        case = known[sample.source_id]
        slots = [Slot.IMAGE] if case.image else []
        seed = seeds.derive(0, case.id, 0, "judge")
        turns = prompt.fill(**case.places, fence=f"{seed:016x}")
        turns = (*turns[:-1], Turn(turns[-1].role, (*slots, *turns[-1].parts)))
        images = (case.image,) if case.image else ()
        (reply,) = yield (Chat(turns, images, "", Sampling(temperature, 1.0, max_new_tokens), seed),)
        assert isinstance(reply, Message)
        try:
            text = replies.spoken(reply).text
        except RowError as error:
            return Verdict(case, None, reply.text, error.reason)
        return Verdict(case, read(text), text)

    samples = [Sample(f"{seeds.derive(0, case.id, 0, 'case'):016x}", (), (), None, "", case.id) for case in cases]
    found = dict(drive(samples, flow, engines, check))
    verdicts = []
    for place, case in enumerate(cases):
        verdict = found[place]
        verdicts.append(Verdict(case, None, "", verdict.reason) if isinstance(verdict, Dropped) else verdict)
    return verdicts


def mmhal_counts(verdict: Verdict) -> tuple[float, ...]:
    """Counts of a verdict: rating, hallucinated, readable, 1."""
    rating = verdict.values[0] if verdict.values else 0.0
    return rating, float(rating < 3), float(verdict.values is not None), 1.0, rating if verdict.values else 0.0


def mmhal_figures(sums: Sums) -> Figures:
    """The official score and hallucination rate, and the score over readable replies."""
    rating, hallucinated, read, count, rating_read = (float(value) for value in sums)
    return {
        "score": share(rating, count),
        "hallucination_rate": share(hallucinated, count),
        "score_read": share(rating_read, read),
        "unparsed": share(count - read, count),
    }


def bench_counts(verdict: Verdict) -> tuple[float, ...]:
    """Counts of a verdict: both scores as published and as read, readable, 1."""
    first, second = verdict.values or (-1.0, -1.0)
    read = verdict.values is not None
    return first, second, first if read else 0.0, second if read else 0.0, float(read), 1.0


def bench_figures(sums: Sums) -> Figures:
    """The model's score relative to the reference's."""
    first, second, first_read, second_read, read, count = (float(value) for value in sums)
    return {
        "relative_score": share(second, first),
        "relative_score_read": share(second_read, first_read),
        "unparsed": share(count - read, count),
    }


def score(
    benchmark: str,
    verdicts: Sequence[Verdict],
    counts_of: Callable[[Verdict], tuple[float, ...]],
    figures: Callable[[Sums], Figures],
    seed: int = 0,
) -> dict[str, Any]:
    """All figures with intervals, also by kind of question."""
    pictures, counts = by_picture([(one.case.picture, counts_of(one)) for one in verdicts])
    kinds = list(dict.fromkeys(one.case.kind for one in verdicts))
    of_kinds = {}
    for kind in kinds:
        own = [(one.case.picture, counts_of(one)) for one in verdicts if one.case.kind == kind]
        of_kinds[kind] = {**rounded(figures(by_picture(own)[1].sum(axis=0))), "count": len(own)}
    return {
        "benchmark": benchmark,
        **rounded(figures(counts.sum(axis=0))),
        "intervals": intervals(counts, figures, drawn(len(pictures), seed)),
        "count": len(verdicts),
        "failed": dict(Counter(one.failed for one in verdicts if one.failed).most_common()),
        "kinds": of_kinds,
    }


def items(verdicts: Sequence[Verdict], counts_of: Callable[[Verdict], tuple[float, ...]]) -> list[Mapping[str, Any]]:
    """A record for each case."""
    return [
        {
            "id": one.case.id,
            "picture": one.case.picture,
            "counts": counts_of(one),
            "right": _is_right(one),
            "values": one.values,
            "failed": one.failed,
            "reply": one.reply,
        }
        for one in verdicts
    ]


def _is_right(verdict: Verdict) -> bool:
    """True if the answer is not hallucinated, or at least as good as the reference."""
    if verdict.values is None:
        return False
    return verdict.values[0] >= 3 if len(verdict.values) == 1 else verdict.values[1] >= verdict.values[0]


def mmhal_cases(rows: Sequence[Mapping[str, Any]], answers: Mapping[str, str], name: str) -> list[Case]:
    """The cases of MMHAL's file; a row's id is its position.

    Raises:
        UsageError: a row is of another form, or has no answer.
    """
    cases = []
    for number, row in enumerate(rows):
        missing = [key for key in ("question", "gt_answer") if not row.get(key)]
        if missing:
            raise UsageError(f"{name} row {number + 1} has no {', '.join(missing)}: is it MMHAL-Bench?")
        answer = answers.get(str(number))
        if answer is None:
            raise UsageError(f"{name} row {number + 1} has no answer")
        content = row.get("image_content") or ()
        places = {
            "question": str(row["question"]),
            "content": content if isinstance(content, str) else ", ".join(map(str, content)),
            "reference": str(row["gt_answer"]),
            "answer": answer,
        }
        kind = str(row.get("question_type") or TYPES[number % len(TYPES)])
        cases.append(Case(str(number), kind, str(row.get("image_id") or row.get("image_src") or number), places))
    return cases
