"""A row of an input before its columns are interpreted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from prefgen.errors import RowError


@dataclass(frozen=True)
class Row:
    """A row as it was read, with its location.

    Attributes:
        where: what to call it in a message, e.g. ``line 17``; the first is 1.
        columns: its values by name, or why they could not be read.
        source: name of the file, folder or Hub set that it is from; readers of one file leave it out.
    """

    where: str
    columns: dict[str, Any] | RowError
    source: str = ""


@dataclass
class Skip:
    """The number of rows that a reader still has to pass over, which it does without decoding them."""

    left: int = 0

    def one(self) -> bool:
        """Pass over the next row, if any is to be."""
        passed = self.left > 0
        self.left -= passed
        return passed


def json_value(value: object) -> Any:
    """`value` in JSON types, with None for bytes, dates and NaN."""
    if isinstance(value, dict):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool)) else None
