"""Findings of the doctor as a page and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from prefgen.doctor import Diagnosis

_MARKS = {"ok": ("✓", "green"), "note": ("·", "dim"), "warning": ("!", "yellow"), "broken": ("✗", "red")}


def render(findings: Sequence[Diagnosis]) -> RenderableType:
    """The page: a mark, the subject, the finding, and advice below it."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    for finding in findings:
        mark, style = _MARKS[finding.level]
        table.add_row(Text(mark, style=style), Text(finding.about), Text(finding.text))
        if finding.advice:
            table.add_row("", "", Text(f"→ {finding.advice}", style=style))
    return table


def to_json(findings: Sequence[Diagnosis]) -> str:
    """A JSON object per finding."""
    return json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2, ensure_ascii=False)
