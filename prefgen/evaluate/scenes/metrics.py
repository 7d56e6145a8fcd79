"""Metrics of captions and answers, read with the grammar's own words. No torch, no model.

Every figure is a ratio of two sums over scenes (hallucinated mentions over mentions, right answers over questions), so
one bootstrap over scenes gives all the intervals.

* CHAIR_i, CHAIR_s and recall: Rohrbach et al., "Object Hallucination in Image Captioning", EMNLP 2018. A kind
  that is mentioned counts once per caption.
* Yes/no splits: Li et al., POPE, EMNLP 2023: the questions about present objects together with one kind of absent ones.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from prefgen.evaluate.scenes.claims import NUMBERS, claims_of, kinds_in, read
from prefgen.evaluate.scenes.sample import absent_partners
from prefgen.evaluate.scenes.truth import ACTIONS, COLOURS, KINDS, PLACES, Scene

TOLD = ("colour", "count", "action", "surface", "place")
"""Attributes of things and scenes that captions are held to, beside the kinds that they mention."""
_VALUES = {
    kind: re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE)
    for kind, words in {"colour": COLOURS, "count": NUMBERS, "action": ACTIONS, "place": PLACES}.items()
}
_SENTENCE = re.compile(r"[^.!?]+[.!?]?")


@dataclass(frozen=True)
class Interval:
    """A ratio with its 95% bootstrap interval over scenes; all three are NaN where nothing was counted."""

    value: float
    low: float
    high: float
    count: int  # the denominator: mentions, questions, captions


class Tally:
    """Numerators and denominators per metric and scene."""

    def __init__(self, scenes: int) -> None:
        self.scenes = scenes
        self._sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((2, scenes)))

    def add(self, metric: str, scene: int, numerator: float, denominator: float) -> None:
        """Add to both sums of a metric for one scene."""
        self._sums[metric][:, scene] += (numerator, denominator)

    def add_caption(self, number: int, text: str, scene: Scene) -> None:
        """Count the caption of a scene, the tally's scene ``number``."""
        mentioned, there = kinds_in(text), scene.kinds
        invented = mentioned - there
        partners = frozenset(absent_partners(scene))
        others = KINDS.keys() - there - partners
        self.add("chair_i", number, len(invented), len(mentioned))
        self.add("chair_s", number, bool(invented), 1)
        self.add("object_recall", number, len(mentioned & there), len(there))
        self.add("partner_hallucination", number, len(mentioned & partners), len(partners))
        self.add("other_hallucination", number, len(mentioned & others), len(others))
        true = claims_of(scene)
        for claim in read(text):
            if claim.attribute in TOLD and (claim.subject in there or not claim.subject):
                self.add(f"caption_{claim.attribute}", number, claim in true, 1)
        self.add("caption_sentences", number, sentence_count(text), 1)
        self.add("caption_words", number, len(text.split()), 1)

    def add_probe(self, scene: int, split: str, answer: str, reply: str) -> None:
        """Count one yes/no question. A reply that is neither yes nor no is wrong and counts as no "yes"."""
        said_yes, right = yes_or_no(reply) == "yes", yes_or_no(reply) == answer
        self.add(f"{split}/accuracy", scene, right, 1)
        self.add("yes_no/accuracy", scene, right, 1)
        for kind in ("random", "popular", "adversarial"):
            if split in ("present", f"absent-{kind}"):
                self.add(f"{kind}/accuracy", scene, right, 1)
                self.add(f"{kind}/yes_ratio", scene, said_yes, 1)
                hit = said_yes and answer == "yes"
                self.add(f"{kind}/f1", scene, 2 * hit, said_yes + (answer == "yes"))  # 2TP / (2TP + FP + FN)

    def add_attribute(self, scene: int, kind: str, answer: str, reply: str) -> None:
        """Count one question of kind colour, count, action or place; ``answer`` as in heldout.json."""
        for metric in (f"{kind}/accuracy", "attributes/accuracy"):
            self.add(metric, scene, attribute_in(kind, reply) == answer, 1)

    def sums(self, metric: str) -> np.ndarray:
        """Numerators and denominators of each scene, (2, scenes)."""
        return self._sums[metric]

    def intervals(self, seed: int = 0, resamples: int = 1000) -> dict[str, Interval]:
        """Every metric with its percentile bootstrap interval; the same resampled scenes for all of them."""
        drawn = np.random.default_rng(seed).integers(self.scenes, size=(resamples, self.scenes))
        return {metric: _interval(sums, drawn) for metric, sums in self._sums.items()}


def sentence_count(text: str) -> int:
    """The number of sentences of a text."""
    return len(_SENTENCE.findall(text))


def first_sentences(text: str, count: int) -> str:
    """The text up to the end of its sentence number `count`."""
    return "".join(_SENTENCE.findall(text)[:count])


def yes_or_no(reply: str) -> str:
    """The reply's first word if that is "yes" or "no", else an empty string."""
    word = re.match(r"\s*(\w+)", reply)
    return word[1].lower() if word and word[1].lower() in ("yes", "no") else ""


def attribute_in(kind: str, reply: str) -> str:
    """The first colour, number, action or place that a reply names, "" for none.

    Raises:
        ValueError: ``kind`` is none of these.
    """
    if kind not in _VALUES:
        raise ValueError(f"unknown attribute {kind!r}; choose {', '.join(_VALUES)}")
    found = _VALUES[kind].search(reply)
    return found[1].lower() if found else ""


def _interval(sums: np.ndarray, drawn: np.ndarray) -> Interval:
    """Ratio of the row sums of ``sums`` (2, scenes), and its interval over the resamples ``drawn`` (R, scenes)."""
    numerator, denominator = sums.sum(axis=1)
    if not denominator:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    tops, bottoms = sums[0][drawn].sum(axis=1), sums[1][drawn].sum(axis=1)
    ratios = tops[bottoms > 0] / bottoms[bottoms > 0]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Interval(float(numerator / denominator), float(low), float(high), int(denominator))
