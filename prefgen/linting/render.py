"""Lint findings as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefgen.linting.findings import Finding, Lint
from prefgen.linting.thresholds import FEW_ROWS

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def to_json(found: Lint) -> str:
    """The findings as one JSON object, in ASCII."""
    return json.dumps(asdict(found), indent=2)


def render(found: Lint) -> RenderableType:
    """The findings as a table, the most severe first; then a line of checks without findings, and the verdict."""
    empty = [finding.check for finding in found.findings if finding.level == "info" and not finding.count]
    table = Table("", "check", "count", "what was found", box=None, padding=(0, 2, 0, 0))
    for finding in found.findings:
        if finding.check not in empty:
            table.add_row(
                Text(finding.level, _STYLES[finding.level]), finding.check, f"{finding.count:,}", _describe(finding)
            )
    nothing = [Text(f"nothing found by: {', '.join(empty)}", "dim")] if empty else []
    return Group(table, *nothing, Text(verdict(found)))


def verdict(found: Lint) -> str:
    """All findings in one line."""
    errors, warnings = (
        [finding.check for finding in found.findings if finding.level == level] for level in ("error", "warning")
    )
    if errors:
        said = f"mend before training: {', '.join(errors)}" + (f"; then see {', '.join(warnings)}" if warnings else "")
    elif warnings:
        said = f"no error; see before training: {', '.join(warnings)}"
    else:
        said = "nothing found that speaks against training on them"
    few = f" (advice is given from {FEW_ROWS} pairs on)" if found.rows < FEW_ROWS else ""
    return f"{found.rows:,} pairs: {said}{few}"


def _describe(finding: Finding) -> Text:
    text = Text(finding.message)
    if finding.level != "info":
        for example in finding.examples:
            text.append(f"\n{example.row}: {example.text}", "dim")
    if finding.advice:
        text.append(f"\n→ {finding.advice}\n", "bold")
    return text
