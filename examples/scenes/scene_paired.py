"""Two models on the same scenes: is the difference more than chance? No torch, no model.

* McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 1947, in its
  exact form: of the scenes on which the models differ, is one right more often than a coin would have it?
* Paired bootstrap over scenes and seeds: every resample draws the same scenes for both models, and trainings of one.
* Sign flips: how often would exchanging the models scene by scene make as large a difference?
* Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
* AUC: the probability that a question about something present has a larger margin than one about something absent.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """A ratio of one model minus that of another, with its 95% interval."""

    value: float
    low: float
    high: float


def mcnemar(before: np.ndarray, after: np.ndarray) -> tuple[int, int, float]:
    """Scenes that went from true to false, from false to true, and the two-sided exact p-value; bool (S,) each."""
    fixed, broke = int((before & ~after).sum()), int((~before & after).sum())
    differing = fixed + broke
    tail = sum(math.comb(differing, count) for count in range(min(fixed, broke) + 1)) / 2**differing
    return fixed, broke, min(1.0, 2 * tail)


def difference(before: np.ndarray, after: np.ndarray, seed: int = 0, resamples: int = 10_000) -> Difference:
    """Ratio of sums of `after` minus that of `before`: numerators and denominators of each scene.

    Args:
        before: of one model, (2, S).
        after: of K trainings, (K, 2, S) or (2, S); they are drawn anew, too, and their sums added up.
    """
    after = after.reshape(-1, *before.shape)
    trainings, _, scenes = after.shape
    weights = _drawn(scenes, seed, resamples)
    shares = _drawn(trainings, seed + 1, resamples)
    sums = np.einsum("rk,rs,kns->rn", shares, weights, after, optimize=True)
    low, high = np.nanpercentile(ratios(sums.T) - ratios(before @ weights.T), [2.5, 97.5])
    value = ratios(after.sum(axis=(0, 2))) - ratios(before.sum(axis=1))
    return Difference(float(value), float(low), float(high))


def sign_flips(before: np.ndarray, after: np.ndarray, seed: int = 0, flips: int = 20_000) -> float:
    """Two-sided p-value of the scenes' changes, of `before` (S,) and the mean over trainings of `after` (K, S)."""
    changes = after.mean(axis=0) - before
    changes = changes[changes != 0]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(flips, len(changes)))
    as_large = np.abs(signs @ changes) >= abs(changes.sum()) - 1e-9
    return float((as_large.sum() + 1) / (flips + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, corrected for their number."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def auc(present: np.ndarray, absent: np.ndarray) -> float:
    """Share of (present, absent) pairs whose margins are in the right order; ties count half. (N,) and (M,)."""
    above = present[:, None] - absent
    return float(((above > 0) + (above == 0) / 2).mean())


@functools.cache
def _drawn(count: int, seed: int, resamples: int) -> np.ndarray:
    """Number of times that each resample has each of so many things, (R, count)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)


def ratios(sums: np.ndarray) -> np.ndarray:
    """Numerators through denominators, (2, ...) to (...), NaN where nothing was counted."""
    top, bottom = sums
    quotients: np.ndarray = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return quotients
