"""MM-RLHF: https://huggingface.co/datasets/yifanzhang114/MM-RLHF, terms on its card.

``dpo_pairs.jsonl`` beside the unpacked folders ``long``, ``mcq``, ``safety`` and ``short``; SRC is the file or the
folder that holds it. A row is a pair of two answers that people ranked::

    {"image": "short/000123.jpg", "prompt": "How many cups are there?", "chosen": "Three.", "rejected": "Two.",
     "chosen_reason": "Right.", "rejected_reason": "One is overlooked.", "is_tie": false}

As in the set's training code, ``<image>`` in a prompt is left out and the picture comes before the text. Rows with a
``video`` are dropped, and so are those whose ``is_tie`` is true. Reasons, reference log-probabilities and
``mixed_up_image`` are kept in ``meta``. ``data.jsonl``, the rankings that the pairs were made of, is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefgen.errors import RowError, UsageError
from prefgen.formats.reading import PairDraft, import_set, needed, question
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions

FILE = "dpo_pairs.jsonl"


@dataclass(frozen=True)
class MmRlhf:
    """Reader of the image pairs of MM-RLHF."""

    name: ClassVar[str] = "mm-rlhf"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        path = Path(src).expanduser()
        if path.is_dir() and not (path / FILE).is_file():
            raise UsageError(f"INPUT_NOT_FOUND: {path} holds no {FILE}; give the file")
        return import_set(str(path / FILE) if path.is_dir() else src, self.name, self.licence, self.source, _read)


def _read(columns: Mapping[str, Any]) -> Iterator[PairDraft]:
    used = ("image", "prompt", "chosen", "rejected", "is_tie")
    asked, chosen, rejected = needed(columns, "prompt", "chosen", "rejected")
    if columns.get("is_tie"):
        raise RowError("ANSWER_TIE", "is_tie is true")
    (message,) = question(asked, "prompt")
    yield PairDraft(
        [(message[0], message[1].replace("<image>", "").strip())], columns.get("image"), chosen, rejected, used
    )
