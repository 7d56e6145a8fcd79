"""The table of a recipe: the paper's values beside those that were measured, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefgen import durable
from prefgen.card import summary
from prefgen.reproduce.recipes import Arm, Recipe
from prefgen.reproduce.running import Request, folder, judgement, steps

# Columns of the paper's tables: of which evaluation, under which name, and the factor between the two.
COLUMNS: Mapping[str, tuple[str, str, float]] = {
    "POPE": ("pope", "accuracy", 100),
    "MMHAL": ("mmhal", "score", 1),
    "MMHAL-V": ("mmhal", "score", 1),
    "LLaVA-W": ("llava-bench", "relative_score", 100),
    "hallucinated": ("mmhal", "hallucination_rate", 1),
    "VQAT": ("lmms", "textvqa_val/exact_match", 100),
    "GQA": ("lmms", "gqa/exact_match", 100),
    "MMVet": ("lmms", "mmvet/gpt_eval_score", 1),
    "Recall": ("chair", "recall_coco", 100),
}
_OF_SCENES = {"CHAIR_i": "chair_i", "recall": "object_recall", "partner": "partner_hallucination"}


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95% interval, which may be unknown."""

    value: float
    low: float | None = None
    high: float | None = None

    def __format__(self, form: str) -> str:
        bounds = f" [{self.low:{form}}, {self.high:{form}}]" if self.low is not None and self.high is not None else ""
        return f"{self.value:{form}}{bounds}"


@dataclass(frozen=True)
class Table:
    """Rows of a recipe.

    Attributes:
        columns: of the paper and of what was measured.
        paper: the paper's values, by arm and column.
        measured: those that were measured, likewise.
    """

    recipe: Recipe
    columns: tuple[str, ...]
    paper: Mapping[str, Mapping[str, float]]
    measured: Mapping[str, Mapping[str, Figure]]


def table(request: Request) -> Table:
    """The table of a request whose commands have all ended.

    Raises:
        CorruptRun: figures are damaged.
    """
    recipe = request.recipe
    kept = {step.kept for step in steps(request) if step.kept}
    together = request.output / "together.json"
    cells = durable.read_record(together)["cells"] if together in kept else {}
    measured = {arm.name: dict(_measured(request, arm, kept, cells)) for arm in recipe.arms}
    paper = {arm.name: arm.paper for arm in recipe.arms}
    columns = dict.fromkeys(name for row in (*paper.values(), *measured.values()) for name in row)
    return Table(recipe, tuple(columns), paper, measured)


def _measured(
    request: Request, arm: Arm, kept: set[Path], cells: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Figure]]:
    at = folder(request, arm)
    for name, (evaluation, key, factor) in COLUMNS.items():
        file = at / f"{evaluation}.json"
        if file not in kept:
            continue
        found = durable.read_record(file)
        if name in ("MMHAL", "MMHAL-V") and bool(found["with_image"]) != (name == "MMHAL-V"):
            continue
        if key not in found:  # of lmms, a task that was not asked for
            continue
        yield name, figure(found, key, factor)
    if (scenes := at / "scenes.json") in kept:
        found = durable.read_record(scenes)
        for name, key in _OF_SCENES.items():
            yield name, figure(found, key, 100)
    if arm.run:
        for iteration, share in enumerate(summary.summarise(at / arm.run).non_similar, 1):
            yield f"iteration {iteration}", Figure(100 * share)
    for run in request.recipe.sets if arm.judge else ():
        found = durable.read_record(judgement(request, arm, run))
        yield run, figure({**found, "intervals": {"accuracy": found["interval"]}}, "accuracy", 100)
    for run, cell in cells.get(at.name, {}).items():
        low, high = cell["interval"] or (None, None)
        yield run, Figure(cell["accuracy"], low, high)


def figure(found: Mapping[str, Any], key: str, factor: float = 1) -> Figure:
    """A figure of an evaluation's JSON, in either of its forms; NaN where nothing was counted."""
    value = found[key]
    if isinstance(value, Mapping):
        value, bounds = value["value"], (value["low"], value["high"])
    else:
        bounds = found.get("intervals", {}).get(key)
    if value is None:
        return Figure(math.nan)
    low, high = bounds or (None, None)
    return Figure(value * factor, None if low is None else low * factor, None if high is None else high * factor)


def is_figure(value: Any) -> bool:
    """True for a value of an evaluation's JSON that `figure` reads."""
    return isinstance(value, (int, float)) or (isinstance(value, Mapping) and "value" in value)


def markdown(found: Table) -> str:
    """The table in Markdown: of each column the paper's values, then the measured ones."""
    printed = [column for column in found.columns if any(column in row for row in found.paper.values())]
    own = [column for column in found.columns if any(column in row for row in found.measured.values())]
    heads = [
        head
        for column in found.columns
        for head in (*[f"{column}, paper"] * (column in printed), *[column] * (column in own))
    ]
    lines = [f"# {found.recipe.name}: {found.recipe.title}", "", "Measured values have their 95% intervals.", ""]
    lines += ["| | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 1) + "|"]
    for arm in found.recipe.arms:
        cells = []
        for column in found.columns:
            if column in printed:
                value = found.paper[arm.name].get(column)
                cells.append("" if value is None else f"{value:.2f}")
            if column in own:
                measured = found.measured[arm.name].get(column)
                cells.append("" if measured is None else f"{measured:.2f}")
        lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
    lines += ["", *(f"- {note}" for note in found.recipe.notes)]
    return "\n".join(lines).rstrip() + "\n"


def as_json(found: Table) -> dict[str, Any]:
    """The table as a JSON object."""
    measured = {arm: {name: vars(figure) for name, figure in row.items()} for arm, row in found.measured.items()}
    return {"recipe": found.recipe.name, "columns": found.columns, "paper": found.paper, "measured": measured}
