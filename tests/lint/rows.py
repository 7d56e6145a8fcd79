"""Rows for the checks, made by hand."""

from __future__ import annotations

import hashlib

from prefgen.linting.findings import Check, Finding
from prefgen.linting.rows import PairRow, Picture


def picture(number: int = 0, name: str = "", side: int = 300) -> Picture:
    return Picture(hashlib.sha256(str(number).encode()).hexdigest(), name or f"{number:012d}.jpg", side + 100, side)


def row(number: int = 0, chosen: str = "A red bowl.", rejected: str = "A blue bowl.", **changes: object) -> PairRow:
    values: dict[str, object] = {
        "id": f"{number:016x}",
        "prompt": f"What is in picture {number}?",
        "chosen": chosen,
        "rejected": rejected,
        "similarity": 0.5,
        "flags": (),
        "spans": (),
        "pictures": (picture(number),),
    }
    return PairRow(**{**values, **changes})  # type: ignore[arg-type]  # names and types are those of PairRow


def ask(check: Check, rows: list[PairRow]) -> dict[str, Finding]:
    for each in rows:
        check.see(each)
    return {finding.check: finding for finding in check.findings(len(rows))}
