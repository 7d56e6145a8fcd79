"""Metrics of captions and answers, parsed with the grammar's own words. No torch, no model.

Every figure is a ratio of two sums over scenes (hallucinated mentions over mentions, right answers over questions), so
one bootstrap over scenes gives all the intervals.

* CHAIR_i, CHAIR_s and recall: Rohrbach et al., "Object Hallucination in Image Captioning", EMNLP 2018. A mention is a
  shape word, counted once per caption.
* Yes/no splits: Li et al., POPE, EMNLP 2023: the questions about present objects together with one kind of absent ones.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from prefgen.evaluate.scenes.text import NUMBERS, PLACES
from prefgen.evaluate.scenes.world import COLOURS, PARTNER, PLURAL, SHAPES

_SHAPE = re.compile(r"\b(?:" + "|".join(f"({shape}|{PLURAL[shape]})" for shape in SHAPES) + r")\b", re.IGNORECASE)
_COLOURED = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})(?:es|s)?\b", re.IGNORECASE)
_COLOUR = re.compile(rf"\b({'|'.join(COLOURS)})\b", re.IGNORECASE)
_NUMBER = re.compile(rf"\b({'|'.join(NUMBERS)})\b", re.IGNORECASE)
_CELL_OF = {name: cell for cell, names in enumerate(PLACES) for name in names}
_PLACE = re.compile("|".join(sorted(_CELL_OF, key=len, reverse=True)), re.IGNORECASE)  # the longest name wins
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

    def add_caption(self, scene: int, text: str, truth: dict[str, str]) -> None:
        """Count one caption; ``truth`` maps the shapes of the scene to their colours."""
        mentioned = shapes_in(text)
        invented = mentioned - truth.keys()
        partners = {PARTNER[shape] for shape in truth} - truth.keys()
        others = set(SHAPES) - truth.keys() - partners
        colours = [(colour, shape) for colour, shape in colours_in(text) if shape in truth]
        self.add("chair_i", scene, len(invented), len(mentioned))
        self.add("chair_s", scene, bool(invented), 1)
        self.add("object_recall", scene, len(mentioned & truth.keys()), len(truth))
        self.add("partner_hallucination", scene, len(mentioned & partners), len(partners))
        self.add("other_hallucination", scene, len(mentioned & others), len(others))
        self.add("caption_colour", scene, sum(truth[shape] == colour for colour, shape in colours), len(colours))
        self.add("caption_sentences", scene, sentence_count(text), 1)
        self.add("caption_words", scene, len(text.split()), 1)

    def add_probe(self, scene: int, split: str, answer: str, reply: str) -> None:
        """Count one yes/no question. A reply that is neither yes nor no is wrong and counts as no "yes"."""
        said_yes, right = yes_or_no(reply) == "yes", yes_or_no(reply) == answer
        self.add(f"{split}/accuracy", scene, right, 1)
        self.add("yes_no/accuracy", scene, right, 1)
        for kind in ("popular", "adversarial"):
            if split in ("present", f"absent-{kind}"):
                self.add(f"{kind}/accuracy", scene, right, 1)
                self.add(f"{kind}/yes_ratio", scene, said_yes, 1)
                hit = said_yes and answer == "yes"
                self.add(f"{kind}/f1", scene, 2 * hit, said_yes + (answer == "yes"))  # 2TP / (2TP + FP + FN)

    def add_attribute(self, scene: int, kind: str, answer: str, reply: str) -> None:
        """Count one question of kind colour, place or count; ``answer`` as in heldout.json."""
        for metric in (f"{kind}/accuracy", "attributes/accuracy"):
            self.add(metric, scene, attribute_in(kind, reply) == answer, 1)

    def sums(self, metric: str) -> np.ndarray:
        """Numerators and denominators of each scene, (2, scenes)."""
        return self._sums[metric]

    def intervals(self, seed: int = 0, resamples: int = 1000) -> dict[str, Interval]:
        """Every metric with its percentile bootstrap interval; the same resampled scenes for all of them."""
        drawn = np.random.default_rng(seed).integers(self.scenes, size=(resamples, self.scenes))
        return {metric: _interval(sums, drawn) for metric, sums in self._sums.items()}


def shapes_in(text: str) -> frozenset[str]:
    """The shapes that a text mentions, singular or plural, in any case."""
    return frozenset(SHAPES[match.lastindex - 1] for match in _SHAPE.finditer(text) if match.lastindex)


def sentence_count(text: str) -> int:
    """The number of sentences of a text."""
    return len(_SENTENCE.findall(text))


def first_sentences(text: str, count: int) -> str:
    """The text up to the end of its sentence number `count`."""
    return "".join(_SENTENCE.findall(text)[:count])


def colours_in(text: str) -> list[tuple[str, str]]:
    """Every "colour shape" of a text as a pair, in order."""
    return [(match[1].lower(), match[2].lower()) for match in _COLOURED.finditer(text)]


def cells_in(text: str) -> list[int]:
    """The cells whose names occur in a text, in order."""
    return [_CELL_OF[match[0].lower()] for match in _PLACE.finditer(text)]


def yes_or_no(reply: str) -> str:
    """The reply's first word if that is "yes" or "no", else an empty string."""
    word = re.match(r"\s*(\w+)", reply)
    return word[1].lower() if word and word[1].lower() in ("yes", "no") else ""


def attribute_in(kind: str, reply: str) -> str:
    """The first colour ("red"), place ("4") or count ("two") in a reply, "" for none."""
    match kind:
        case "colour":
            found: Iterable[str] = _COLOUR.findall(reply)
        case "place":
            found = map(str, cells_in(reply))
        case "count":
            found = _NUMBER.findall(reply)
        case _:
            raise ValueError(f"unknown attribute {kind!r}; choose colour, place or count")
    return next(iter(found), "").lower()


def _interval(sums: np.ndarray, drawn: np.ndarray) -> Interval:
    """Ratio of the row sums of ``sums`` (2, scenes), and its interval over the resamples ``drawn`` (R, scenes)."""
    numerator, denominator = sums.sum(axis=1)
    if not denominator:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    tops, bottoms = sums[0][drawn].sum(axis=1), sums[1][drawn].sum(axis=1)
    ratios = tops[bottoms > 0] / bottoms[bottoms > 0]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Interval(float(numerator / denominator), float(low), float(high), int(denominator))
