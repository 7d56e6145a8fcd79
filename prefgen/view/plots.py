"""Small SVG plots for self-contained pages. Colors come from the page's classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from prefgen.view.collection import Collection

_WIDTH, _HEIGHT = 300, 130  # of a plot
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 26, 20
_BINS = 30


def plots(collection: Collection, non_similar: Sequence[float]) -> list[Markup]:
    """Plots of all rows; those without values are left out.

    Args:
        non_similar: figure 10 of the paper, see `prefgen.card.summary`.
    """
    index = collection.index
    similarity = index["similarity"].drop_null().to_numpy()
    chosen, rejected = (index[name].to_numpy() for name in ("chosen_chars", "rejected_chars"))
    longest = max(float(np.quantile(np.concatenate([chosen, rejected]), 0.99)), 1.0)
    drawn = []
    if len(similarity):
        low = min(0.0, float(similarity.min()))
        drawn.append(histogram("similarity", [("", similarity)], low, max(1.0, float(similarity.max()))))
    drawn.append(histogram("length in characters", [("chosen", chosen), ("rejected", rejected)], 0.0, longest))
    if non_similar:
        drawn.append(bars("non-similar after iteration (figure 10)", non_similar))
    drawn.append(histogram("new share of the rejected answer", [("", index["edit"].to_numpy())], 0.0, 1.0))
    return drawn


def histogram(title: str, series: Sequence[tuple[str, npt.NDArray[np.generic]]], low: float, high: float) -> Markup:
    """Overlaid histograms with common bins; outliers count in the last bin."""
    counts = [np.histogram(np.clip(values, low, high), bins=_BINS, range=(low, high))[0] for _, values in series]
    most = max(int(count.max()) for count in counts)
    width = (_WIDTH - _LEFT - _RIGHT) / _BINS
    shapes = [
        _bar(_LEFT + place * width, width - 1, count / most, f"series{number}")
        for number, heights in enumerate(counts)
        for place, count in enumerate(heights.tolist())
        if count
    ]
    names = [
        Markup('<text class="series{0} name" x="{1}" y="14" text-anchor="end">{2}</text>').format(
            number, _WIDTH - _RIGHT - (len(series) - 1 - number) * 56, name
        )
        for number, (name, _) in enumerate(series)
    ]
    return _frame(title, [*shapes, *names, *_axis(_number(low), _number(high))])


def bars(title: str, shares: Sequence[float]) -> Markup:
    """A bar with its figure for each share in [0, 1]."""
    width = (_WIDTH - _LEFT - _RIGHT) / len(shares)
    shapes = []
    for place, share in enumerate(shares):
        left = _LEFT + place * width
        shapes.append(_bar(left, width - 4, share * 0.85, "series0"))  # room for the figure above
        label = '<text x="{0:.1f}" y="{1:.1f}" text-anchor="middle">{2}</text>'
        top = _HEIGHT - _BOTTOM - share * 0.85 * (_HEIGHT - _TOP - _BOTTOM)
        shapes.append(Markup(label).format(left + width / 2 - 2, top - 4, f"{share:.0%}"))
        shapes.append(Markup(label).format(left + width / 2 - 2, _HEIGHT - 6, place + 1))
    return _frame(title, shapes)


def _bar(left: float, width: float, share: float, kind: str) -> Markup:
    height = share * (_HEIGHT - _TOP - _BOTTOM)
    return Markup('<rect class="{4}" x="{0:.1f}" y="{1:.1f}" width="{2:.1f}" height="{3:.1f}"/>').format(
        left, _HEIGHT - _BOTTOM - height, max(width, 0.5), height, kind
    )


def _axis(low: str, high: str) -> list[Markup]:
    text = Markup('<text x="{0}" y="{1}" text-anchor="{2}">{3}</text>')
    return [text.format(_LEFT, _HEIGHT - 6, "start", low), text.format(_WIDTH - _RIGHT, _HEIGHT - 6, "end", high)]


def _frame(title: str, shapes: Sequence[Markup]) -> Markup:
    line = Markup('<path class="axis" d="M{0} {1}H{2}"/>').format(_LEFT, _HEIGHT - _BOTTOM + 0.5, _WIDTH - _RIGHT)
    heading = Markup('<text class="title" x="{0}" y="14">{1}</text>').format(_LEFT, title)
    return Markup('<svg class="plot" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">{3}</svg>').format(
        _WIDTH, _HEIGHT, title, Markup("").join([heading, *shapes, line])
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2f}"
