r"""BPO (Bootstrapped Preference Optimization): https://github.com/pipilurj/bootstrapped-preference-optimization-BPO.

One JSON list or JSON Lines; a row has one good answer and several bad ones, each with the kind of its making::

    {"image": "000000000123.jpg", "prompt": "Describe the scene.\n<image>",
     "completions": [{"score": 1, "response": "A red cup on a table.", "type": "gt"},
                     {"score": 0, "response": "A blue dog on a table.", "type": "mllm-hal"},
                     {"score": 0, "response": "A red cup, a fork and a lamp.", "type": "llm-hal"}]}

Every answer of the highest score is chosen and paired with every answer of a lower one, side by side as `prefgen
join` puts them. The rejected answer's ``type`` is the pair's variant, and is kept in ``meta`` too. The licence is not
stated; the pictures are those of LLaVA's and ShareGPT4V's data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.formats.reading import PairDraft, import_set, needed, question
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions
from prefgen.sources.turns import transposed


@dataclass(frozen=True)
class Bpo:
    """Reader of one chosen answer with its typed negatives."""

    name: ClassVar[str] = "bpo"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, _read)


def _read(columns: Mapping[str, Any]) -> Iterator[PairDraft]:
    used = ("image", "prompt", "completions")
    image, asked, completions = needed(columns, *used)
    if isinstance(completions, dict):
        completions = transposed("completions", completions)
    if not isinstance(completions, list) or not all(isinstance(item, dict) for item in completions):
        raise RowError("ROW_SHAPE", "completions should be a list of objects")
    answers = [(_score(item), item) for item in completions]
    best = max((score for score, _ in answers), default=0.0)
    rejected = [item for score, item in answers if score < best]
    if not rejected:
        raise RowError("ANSWER_TIE", f"none of the {len(answers)} completions has a lower score than another")
    for preferred in (item for score, item in answers if score == best):
        (chosen,) = needed(preferred, "response")
        for other in rejected:
            (response,) = needed(other, "response")
            kind = str(other.get("type") or "")
            rest = {name: value for name, value in other.items() if name not in ("response", "type", "score")}
            yield PairDraft(
                question(asked, "prompt"),
                image,
                chosen,
                response,
                used,
                variant=kind,
                meta={"type": kind, **rest},
                grouped=True,
            )


def _score(completion: Mapping[str, Any]) -> float:
    (score,) = needed(completion, "score")
    if isinstance(score, bool) or not isinstance(score, (int, float)) or score != score:
        raise RowError("ROW_SHAPE", f"a score should be a number, found {score!r}")
    return float(score)
