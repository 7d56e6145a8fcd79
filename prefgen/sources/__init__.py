"""Reading SFT data: an input, whatever its container and column names, becomes a stream of samples.

The readers are imported when they are first asked for: a command's options name `SourceOptions` before it runs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from prefgen.sources.options import SourceOptions

if TYPE_CHECKING:
    from prefgen.sources.drawing import drawn
    from prefgen.sources.finding import Inputs, name_of, shown
    from prefgen.sources.mapping import renamed
    from prefgen.sources.missing import MissingReport, missing_report
    from prefgen.sources.reading import Position, fingerprint, read, rows

__all__ = [
    "Inputs",
    "MissingReport",
    "Position",
    "SourceOptions",
    "drawn",
    "fingerprint",
    "missing_report",
    "name_of",
    "read",
    "renamed",
    "rows",
    "shown",
]
_HOMES = {
    "Inputs": "finding",
    "name_of": "finding",
    "shown": "finding",
    "drawn": "drawing",
    "renamed": "mapping",
    "MissingReport": "missing",
    "missing_report": "missing",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'reading')}"), name)
