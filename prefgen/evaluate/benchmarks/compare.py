"""Comparison of two models on one benchmark: paired differences with intervals, and McNemar's test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from prefgen import durable
from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks import chair, files, judged, pope
from prefgen.evaluate.benchmarks.intervals import Figures, Sums, differences, drawn, mcnemar

SCORES, ITEMS = "scores.json", "items.jsonl"
_FIGURES: Mapping[str, Callable[[Sums], Figures]] = {
    "pope": pope.figures,
    "chair": chair.figures,
    "mmhal": judged.mmhal_figures,
    "llava-bench": judged.bench_figures,
}
_SAME = (
    "benchmark",
    "parser",
    "synonyms",
    "lemmatiser",
    "judge",
    "prompt",
    "with_image",
)  # else they say nothing together


def compare(one: Path, other: Path, seed: int = 0) -> dict[str, Any]:
    """Figures of `other` minus those of `one`, on the items that both have.

    Raises:
        UsageError: one holds no scores, they are of different kinds, or they share no item.
    """
    scores = [_scores(path) for path in (one, other)]
    differing = [name for name in _SAME if scores[0].get(name) != scores[1].get(name)]
    if differing:
        raise UsageError(
            f"{one} and {other} were not scored alike: "
            + ", ".join(f"{name} {scores[0].get(name)!r} and {scores[1].get(name)!r}" for name in differing)
        )
    items = [_items(path) for path in (one, other)]
    shared = [key for key in items[0] if key in items[1]]
    if not shared:
        raise UsageError(f"{one} and {other} have no item in common")
    pictures = {picture: place for place, picture in enumerate(dict.fromkeys(items[0][k]["picture"] for k in shared))}
    counts = [np.zeros((len(pictures), len(items[0][shared[0]]["counts"]))) for _ in items]
    for key in shared:
        for sums, own in zip(counts, items, strict=True):
            sums[pictures[items[0][key]["picture"]]] += own[key]["counts"]
    figures = _FIGURES[scores[0]["benchmark"]]
    found = differences(counts[0], counts[1], figures, drawn(len(pictures), seed))
    rights = [[bool(own[key]["right"]) for key in shared] for own in items]
    only = [sum(a and not b for a, b in zip(*pair, strict=True)) for pair in (rights, rights[::-1])]
    return {
        "benchmark": scores[0]["benchmark"],
        "one": str(one),
        "other": str(other),
        "items": len(shared),
        "only_in_one": len(items[0]) - len(shared),
        "only_in_other": len(items[1]) - len(shared),
        "one_figures": figures(counts[0].sum(axis=0)),
        "other_figures": figures(counts[1].sum(axis=0)),
        "differences": {
            name: None if value is None else {"value": value[0], "interval": value[1]} for name, value in found.items()
        },
        "right_only_in_one": only[0],
        "right_only_in_other": only[1],
        "mcnemar_p": mcnemar(*only),
    }


def _scores(path: Path) -> dict[str, Any]:
    file = path / SCORES
    if not file.exists():
        raise UsageError(f"{path} holds no {SCORES}: it is what `prefgen eval` writes to its --output")
    found = durable.read_record(file)
    if found.get("benchmark") not in _FIGURES:
        raise UsageError(f"{file} is of the benchmark {found.get('benchmark')!r}; compared are {', '.join(_FIGURES)}")
    return found


def _items(path: Path) -> dict[str, dict[str, Any]]:
    rows = files.rows_of(path / ITEMS)
    for number, row in enumerate(rows, 1):
        if not {"id", "picture", "counts", "right"} <= row.keys():
            raise UsageError(f"{path / ITEMS} line {number} is no item of an evaluation: repeat `prefgen eval`")
    return {row["id"]: row for row in rows}
