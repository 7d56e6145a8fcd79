"""Findings for the terminal and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefgen.lint.findings import LEVELS, Finding, Lint

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}
# Control characters and marks that change the direction of writing: data must not steer a terminal.
_STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def to_json(found: Lint) -> str:
    """The findings as one JSON object, in ASCII."""
    return json.dumps(asdict(found), indent=2)


def render(found: Lint) -> RenderableType:
    """The findings as a table, the gravest first, and a line that counts them."""
    table = Table("", "check", "count", "what was found", box=None, padding=(0, 2, 0, 0))
    for finding in found.findings:
        table.add_row(
            Text(finding.level, _STYLES[finding.level]), finding.check, f"{finding.count:,}", _describe(finding)
        )
    counts = [(level, sum(finding.level == level for finding in found.findings)) for level in LEVELS]
    return Group(table, Text(f"{found.rows:,} pairs: " + ", ".join(f"{count} {level}" for level, count in counts)))


def _describe(finding: Finding) -> Text:
    text = Text(visible(finding.message))
    if finding.level != "info":
        for example in finding.examples:
            text.append(f"\n{visible(example.row)}: {visible(example.text)}", "dim")
    if finding.advice:
        text.append(f"\n→ {finding.advice}\n", "bold")
    return text


def visible(text: str) -> str:
    """The text with what would steer a terminal made visible."""
    return _STEERING.sub("\ufffd", text)
