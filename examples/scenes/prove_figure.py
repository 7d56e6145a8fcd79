"""The tables and figures of prove.py, made of its JSON."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

Columns = Mapping[str, tuple[str, int, int]]
"""Head of a column to a figure's name, its factor and its digits behind the point."""

CAPTIONS: Columns = {
    "CHAIR_i": ("chair_i", 100, 1),
    "at base's length": ("chair_i_matched", 100, 1),
    "CHAIR_s": ("chair_s", 100, 1),
    "recall": ("object_recall", 100, 1),
    "words": ("caption_words", 1, 1),
    "p(end)": ("end_probability", 1, 3),
}
QUESTIONS: Columns = {
    "yes/no": ("yes_no/accuracy", 100, 1),
    "popular": ("popular/accuracy", 100, 1),
    "adversarial": ("adversarial/accuracy", 100, 1),
    "AUC popular": ("popular/auc", 1, 4),
    "AUC adversarial": ("adversarial/auc", 1, 4),
    "attributes": ("attributes/accuracy", 100, 1),
    "other hallucination": ("other_hallucination", 100, 1),
}
INTERVALS = ("chair_i", "object_recall")
_ROW, _LABEL, _PANEL, _GAP, _TOP = 24, 265, 250, 40, 56  # pixels
_PANELS = (
    ("partner_hallucination", "partner hallucination, points"),
    ("chair_i", "CHAIR_i, points"),
    ("object_recall", "recall, points"),
)


def tables(result: Mapping[str, Any]) -> str:
    """Both tables in Markdown."""
    return (
        f"{captions(result)}\n{_lines(['arm', *QUESTIONS], ([n, *_cells(f, QUESTIONS)] for n, f, _ in _rows(result)))}"
    )


def captions(result: Mapping[str, Any]) -> str:
    """Table of captions: means over the seeds; changes and intervals; seeds in which the goal's halves are met."""
    heads = ["", "arm", "partner hallucination", "p", *CAPTIONS, "a quarter off CHAIR_i", "recall kept"]
    rows = []
    for number, (name, figures, arm) in enumerate(_rows(result)):
        cells = _cells(figures, CAPTIONS)
        partner, p, passed = f"{100 * figures['partner_hallucination']:.1f}", "", ["", ""]
        if arm:
            partner += _change(arm, "partner_hallucination")
            for column, (metric, _, _) in enumerate(CAPTIONS.values()):
                cells[column] += _change(arm, metric) if metric in INTERVALS else ""
            verdict, p = arm["verdict"], f"{arm['p']:.3f}"
            passed = [f"{verdict[key]} of {verdict['seeds']}" for key in ("quarter_off_chair_i", "recall_kept")]
        rows.append([str(number or ""), name, partner, p, *cells, *passed])
    return _lines(heads, rows)


def _change(arm: Mapping[str, Any], metric: str) -> str:
    return " ({value:+.1f} [{low:+.1f}, {high:+.1f}])".format(**_points(arm["changes"][metric]))


def _cells(figures: Mapping[str, float], columns: Columns) -> list[str]:
    return [f"{figures[key] * scale:.{digits}f}" for key, scale, digits in columns.values()]


def _lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)) + "\n"


def figure(result: Mapping[str, Any]) -> str:
    """As SVG: each arm's change against the base model, interval and mean, with a ring for each seed."""
    arms = [(name, arm) for name, _, arm in _rows(result) if arm]
    height = _TOP + _ROW * len(arms) + 40
    width = _LABEL + len(_PANELS) * (_PANEL + _GAP)
    parts: list[str] = []
    for row, (name, _) in enumerate(arms):
        parts.append(f'<text x="{_LABEL - 12}" y="{_middle(row) + 4}" text-anchor="end">{escape(name)}</text>')
    for number, (metric, title) in enumerate(_PANELS):
        parts += _panel(arms, metric, title, _LABEL + number * (_PANEL + _GAP), height)
    return _svg(width, height, parts)


def _panel(arms: Sequence[tuple[str, Mapping[str, Any]]], metric: str, title: str, left: int, height: int) -> list[str]:
    changes = [_points(arm["changes"][metric]) for _, arm in arms]
    seeds = [[_points(seed["changes"][metric])["value"] for seed in arm["seeds"]] for _, arm in arms]
    values = [value for change in changes for value in change.values()] + [value for each in seeds for value in each]
    low, high = min(-2.0, *values), max(1.0, *values)

    def x(value: float) -> str:
        return f"{left + _PANEL * (value - low) / (high - low):.1f}"

    bottom = height - 32
    limit = f'<line x1="{x(-1)}" x2="{x(-1)}" y1="{_TOP - 12}" y2="{bottom}" stroke="#c33" stroke-dasharray="4 3"/>'
    parts = [
        f'<text x="{left + _PANEL / 2}" y="24" text-anchor="middle" font-weight="bold">{escape(title)}</text>',
        f'<line x1="{x(0)}" x2="{x(0)}" y1="{_TOP - 12}" y2="{bottom}" stroke="#888"/>',
        *([limit] if metric == "object_recall" else []),
    ]
    step = 1 if high - low <= 8 else 2 if high - low <= 16 else 5 if high - low <= 40 else 10
    parts += [
        f'<text x="{x(tick)}" y="{bottom + 18}" text-anchor="middle" fill="#555">{f"{tick:+d}" if tick else 0}</text>'
        for tick in range(math.ceil(low / step) * step, math.floor(high) + 1, step)
    ]
    for row, (change, each) in enumerate(zip(changes, seeds, strict=True)):
        y = _middle(row)
        parts.append(
            f'<line x1="{x(change["low"])}" x2="{x(change["high"])}" y1="{y}" y2="{y}" stroke="#246" stroke-width="2"/>'
        )
        parts += [f'<circle cx="{x(value)}" cy="{y}" r="4" fill="none" stroke="#79b"/>' for value in each]
        parts.append(f'<circle cx="{x(change["value"])}" cy="{y}" r="4" fill="#246"/>')
    return parts


def plane(result: Mapping[str, Any]) -> str:
    """As SVG: recall and CHAIR_i of each arm, numbered as in the table; better is to the right and below."""
    points = [(figures["object_recall"] * 100, figures["chair_i"] * 100) for _, figures, _ in _rows(result)]
    width, height, left, top = 900, 560, 60, 20
    lows, highs = ([cut(each) for each in zip(*points, strict=True)] for cut in (min, max))
    spans = [(math.floor(low - 0.5), math.ceil(high + 0.5)) for low, high in zip(lows, highs, strict=True)]

    def place(recall: float, chair: float) -> tuple[float, float]:
        (a, b), (c, d) = spans
        x = left + (width - left - 20) * (recall - a) / (b - a)
        return x, height - 50 - (height - 50 - top) * (chair - c) / (d - c)

    parts = [
        f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">recall, percent</text>',
        f'<text transform="translate(16 {height / 2}) rotate(-90)" text-anchor="middle">CHAIR_i, percent</text>',
    ]
    for axis, (low, high) in enumerate(spans):
        for tick in range(low, high + 1, max(1, (high - low) // 8)):
            x, y = place(*((tick, spans[1][0]) if axis == 0 else (spans[0][0], tick)))
            shift, anchor = ((0, 18), "middle") if axis == 0 else ((-8, 4), "end")
            parts.append(
                f'<text x="{x + shift[0]:.1f}" y="{y + shift[1]:.1f}" text-anchor="{anchor}" fill="#555">{tick}</text>'
            )
    base_x, base_y = place(*points[0])
    parts.append(f'<path d="M{base_x:.1f} {top}V{height - 50}M{left} {base_y:.1f}H{width - 20}" stroke="#ccc"/>')
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in (place(*point) for point in points)]
    for number, point in enumerate(points):
        (x, y), text = place(*point), str(number) if number else "base"
        colour = "#246" if number else "#c33"
        box = next((each for each in _around(x, y, 7 * len(text)) if not _meets(each, taken)), (x + 5, y - 14, x, y))
        taken.append(box)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        parts.append(f'<text x="{box[0]:.1f}" y="{box[3]:.1f}" fill="{colour}">{text}</text>')
    return _svg(width, height, parts)


Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge in pixels."""


def _around(x: float, y: float, width: float) -> Iterator[Box]:
    """Places for a label near a point, the best first."""
    for far in (0, 12, 24):
        for left, lower in (
            (5 + far, -4),
            (5 + far, 13),
            (-5 - far - width, -4),
            (-5 - far - width, 13),
            (-far, -8 - far),
        ):
            yield x + left, y + lower - 9, x + left + width, y + lower


def _meets(box: Box, others: Iterable[Box]) -> bool:
    left, upper, right, lower = box
    return any(left < r and right > a and upper < d and lower > b for a, b, r, d in others)


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    return "\n".join([*lines, *parts, "</svg>"]) + "\n"


def _rows(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float], Mapping[str, Any] | None]]:
    arms = [(name, arm["mean"], arm) for name, arm in result["arms"].items()]
    return [("base", result["base"]["figures"], None), *arms]


def _points(change: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * value for name, value in change.items()}


def _middle(row: int) -> int:
    return _TOP + _ROW * row
