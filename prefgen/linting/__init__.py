"""Lint: shortcuts, duplicates and other flaws of a data set that a trainer would learn from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from prefgen.linting.answers import AnswerKinds, Scripts, UnknownWords, YesNo
from prefgen.linting.findings import LEVELS, Check, Example, Finding, Level, Lint
from prefgen.linting.pairs import EditSize, Identical, Similarity
from prefgen.linting.pictures import ImageSizes, Leakage, Repeats
from prefgen.linting.rows import read
from prefgen.linting.shortcuts import Detectability, LengthBias
from prefgen.linting.thresholds import FEW_ROWS, TRUNCATED_CHARS
from prefgen.rundir.layout import Layout
from prefgen.select.leakage import NOTHING, Excluded

__all__ = ["LEVELS", "Example", "Finding", "Level", "Lint", "lint"]


def lint(out: Path, *, truncated_chars: int = TRUNCATED_CHARS, excluded: Excluded = NOTHING) -> Lint:
    """Read the text columns of a data set once and run all checks.

    Memory does not grow with the texts: what is kept of a row is a few digests of 8 bytes, and of all rows together
    their vocabulary and the texts of a sample for the classifier.

    Args:
        out: a data set, finished or not.
        truncated_chars: pairs are also compared after this many characters, where a trainer may cut them off.
        excluded: images that evaluation uses.

    Raises:
        UsageError: if there are no pairs, or the columns are not prefgen's.
    """
    checks: list[Check] = [
        Identical(truncated_chars),
        LengthBias(),
        Detectability(),
        Similarity(),
        EditSize(),
        YesNo(),
        AnswerKinds(),
        UnknownWords(),
        Scripts(),
        Repeats(),
        ImageSizes(),
        *([Leakage(excluded)] if excluded.digest else []),
    ]
    rows = imported = 0
    for row in read(out):
        rows += 1
        imported += row.imported
        for check in checks:
            check.see(row)
    if not rows:
        raise Layout(out).no_pairs()
    found = [finding for check in checks for finding in check.findings(rows)]
    found = [dataclasses.replace(finding, advice=_advice(finding, rows, imported)) for finding in found]
    return Lint(rows, tuple(sorted(found, key=lambda finding: LEVELS.index(finding.level))))


def _advice(finding: Finding, rows: int, imported: int) -> str:
    """The advice, if it can be followed and there are enough rows."""
    if rows < FEW_ROWS and finding.level != "error":
        return ""
    if finding.advice and finding.of_generation and 2 * imported > rows:
        return "Filter these rows: their answers were imported as they are."
    return finding.advice
