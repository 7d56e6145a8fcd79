"""POPE: yes/no questions about objects in pictures. Li et al., EMNLP 2023, arXiv:2305.10355.

Questions are JSON lines ``{"question_id": …, "image": …, "text": …, "label": "yes" or "no"}``, a file for each way in
which absent objects were chosen. Parsers of an answer:

- ``official``: as the published script does: the first sentence up to a full stop, commas taken out; a word No, no or
  not makes it a no, anything else a yes, an empty answer and "NO" included.
- ``strict``: the first word is yes or no, in any case; anything else is wrong and no yes.
- ``lenient``: a yes or no anywhere, if it is one of them alone, else a denial ("there is no", "isn't", "cannot see") or
  an affirmation ("there is", "I see"); anything else is wrong and no yes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks.files import Question
from prefgen.evaluate.benchmarks.intervals import (
    Figures,
    Interval,
    Sums,
    by_picture,
    drawn,
    percentiles,
    rounded,
    share,
)

Parser = Literal["official", "strict", "lenient"]
Said = Literal["yes", "no", ""]
_WORD = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_DENIED = re.compile(
    r"\bthere (?:is|are) (?:no|not)\b|\b(?:is|are|do|does|can|could|was|were)n['’]t\b|\bcan(?:not| not)\b"
    r"|\b(?:is|are|do|does) not\b|\bno such\b|\babsent\b",
    re.IGNORECASE,
)
_AFFIRMED = re.compile(
    r"\bthere (?:is|are)\b|\bI (?:can )?see\b|\b(?:is|are) (?:visible|present|shown)\b|\b(?:shows?|contains?)\b",
    re.IGNORECASE,
)
_COUNTED = ("tp", "fp", "tn", "fn", "yes", "unparsed")  # of one answer, 0 or 1 each
FIGURES = ("accuracy", "precision", "recall", "f1", "yes_ratio", "unparsed")


@dataclass(frozen=True)
class PopeAnswer:
    """An answer and its counts."""

    question: Question
    said: Said
    right: bool
    counts: tuple[float, ...]


def official(answer: str) -> Said:
    """Parse an answer by the published rule."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & {*words} else "yes"


def strict(answer: str) -> Said:
    """Parse an answer by its first word."""
    found = re.match(r"\W*(yes|no)\b", answer, re.IGNORECASE)
    return _said(found[1]) if found else ""


def lenient(answer: str) -> Said:
    """Parse an answer by yes or no anywhere, else by what it denies or affirms."""
    if first := strict(answer):
        return first
    words = {word.lower() for word in _WORD.findall(answer)}
    if _DENIED.search(answer):
        return "no"
    if len(words) == 1:
        return _said(words.pop())
    return "yes" if not words and _AFFIRMED.search(answer) else ""


def _said(word: str) -> Said:
    return "yes" if word.lower() == "yes" else "no"


_RULES: Mapping[Parser, Callable[[str], Said]] = {"official": official, "strict": strict, "lenient": lenient}


def judge(question: Question, answer: str, parser: Parser) -> PopeAnswer:
    """The counts of an answer. Under ``official``, one without yes or no counts as unparsed and as yes."""
    said = _RULES[parser](answer)
    label = label_of(question)
    unparsed = not said or (parser == "official" and not re.search(r"\b(?:yes|no|not)\b", answer, re.IGNORECASE))
    counts = (
        float(said == label == "yes"),
        float(said == "yes" != label),
        float(said == label == "no"),
        float(label == "yes" != said),
        float(said == "yes"),
        float(unparsed),
        1.0,
    )
    return PopeAnswer(question, said, said == label, counts)


def label_of(question: Question) -> Said:
    """The label of a question.

    Raises:
        UsageError: there is none.
    """
    label = str(question.row.get("label", "")).strip().lower()
    if label not in ("yes", "no"):
        raise UsageError(
            f"{question.file} question {question.id}: its label is {question.row.get('label')!r}, not yes or no"
        )
    return "yes" if label == "yes" else "no"


def figures(sums: Sums) -> Figures:
    """Fractions from sums of counts."""
    tp, fp, tn, fn, yes, unparsed, count = (float(value) for value in sums)
    precision, recall = share(tp, tp + fp), share(tp, tp + fn)
    return {
        "accuracy": share(tp + tn, count),
        "precision": precision,
        "recall": recall,
        "f1": share(2 * tp, 2 * tp + fp + fn),
        "yes_ratio": share(yes, count),
        "unparsed": share(unparsed, count),
    }


def score(judged: Sequence[PopeAnswer], parser: Parser, seed: int = 0) -> dict[str, Any]:
    """Figures of every file and their means, with intervals over the same resampled pictures."""
    names = list(dict.fromkeys(one.question.file for one in judged))
    pictures, _ = by_picture([(one.question.image, one.counts) for one in judged])
    places = {picture: place for place, picture in enumerate(pictures)}
    weights = drawn(len(pictures), seed)
    files: dict[str, Any] = {}
    resampled: dict[str, list[Figures]] = {}
    for name in names:
        own = [one for one in judged if one.question.file == name]
        counts = np.zeros((len(pictures), len(own[0].counts)))
        for one in own:
            counts[places[one.question.image]] += one.counts
        found = figures(counts.sum(axis=0))
        resampled[name] = [figures(sums) for sums in weights @ counts]
        files[name] = {
            **rounded(found),
            "count": len(own),
            "unparsed_count": int(counts[:, 5].sum()),
            "intervals": {key: percentiles([each[key] for each in resampled[name]]) for key in found},
        }
    means = {key: _mean([files[name][key] for name in names]) for key in FIGURES}
    bounds: dict[str, Interval | None] = {
        key: percentiles([_mean([resampled[name][number][key] for name in names]) for number in range(len(weights))])
        for key in FIGURES
    }
    return {"benchmark": "pope", "parser": parser, **rounded(means), "intervals": bounds, "files": files}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
