"""95% bootstrap intervals over pictures, and paired tests of two models.

Questions about one picture are not independent, so pictures are drawn, with all that was asked about them. A figure is
computed of sums over pictures, so that one draw of pictures serves all figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[np.float64]
Figures = dict[str, float | None]
"""Figures by name; None where there is nothing to take them of."""
Interval = tuple[float, float]
RESAMPLES = 1000


def drawn(pictures: int, seed: int, resamples: int = RESAMPLES) -> Sums:
    """Number of times each picture is in each resample, (R, P)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(pictures, np.full(pictures, 1 / pictures), size=resamples).astype(np.float64)


def intervals(counts: Sums, figures: Callable[[Sums], Figures], weights: Sums) -> dict[str, Interval | None]:
    """The 2.5th and 97.5th percentile of each figure.

    Args:
        counts: of each picture, (P, C).
        figures: of sums over pictures, (C,).
        weights: of `drawn`.
    """
    found = [figures(sums) for sums in weights @ counts]
    return {name: percentiles([each[name] for each in found]) for name in figures(counts.sum(axis=0))}


def percentiles(values: Sequence[float | None]) -> Interval | None:
    """The middle 95% of the values, ignoring NaN."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def share(part: float, whole: float) -> float | None:
    """A fraction; None if the denominator is 0."""
    return float(part / whole) if whole else None


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test, from the numbers of items that only one model has right."""
    count = only_first + only_second
    if not count:
        return 1.0
    tail = sum(math.comb(count, k) for k in range(min(only_first, only_second) + 1))
    return float(min(1.0, 2 * tail / 2**count))


def differences(
    one: Sums, other: Sums, figures: Callable[[Sums], Figures], weights: Sums
) -> dict[str, tuple[float, Interval] | None]:
    """Figures of the other model minus those of the first, on the same pictures: value and interval.

    Args:
        one: counts of each picture, (P, C); `other` likewise, in the same order.
    """
    pairs = [(figures(one.sum(axis=0)), figures(other.sum(axis=0)))]
    pairs += [(figures(weight @ one), figures(weight @ other)) for weight in weights]
    found: dict[str, tuple[float, Interval] | None] = {}
    for name in pairs[0][0]:
        values = [_minus(second[name], first[name]) for first, second in pairs]
        middle = percentiles(values[1:])
        found[name] = None if values[0] is None or middle is None else (values[0], middle)
    return found


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def by_picture(items: Sequence[tuple[str, Sequence[float]]]) -> tuple[list[str], Sums]:
    """Counts of items summed by picture: names in order of first occurrence, (P, C)."""
    sums: dict[str, Sums] = {}
    for picture, counts in items:
        values = np.array(counts, dtype=np.float64)
        sums[picture] = sums[picture] + values if picture in sums else values
    return list(sums), np.array(list(sums.values()))


def rounded(figures: Mapping[str, float | None], digits: int = 6) -> Figures:
    """Figures rounded for output."""
    return {name: None if value is None else round(value, digits) for name, value in figures.items()}
