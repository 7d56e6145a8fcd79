"""The dataset card, README.md of the finished data set."""

from __future__ import annotations

from pathlib import Path


def render(out: Path, command: str, licence: str = "other", language: str = "en") -> str:
    """The card of the run in `out`: Markdown under a YAML header.

    Args:
        command: the command line that makes this data set again.
        licence: identifier for the Hub; ``other`` unless the sources' terms allow a name.
    """
    raise NotImplementedError
