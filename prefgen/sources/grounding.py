"""ms-swift's placeholders ``<ref-object>`` and ``<bbox>``, filled from the column ``objects``.

``{"ref": ["cup"], "bbox": [[1, 2, 30, 40]]}``: the first placeholder of a kind in the conversation stands for the first
entry of its list, and so on. A box is written as JSON, in the numbers of the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefgen.errors import RowError

COLUMN = "objects"
_PLACEHOLDER = re.compile(r"<(ref-object|bbox)>")
_LISTS = {"ref-object": "ref", "bbox": "bbox"}


def has_placeholder(text: object) -> bool:
    """True if a text has a placeholder."""
    return isinstance(text, str) and "<" in text and _PLACEHOLDER.search(text) is not None


def fill(texts: Sequence[str], objects: object) -> list[str]:
    """The texts of a conversation with placeholders filled in order.

    Raises:
        RowError: ``TEXT_PLACEHOLDER``: there are fewer objects than placeholders.
    """
    if isinstance(objects, str):
        try:
            objects = json.loads(objects)
        except (ValueError, RecursionError):
            objects = None
    lists = {
        kind: value if isinstance(objects, Mapping) and isinstance(value := objects.get(name), list) else []
        for kind, name in _LISTS.items()
    }
    taken = dict.fromkeys(_LISTS, 0)

    def filled(match: re.Match[str]) -> str:
        kind = match[1]
        place, taken[kind] = taken[kind], taken[kind] + 1
        if place >= len(lists[kind]):
            raise RowError(
                "TEXT_PLACEHOLDER", f"more {match[0]} than the {len(lists[kind])} of {COLUMN}.{_LISTS[kind]}"
            )
        value: Any = lists[kind][place]
        return value if isinstance(value, str) else json.dumps(value)

    return [_PLACEHOLDER.sub(filled, text) for text in texts]
