"""Licences of data sets, and the strictest of several."""

from __future__ import annotations

from collections.abc import Iterable

# As the Hub spells them, from the freest to the strictest. Each asks for what those before it ask for.
ORDER = (
    "cc0-1.0",
    "mit",
    "apache-2.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nc-nd-4.0",
)
OTHER = "other"  # terms that have no name here: nothing may be assumed, so it is stricter than any of them


def strictest(licences: Iterable[str]) -> str:
    """The licence of a mixture of rows with these licences; `OTHER` if one is unknown or missing."""
    places = [ORDER.index(licence) if licence in ORDER else len(ORDER) for licence in licences]
    return (*ORDER, OTHER)[max(places)] if places else OTHER
