"""Tables of benchmarks, comparisons and reward models for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from prefgen.evaluate.benchmarks.run import BenchmarkScores

if TYPE_CHECKING:
    from prefgen.evaluate.rewards import Matrix


def scores(found: BenchmarkScores) -> Table:
    """A benchmark's figures with their intervals; a row for each file or kind of questions."""
    table = Table("", *found.figures, box=None)
    for name, row in found.rows.items():
        intervals = row.get("intervals", {})
        table.add_row(name, *(_cell(row[figure], intervals.get(figure)) for figure in found.figures))
    return table


def comparison(found: Mapping[str, Any]) -> Table:
    """The result of `prefgen.evaluate.benchmarks.compare.compare`: a row for each figure."""
    table = Table("figure", found["one"], found["other"], "difference", "95% interval", box=None)
    for name, difference in found["differences"].items():
        values = [_cell(found[f"{side}_figures"][name]) for side in ("one", "other")]
        told = ("–", "–")
        if difference is not None:
            low, high = difference["interval"]
            told = f"{difference['value']:+.4f}", f"{low:+.4f} to {high:+.4f}"
        table.add_row(name, *values, *told)
    return table


def lmms(found: Mapping[str, Any]) -> Table:
    """Figures of lmms-eval's tasks."""
    table = Table("figure", "value", box=None)
    for name, interval in found["intervals"].items():
        table.add_row(name, _cell(found[name], interval))
    return table


def rewards(found: Matrix) -> Table:
    """Accuracies: a row for each reward, a column for each run."""
    table = Table("reward", *found.seen, box=None)
    for name, cells in found.cells.items():
        table.add_row(name, *(_cell(cell.accuracy, cell.interval) for cell in cells.values()))
    return table


def _cell(value: float | None, interval: tuple[float, float] | None = None) -> str:
    shown = "–" if value is None else f"{value:.4f}"
    return f"{shown} [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else shown
