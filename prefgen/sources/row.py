"""One row of an input, before its columns are interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefgen.errors import RowError


@dataclass(frozen=True)
class Row:
    """A row as it was read.

    Attributes:
        where: what to call it in a message, e.g. ``line 17``; the first is 1.
        columns: its values by name, or why they could not be read.
    """

    where: str
    columns: dict[str, Any] | RowError
