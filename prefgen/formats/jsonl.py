"""Flat rows (JSON Lines, a JSON list, Parquet, a Hub set) with columns named by options; no licence stated.

The defaults fit VL-RLHF's plain form and many others::

    {"image": "a.jpg", "prompt": "What is this?", "chosen": "A cat.", "rejected": "A dog."}

``images`` is read as ``image``. Columns may be named otherwise: ``--prompt-column question --rejected-column reject``.
An answer is a string or one message; a prompt is a string, or a list of messages. Where ``chosen`` or ``rejected`` is a
list of answers, each chosen one is paired with each rejected one, side by side as `prefgen join` puts them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefgen.errors import UsageError
from prefgen.formats.base import Exported, Exporter, Format
from prefgen.formats.mmpr import place
from prefgen.formats.reading import PairDraft, import_set, needed, prompt
from prefgen.formats.writing import asked, write_lines
from prefgen.records import Dropped, Pair
from prefgen.rundir.reader import REJECTED_PATHS, Stored
from prefgen.sources import SourceOptions
from prefgen.sources.columns import is_id
from prefgen.sources.image_columns import IMAGE_COLUMNS, has_image
from prefgen.sources.messages import QUESTION_COLUMNS

# Words in the names of columns, those that say most first; they suggest options and are never acted upon.
_WORDS = {
    "image": (*IMAGE_COLUMNS, "picture", "photo", "pic", "img"),
    "prompt": (*QUESTION_COLUMNS, "question", "prompt", "instruction", "query", "ask", "q"),
    "rejected": ("rejected", "reject", "dispreferred", "worse", "worst", "lose", "loser", "negative", "neg", "bad"),
    "chosen": ("chosen", "choose", "preferred", "better", "best", "win", "winner", "positive", "pos", "good"),
}


@dataclass(frozen=True)
class Jsonl:
    """Reader of flat rows.

    Attributes:
        id_column: column of the row's own id, if it is not one of the usual columns.
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
        first: list[Mapping[str, Any]] = []

        def read(columns: Mapping[str, Any]) -> Iterator[PairDraft]:
            first.extend([] if first else [columns])
            return self._read(columns)

        try:
            yield from import_set(src, self.name, self.licence, self.source, read)
        except UsageError as error:
            if not first or not str(error).startswith("SCHEMA"):
                raise
            line = shlex.join(["prefgen", "import", self.name, src, *suggested(first[0])])
            raise UsageError(f"{error}. Other columns are named by options: {line}") from error

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        names = (self.prompt_column, self.chosen_column, self.rejected_column)
        asked, chosen, rejected = needed(columns, *names)
        row_id = columns.get(self.id_column)
        several = self.image_column == "image" and not has_image(columns.get("image"))
        image_column = "images" if several else self.image_column
        yield PairDraft(
            prompt(asked, self.prompt_column),
            columns.get(image_column),
            chosen,
            rejected,
            (*names, image_column, self.id_column),
            row_id=str(row_id) if is_id(row_id) else "",
        )


def suggested(columns: Mapping[str, Any]) -> list[str]:
    """The options that name the columns of such a row, guessed from their names; COLUMN where none fits."""
    left = [str(name) for name in columns]
    options: list[str] = []
    for role, words in _WORDS.items():
        exact = next((name for word in words for name in left if name.lower() == word), None)
        found = exact or next((name for word in words if len(word) > 1 for name in left if word in name.lower()), None)
        if found is not None:
            left.remove(found)
        if found != role:
            options += [f"--{role}-column", found or "COLUMN"]
    return options


def write(stored: Stored, out: Path, name: str) -> Exported:
    r"""Flat JSON Lines: ``train.jsonl`` and ``images/``, with the columns that ``import jsonl`` reads by default.

    ::

        {"id": "17", "images": ["images/17.jpg"], "prompt": "<image>\nWhat?", "chosen": "A.", "rejected": "B."}

    Every column has one type in all rows, so that conversations of several turns have no place. ``images`` are
    relative to the folder.
    """
    return write_lines(stored, out / "train.jsonl", _record, place)


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    return {
        "id": row["source_id"],
        "images": images,
        "prompt": asked(row)[0]["content"],
        "chosen": row["chosen_response"],
        "rejected": row["rejected_response"],
    }


FORMAT = Format("jsonl", reader=Jsonl, writer=Exporter(write, place, (REJECTED_PATHS, "conversations")))
