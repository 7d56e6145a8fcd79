"""Shortcuts: ways to tell the rejected answer without the picture, which a policy learns first."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prefgen.linting import thresholds
from prefgen.linting.findings import EXAMPLES, Example, Finding, RowTally, shorten
from prefgen.linting.rows import PairRow

if TYPE_CHECKING:
    import numpy.typing as npt


class LengthBias:
    """Check of length as a shortcut to the rejected answer."""

    def __init__(self) -> None:
        self._shorter, self._longer = RowTally(), RowTally()
        self._words = self._squares = (0, 0)  # sums of words and of their squares, of chosen and rejected

    def see(self, row: PairRow) -> None:
        """Count the words of a pair."""
        chosen, rejected = len(row.chosen.split()), len(row.rejected.split())
        self._words = self._words[0] + chosen, self._words[1] + rejected
        self._squares = self._squares[0] + chosen**2, self._squares[1] + rejected**2
        if rejected != chosen:
            tally = self._shorter if rejected < chosen else self._longer
            tally.add(row, f"{chosen} words chosen, {rejected} rejected")

    def findings(self, rows: int) -> Iterator[Finding]:
        """Cohen's d, and the accuracy of a guess by length; equal lengths count one half."""
        chosen, rejected = (total / rows for total in self._words)
        chosen_squares, rejected_squares = (total / rows for total in self._squares)
        spread = ((chosen_squares - chosen**2 + rejected_squares - rejected**2) / 2) ** 0.5
        d = (rejected - chosen) / spread if spread else 0.0
        ties = rows - self._shorter.count - self._longer.count
        accuracy = (self._shorter.count + ties / 2) / rows
        biased = abs(d) >= thresholds.LENGTH_D or max(accuracy, 1 - accuracy) >= thresholds.LENGTH_ACCURACY
        tally = self._shorter if accuracy >= 0.5 else self._longer
        yield tally.finding(
            "length-bias",
            "warning" if biased else "info",
            rows,
            f"{chosen:.1f} words chosen, {rejected:.1f} rejected (Cohen's d {d:+.2f}); "
            f"“the shorter one is rejected” is right in {accuracy:.1%}",
            "Balance the lengths by filtering, or train with a length-normalised loss; watch the length of what the "
            "policy generates."
            if biased
            else "",
        )


@dataclass(frozen=True)
class Separation:
    """Accuracy of a classifier of chosen and rejected answers by their words.

    Attributes:
        auc: area under the ROC curve of held-out scores; `low` to `high` is its 95 % interval.
        pairs_right: share of pairs whose rejected answer has the higher score.
        rejected_words: what speaks most for rejected; `chosen_words` for chosen.
        surest: places of the pairs whose rejected answer has the highest scores.
    """

    auc: float
    low: float
    high: float
    pairs_right: float
    rejected_words: tuple[str, ...]
    chosen_words: tuple[str, ...]
    surest: tuple[int, ...]


class Detectability:
    """Check of words as a shortcut to the rejected answer."""

    def __init__(self) -> None:
        # The pairs whose ids have the smallest digests: a sample that depends on nothing but the data.
        self._kept: list[tuple[int, str, str, str]] = []

    def see(self, row: PairRow) -> None:
        """Keep a pair if it is in the sample."""
        key = -int.from_bytes(hashlib.blake2b(row.id.encode(), digest_size=8).digest(), "little")
        limit = thresholds.CLASSIFIER_CHARS
        if len(self._kept) < thresholds.CLASSIFIER_PAIRS:
            heapq.heappush(self._kept, (key, row.id, row.chosen[:limit], row.rejected[:limit]))
        elif key > self._kept[0][0]:
            heapq.heapreplace(self._kept, (key, row.id, row.chosen[:limit], row.rejected[:limit]))

    def findings(self, rows: int) -> Iterator[Finding]:
        """The classifier's figures, and its most important words."""
        kept = sorted(self._kept)
        found = separate([(chosen, rejected) for _, _, chosen, rejected in kept])
        if found is None:
            message = f"fewer than {thresholds.CLASSIFIER_PAIRS_MIN} different pairs: too few to train a classifier on"
            yield Finding("detectable", "info", 0, 0.0, message)
            return
        grave = found.low >= thresholds.AUC_WARNING
        words = ", ".join(f"“{word}”" for word in found.rejected_words)
        other = ", ".join(f"“{word}”" for word in found.chosen_words)
        yield Finding(
            "detectable",
            "warning" if grave else "info",
            round(found.pairs_right * rows),
            found.pairs_right,
            f"without the picture, words alone tell rejected from chosen with AUC {found.auc:.2f} "
            f"(95 % {found.low:.2f} to {found.high:.2f}), and {found.pairs_right:.0%} of pairs; "
            f"rejected: {words}; chosen: {other}",
            "The pairs differ in style as well as in truth. Look at these words in `prefgen view`; use guidance, a "
            "stronger model, or filter the rows that give themselves away."
            if grave
            else "",
            tuple(Example(kept[place][1], shorten(kept[place][3])) for place in found.surest),
        )


def separate(pairs: list[tuple[str, str]]) -> Separation | None:
    """Cross-validated logistic regression on words and word pairs, (chosen, rejected) each.

    All pairs with the same chosen answer are in one fold, or the classifier would recognise answers it has seen.

    Returns:
        None if there are too few pairs, or too few different ones.
    """
    groups = [int.from_bytes(hashlib.blake2b(chosen.encode(), digest_size=4).digest(), "little") for chosen, _ in pairs]
    if len(pairs) < thresholds.CLASSIFIER_PAIRS_MIN or len(set(groups)) < thresholds.CLASSIFIER_FOLDS:
        return None
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    vectorizer = CountVectorizer(
        ngram_range=(1, 2),
        token_pattern=r"\w+|[^\w\s]",
        binary=True,  # or a long answer would be recognised by its length, which has a check of its own
        min_df=2,
        max_features=thresholds.CLASSIFIER_FEATURES,
    )
    try:
        features = vectorizer.fit_transform([text for side in (0, 1) for text in (pair[side] for pair in pairs)])
    except ValueError:  # no word is in two answers
        return None
    labels = np.repeat([0, 1], len(pairs))
    scores = np.zeros(len(labels))
    for train, test in GroupKFold(thresholds.CLASSIFIER_FOLDS).split(features, labels, np.tile(groups, 2)):
        model = LogisticRegression(solver="liblinear").fit(features[train], labels[train])
        scores[test] = model.decision_function(features[test])
    chosen, rejected = np.split(scores, 2)
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(pairs), len(pairs)) for _ in range(thresholds.BOOTSTRAPS))  # pairs stay together
    low, high = np.quantile([auc(chosen[draw], rejected[draw]) for draw in draws], [0.025, 0.975])
    weights = LogisticRegression(solver="liblinear").fit(features, labels).coef_[0]
    names, order = vectorizer.get_feature_names_out(), np.argsort(weights)
    return Separation(
        auc=auc(chosen, rejected),
        low=float(low),
        high=float(high),
        pairs_right=float(np.mean((rejected > chosen) + (rejected == chosen) / 2)),
        rejected_words=tuple(names[place] for place in order[::-1][: thresholds.TELLING_WORDS] if weights[place] > 0),
        chosen_words=tuple(names[place] for place in order[: thresholds.TELLING_WORDS] if weights[place] < 0),
        surest=tuple(int(place) for place in np.argsort(-rejected, kind="stable")[:EXAMPLES]),
    )


def auc(negative: npt.NDArray[np.float64], positive: npt.NDArray[np.float64]) -> float:
    """Probability that a positive score is above a negative one; equal scores count one half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.sum() / (2 * len(negative) * len(positive)))
