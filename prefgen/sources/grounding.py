"""Grounding rows of ms-swift: ``<ref-object>`` and ``<bbox>`` in a text stand for names and boxes in ``objects``.

``{"ref": ["cup"], "bbox": [[1, 2, 30, 40]]}``: each placeholder takes the next of its kind. A box is written as JSON,
``[1, 2, 30, 40]``, in the numbers of the row. In a pair the rejected answer goes on behind the chosen one if there are
names and boxes enough for both, and else, as ms-swift has it, starts where the prompt ended.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prefgen.errors import RowError
from prefgen.records import Role

COLUMN = "objects"
PLACEHOLDER = re.compile("<ref-object>|<bbox>")
_KEYS = {"<ref-object>": "ref", "<bbox>": "bbox"}
Message = tuple[Role, Any]


class Grounding:
    """Fills the placeholders of one row.

    Args:
        objects: the row's column, an object or its JSON text; None where it has none.
    """

    def __init__(self, objects: object) -> None:
        if isinstance(objects, str):
            try:
                objects = json.loads(objects)
            except (ValueError, RecursionError):
                objects = None
        known = objects if isinstance(objects, Mapping) else {}
        self._values = {mark: known.get(key) or [] for mark, key in _KEYS.items()}
        self._next: Counter[str] = Counter()

    def messages(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with their texts filled.

        Raises:
            RowError: ``TEXT_PLACEHOLDER``, ``ROW_SHAPE``.
        """
        return [(role, self._content(content)) for role, content in messages]

    def answers(self, chosen: str, rejected: str) -> tuple[str, str]:
        """Both answers filled.

        Raises:
            RowError: ``TEXT_PLACEHOLDER``, ``ROW_SHAPE``.
        """
        start = self._next.copy()
        chosen = self.text(chosen)
        wanted = Counter(PLACEHOLDER.findall(rejected))
        if any(self._next[mark] + count > len(self._values[mark]) for mark, count in wanted.items()):
            self._next = start
        return chosen, self.text(rejected)

    def text(self, text: str) -> str:
        """One text filled.

        Raises:
            RowError: ``TEXT_PLACEHOLDER``, ``ROW_SHAPE``.
        """
        return PLACEHOLDER.sub(lambda match: self._take(match[0]), text)

    def _content(self, content: object) -> object:
        if isinstance(content, list):
            return [self._content(part) for part in content]
        if isinstance(content, dict) and isinstance(content.get("text"), str):
            return {**content, "text": self.text(content["text"])}
        return self.text(content) if isinstance(content, str) else content

    def _take(self, mark: str) -> str:
        place = self._next[mark]
        self._next[mark] += 1
        values = self._values[mark]
        if not isinstance(values, list) or place >= len(values):
            raise RowError("TEXT_PLACEHOLDER", f"no {_KEYS[mark]} in objects for {mark} number {place + 1}")
        value = values[place]
        numbers = isinstance(value, list) and all(type(number) in (int, float) for number in value)
        if isinstance(value, str) if mark == "<ref-object>" else numbers:
            return value if isinstance(value, str) else json.dumps(value)
        raise RowError("ROW_SHAPE", f"objects: {_KEYS[mark]} number {place + 1} is {str(value)[:40]!r}")
