"""Reading SFT data: an input, whatever its container and column names, becomes a stream of samples."""

from prefgen.sources.drawing import drawn
from prefgen.sources.finding import Inputs, name_of, shown
from prefgen.sources.mapping import renamed
from prefgen.sources.missing import MissingReport, missing_report
from prefgen.sources.options import SourceOptions
from prefgen.sources.reading import fingerprint, read, rows

__all__ = [
    "Inputs",
    "MissingReport",
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
