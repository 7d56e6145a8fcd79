"""Reading SFT data: an input, whatever its container and column names, becomes a stream of samples."""

from prefgen.sources.missing import MissingReport, missing_report
from prefgen.sources.options import SourceOptions
from prefgen.sources.reading import fingerprint, read

__all__ = ["MissingReport", "SourceOptions", "fingerprint", "missing_report", "read"]
