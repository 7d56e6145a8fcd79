"""`prefgen doctor`: checks of the installation and of a model, with advice. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "broken"]


@dataclass(frozen=True)
class Diagnosis:
    """One line of the page.

    Attributes:
        about: what was looked at.
        text: what was found.
        advice: what to do; empty where there is nothing to be done.
    """

    level: Level
    about: str
    text: str
    advice: str = ""
