"""Plot of a training run's metrics, as a self-contained SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
_WIDTH, _HEIGHT, _HEAD = 400, 230, 34  # of a panel, and of the legend above all
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 30, 40
_MEANS = 10  # independent means that a line is drawn of, from twice as many steps on
_POINTS = 600  # of a line at most
_STYLE = """
text { font: 11px system-ui, "Segoe UI", Roboto, sans-serif; fill: #4a5565; }
.title { font-size: 12px; font-weight: 600; fill: #1c2430; }
path { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.grid { stroke: #e6e9ee; stroke-width: 1; } .axis { stroke: #97a3b4; stroke-width: 1; }
.each { stroke: #2f6fd0; stroke-width: 1; stroke-opacity: .35; } .mean { stroke: #2f6fd0; }
.held { stroke: #c05a12; fill: #fff; stroke-width: 1.6; } path.held { fill: none; stroke-dasharray: 5 3; }
"""
_RATED = {
    "loss": "loss",
    "rewards/accuracies": "accuracy: margin above 0 (share of pairs)",
    "rewards/margins": "margin of the rewards",
    "rewards/chosen": "reward: chosen answers",
    "rewards/rejected": "reward: rejected answers",
}
_PAIRS = {
    "loss": _RATED["loss"],
    "rewards/accuracies": _RATED["rewards/accuracies"],
    "rewards/margins": "margin of the rewards (nats)",
    "logps/end": "log-probability: end of chosen answers (nats)",
    "logps/chosen": "log-probability: chosen answers (nats)",
    "logps/rejected": "log-probability: rejected answers (nats)",
}
_SAMPLED = {
    "reward": "reward of sampled answers",
    "kl": "KL from the reference, of an answer (nats)",
    "completions/mean_length": "length of answers (tokens)",
    "entropy": "entropy (nats a token)",
    "alike": "prompts all of whose answers are alike (share)",
    "completions/clipped_ratio": "answers cut by the limit of tokens (share)",
}
_SHARE = (0.0, 1.0)  # the limits of an accuracy


def draw(history: Sequence[Mapping[str, float]]) -> str:
    """The SVG of a run.

    Args:
        history: the lines of ``metrics.jsonl``: those of steps, and of held-out samples (``eval_…``).
    """
    steps = [entry for entry in history if "loss" in entry]
    held = [entry for entry in history if "eval_loss" in entry]
    window = len(steps) // _MEANS if len(steps) >= 2 * _MEANS else 1
    last = max((int(entry["step"]) for entry in history), default=1)
    names = {name for entry in steps for name in entry}
    shown = _RATED if "rewards/chosen" in names and "logps/end" not in names else _PAIRS
    shown = _SAMPLED if "alike" in names else shown
    width, height = 2 * _WIDTH, _HEAD + _HEIGHT * -(-len(shown) // 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="metrics of a training run by optimizer step">',
        f"<style>{_STYLE}</style>",
        f'<clipPath id="inside"><rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}"/></clipPath>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *_legend(window, bool(held)),
    ]
    for place, (name, title) in enumerate(shown.items()):
        left, top = place % 2 * _WIDTH, _HEAD + place // 2 * _HEIGHT
        limits = _SHARE if name == "rewards/accuracies" else None
        drawn = _panel(title, _values(steps, name), _values(held, f"eval_{name}"), limits, window, last)
        parts += [f'<g transform="translate({left} {top})">', *drawn, "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    title: str, each: Points, held: Points, limits: tuple[float, float] | None, window: int, last: int
) -> Iterator[str]:
    mean = means(each, window)
    low, high = limits or _limits(each[:, 1], np.concatenate([mean, held])[:, 1])

    def across(step: float) -> float:
        return _LEFT + step / last * (_WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def path(points: Points, kind: str) -> str:
        thinned = points[:: math.ceil(len(points) / _POINTS)]
        drawn = " ".join(f"{across(step):.1f},{down(value):.1f}" for step, value in thinned)
        return f'<path class="{kind}" d="M{drawn}" clip-path="url(#inside)"/>'

    yield f'<text class="title" x="{_LEFT}" y="18">{title}</text>'
    foot = _HEIGHT - _BOTTOM
    for value in ticks(low, high):
        yield f'<path class="grid" d="M{_LEFT} {down(value):.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 6}" y="{down(value) + 4:.1f}" text-anchor="end">{_number(value)}</text>'
    for step in ticks(0, last, whole=True):
        yield f'<path class="axis" d="M{across(step):.1f} {foot}v4"/>'
        yield f'<text x="{across(step):.1f}" y="{foot + 17}" text-anchor="middle">{step:,.0f}</text>'
    yield f'<path class="axis" d="M{_LEFT} {foot}H{_WIDTH - _RIGHT}"/>'
    yield f'<text x="{_WIDTH - _RIGHT}" y="{foot + 33}" text-anchor="end">optimizer step</text>'
    if window > 1:
        yield path(each, "each")
    if len(mean):
        yield path(mean, "mean")
    if len(held):
        yield path(held, "held")
    for step, value in held:
        yield f'<circle class="held" cx="{across(step):.1f}" cy="{down(value):.1f}" r="3"/>'


def _legend(window: int, held_out: bool) -> Iterator[str]:
    """The legend of the line styles."""
    kinds = [("each", "each step"), ("mean", f"mean of {window:,} steps")] if window > 1 else [("mean", "each step")]
    left = _LEFT
    for kind, label in [*kinds, ("held", "held-out samples")] if held_out else kinds:
        yield f'<path class="{kind}" d="M{left} 20h26"/>'
        if kind == "held":
            yield f'<circle class="held" cx="{left + 13}" cy="20" r="3"/>'
        yield f'<text x="{left + 32}" y="24">{label}</text>'
        left += 52 + 6 * len(label)


def means(points: Points, window: int) -> Points:
    """Moving averages of steps and values over `window` points: (N, 2) to (N - window + 1, 2)."""
    if len(points) < window:
        return points
    return np.asarray(np.lib.stride_tricks.sliding_window_view(points, window, axis=0).mean(axis=-1))


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Four to eight round numbers in a range; `whole` for integers, which may be fewer."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * 0.999)
    step = max(1.0, step) if whole else step
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _values(entries: Sequence[Mapping[str, float]], name: str) -> Points:
    """Step and value of each entry with this metric, (N, 2)."""
    found = [(entry["step"], entry[name]) for entry in entries if math.isfinite(entry.get(name, math.nan))]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _limits(each: Points, whole: Points) -> tuple[float, float]:
    """The value range that holds the averages and most single steps, with a margin."""
    values = np.concatenate([whole, np.quantile(each, (0.05, 0.95))] if len(each) else [whole, np.zeros(1)])
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    return low - room, high + room


def _number(value: float) -> str:
    return f"{value:.6g}".replace("-", "−") if abs(value) > 1e-12 else "0"
