"""A/B labels: a prompt with two answers and a preference between them; no licence of their own.

::

    {"image": "a.jpg", "question": "What is this?", "response_a": "A cat.", "response_b": "A dog.", "preference": "A"}

The answers are two columns that differ in their ending (``response_a`` and ``response_b``, ``output_1`` and
``output_2``, ``response_0`` and ``response_1`` …). The label is under ``preference``, ``winner``, ``choice``,
``label``, ``better`` or ``better_response_id`` and is an ending or the name of a column. A label such as ``tie`` or
``both`` drops the row; one that is neither, such as 1 beside ``_a`` and ``_b``, is never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.formats.base import Format
from prefgen.formats.reading import PairDraft, import_set, known_images, known_prompt, needed
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions

STEMS = ("response", "answer", "output", "completion", "text")
ENDINGS = (("a", "b"), ("A", "B"), ("0", "1"), ("1", "2"))
LABELS = ("preference", "winner", "choice", "label", "better", "better_response_id")
TIES = frozenset({"tie", "both", "equal", "same", "neither", "none", "both_bad", "tie (bothbad)", "c"})


@dataclass(frozen=True)
class Ab:
    """Reader of two answers and a label."""

    name: ClassVar[str] = "ab"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, _read)


def _read(columns: Mapping[str, Any]) -> Iterator[PairDraft]:
    asked, prompt_column = known_prompt(columns)
    image, image_column = known_images(columns)
    endings = {(f"{stem}_{one}", f"{stem}_{two}"): (one, two) for stem, (one, two) in product(STEMS, ENDINGS)}
    names = next((names for names in endings if all(columns.get(name) is not None for name in names)), None)
    if names is None:
        raise RowError("ROW_SHAPE", f"no two columns such as response_a, response_b; found {', '.join(columns)[:200]}")
    label_column = next((name for name in LABELS if columns.get(name) is not None), " or ".join(LABELS))
    (label,) = needed(columns, label_column)
    label = str(label).strip().lower()
    means = [{ending.lower(), name.lower()} for ending, name in zip(endings[names], names, strict=True)]
    if label in TIES:
        raise RowError("ANSWER_TIE", f"{label_column} is {label!r}")
    if not any(label in meant for meant in means):
        raise RowError("ROW_SHAPE", f"{label_column} is {label[:40]!r}, which names neither of {' and '.join(names)}")
    chosen, rejected = names if label in means[0] else names[::-1]
    used = (prompt_column, image_column, label_column, *names)
    yield PairDraft(asked, image, columns[chosen], columns[rejected], used)


FORMAT = Format("ab", reader=Ab)
