"""Any flat set (JSON Lines, a JSON list, Parquet, a Hub set) whose columns are named by options; no licence stated.

The defaults fit VL-RLHF's plain form and many others::

    {"image": "a.jpg", "prompt": "What is this?", "chosen": "A cat.", "rejected": "A dog."}

Columns may be named otherwise: ``--prompt-column question --rejected-column reject``. An answer is a string or one
message; a prompt is a string, or a list of messages. Where ``chosen`` or ``rejected`` is a list of answers, each chosen
one stands against each rejected one, side by side as `prefgen join` puts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.importers.building import Draft, import_set, needed, prompt
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions
from prefgen.sources.columns import is_id


@dataclass(frozen=True)
class Jsonl:
    """Reads flat rows.

    Attributes:
        id_column: where the row's own id stands, if not in one of the usual columns.
    """

    name: ClassVar[str] = "jsonl"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)
    image_column: str = "image"
    prompt_column: str = "prompt"
    chosen_column: str = "chosen"
    rejected_column: str = "rejected"
    id_column: str = "id"

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[Draft]:
        names = (self.prompt_column, self.chosen_column, self.rejected_column)
        asked, chosen, rejected = needed(columns, *names)
        row_id = columns.get(self.id_column)
        yield Draft(
            prompt(asked, self.prompt_column),
            columns.get(self.image_column),
            chosen,
            rejected,
            (*names, self.image_column, self.id_column),
            row_id=str(row_id) if is_id(row_id) else "",
        )
