"""The figures of prove.py: what the models said, counted, compared with the base model scene by scene, and drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scene_paired import auc, difference, holm, mcnemar, ratios, sign_flips

from prefgen.evaluate.scenes.claims import kinds_in
from prefgen.evaluate.scenes.heldout import Heldout
from prefgen.evaluate.scenes.metrics import Tally, first_sentences, sentence_count

COMPARED = ("partner_hallucination", "chair_i", "chair_s", "object_recall", "chair_i_matched")
RATIOS = (
    *COMPARED,
    "other_hallucination",
    "yes_no/accuracy",
    "random/accuracy",
    "popular/accuracy",
    "adversarial/accuracy",
    "attributes/accuracy",
    "colour/accuracy",
    "count/accuracy",
    "action/accuracy",
    "place/accuracy",
)
LENGTHS = ("caption_words", "caption_sentences")
RECALL_MARGIN = 0.01  # how much recall an arm may lose
SIGNIFICANT = 0.05

Answers = Mapping[str, Any]
"""What `prove.py` keeps of a model, see `examine.Answers`."""


@dataclass(frozen=True)
class Counted:
    """A model's answers on all scenes.

    Attributes:
        tally: sums for each scene.
        figures: the same as ratios, with AUC and the probability of the end token.
    """

    tally: Tally
    figures: dict[str, float]

    @property
    def partners(self) -> np.ndarray:
        """Number of absent partners that the caption of each scene mentions, (S,)."""
        mentioned, _ = self.tally.sums("partner_hallucination")
        return np.asarray(mentioned)


def count(answers: Answers, base: Answers, items: Sequence[Heldout]) -> Counted:
    """Count a model's answers; `chair_i_matched` is of captions cut to as many sentences as the base model's have."""
    tally = Tally(len(items))
    words, margins, replies = iter(answers["probes"]), iter(answers["margins"]), iter(answers["attributes"])
    by_split: dict[str, list[float]] = {}
    for scene, item in enumerate(items):
        caption = answers["captions"][scene]
        tally.add_caption(scene, caption, item.scene)
        mentioned = kinds_in(first_sentences(caption, sentence_count(base["captions"][scene])))
        tally.add("chair_i_matched", scene, len(mentioned - item.scene.kinds), len(mentioned))
        if scene < len(answers["ends"]):  # asked of the first scenes only, as the attributes are
            for probe in item.probes:
                tally.add_probe(scene, probe.split, probe.answer, next(words))
                by_split.setdefault(probe.split, []).append(next(margins))
        for attribute, reply in zip(item.attributes, replies, strict=False):
            tally.add_attribute(scene, attribute.kind, attribute.answer, reply)
    figures = {name: ratio(tally.sums(name)) for name in (*RATIOS, *LENGTHS)}
    for kind in ("random", "popular", "adversarial"):
        figures[f"{kind}/auc"] = auc(np.array(by_split["present"]), np.array(by_split[f"absent-{kind}"]))
    figures["end_probability"] = float(np.mean(answers["ends"]))
    return Counted(tally, figures)


def compared(arm: Counted, base: Counted) -> dict[str, Any]:
    """One trained model and the base model on the same scenes."""
    fixed, broke, p = mcnemar(base.partners > 0, arm.partners > 0)
    return {
        "figures": arm.figures,
        "changes": changes([arm], base),
        "mcnemar": {"fixed": fixed, "broke": broke, "p": p},
    }


def changes(trainings: Sequence[Counted], base: Counted) -> dict[str, Any]:
    """Each figure of `COMPARED` minus the base model's, with its interval over scenes and trainings."""
    return {
        name: vars(difference(base.tally.sums(name), np.stack([one.tally.sums(name) for one in trainings])))
        for name in COMPARED
    }


def report(answers: Mapping[str, Sequence[Answers]], base: Answers, items: Sequence[Heldout]) -> dict[str, Any]:
    """All arms: each seed against the base model, and the seeds together.

    Args:
        answers: of each arm, one for each seed.

    Returns:
        ``base`` with its figures, and ``arms``: for each arm its ``seeds``, the ``mean`` of their figures, ``changes``
        of the seeds' sums added up, ``p`` of hallucinated partners, corrected for the number of arms, and ``verdict``.
    """
    standing = count(base, base, items)
    intervals = {name: vars(figure) for name, figure in standing.tally.intervals().items() if name in RATIOS}
    counted = {name: [count(one, base, items) for one in each] for name, each in answers.items()}
    corrected = holm(
        [sign_flips(standing.partners, np.stack([one.partners for one in each])) for each in counted.values()]
    )
    arms = {}
    for (name, each), p in zip(counted.items(), corrected, strict=True):
        seeds = [compared(one, standing) for one in each]
        mean = {metric: float(np.mean([one.figures[metric] for one in each])) for metric in standing.figures}
        arms[name] = {"mean": mean, "changes": changes(each, standing), "p": p, "seeds": seeds}
        arms[name]["verdict"] = verdict(arms[name], standing.figures)
    return {"base": {"figures": standing.figures, "intervals": intervals}, "arms": arms}


def verdict(arm: Mapping[str, Any], base: Mapping[str, float]) -> dict[str, Any]:
    """The primary measure, of all seeds together, and the goal: a quarter off CHAIR_i and recall kept in every seed."""
    fewer = arm["p"] < SIGNIFICANT and arm["changes"]["partner_hallucination"]["value"] < 0
    recall = [seed["changes"]["object_recall"]["value"] >= -RECALL_MARGIN for seed in arm["seeds"]]
    quarter = [base["chair_i"] - seed["figures"]["chair_i"] >= base["chair_i"] / 4 > 0 for seed in arm["seeds"]]
    return {
        "better": fewer and arm["changes"]["object_recall"]["value"] >= -RECALL_MARGIN,
        "recall_kept": sum(recall),
        "quarter_off_chair_i": sum(quarter),
        "seeds": len(recall),
        "goal": all(recall) and all(quarter),
    }


def ratio(sums: np.ndarray) -> float:
    """Of all scenes together."""
    return float(ratios(sums.sum(axis=1)))
