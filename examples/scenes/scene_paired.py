"""Two models on the same scenes: is the difference more than chance? No torch, no model.

* McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 1947, in its
  exact form: of the scenes on which the models differ, is one right more often than a coin would have it?
* Paired bootstrap over scenes: every resample draws the same scenes for both models.
* AUC: the probability that a question about something present has a larger margin than one about something absent.
"""

import functools
import math
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
    """Ratio of sums of `after` minus that of `before`; numerators and denominators of each scene, (2, S) each."""
    scenes = before.shape[1]
    drawn = _drawn(scenes, seed, resamples)
    low, high = np.nanpercentile(_ratios(after, drawn) - _ratios(before, drawn), [2.5, 97.5])
    whole = np.ones((1, scenes))
    value = (_ratios(after, whole) - _ratios(before, whole))[0]
    return Difference(float(value), float(low), float(high))


def auc(present: np.ndarray, absent: np.ndarray) -> float:
    """Share of (present, absent) pairs whose margins are in the right order; ties count half. (N,) and (M,)."""
    above = present[:, None] - absent
    return float(((above > 0) + (above == 0) / 2).mean())


@functools.cache
def _drawn(scenes: int, seed: int, resamples: int) -> np.ndarray:
    """How often each resample has each scene, (R, S)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=resamples).astype(float)


def _ratios(sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each resample, (R,), NaN where nothing was counted; weights (R, S) say how often it has a scene."""
    numerators, denominators = (weights @ sums.T).T
    ratios: np.ndarray = np.divide(numerators, denominators, out=np.full(len(weights), np.nan), where=denominators > 0)
    return ratios
