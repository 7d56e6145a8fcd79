"""Ranked lists: a prompt with several answers, each with a score or a rank; no licence of their own.

JSON Lines, Parquet or whatever else `prefgen` reads, in the shapes of distilabel and of reward data::

    {"image": "a.jpg", "prompt": "What is this?", "responses": ["A cat.", "A dog.", "A cup."], "scores": [5, 3, 1]}

The answers are under ``responses``, ``completions``, ``generations``, ``outputs``, ``candidates`` or ``answers``, as
texts or as objects with their own ``score``, ``rating`` or ``rank``. More is better in ``scores``, ``ratings`` and
``rewards``, less in ``ranks``; a column ``ranking`` is not read, since some sets mean the order of the answers by it.
An answer without a number is left out of the pairing. By default the best answer is paired with the worst (`pairing`);
equal scores never make a pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.formats.base import Format
from prefgen.formats.rating import Pairing, RatedAnswer, check, paired, params
from prefgen.formats.reading import PairDraft, import_set, known_images, known_prompt, needed
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions
from prefgen.sources.columns import ID_COLUMNS, is_id
from prefgen.sources.turns import transposed

ANSWERS = ("responses", "completions", "generations", "outputs", "candidates", "answers")
NUMBERS = {"scores": 1, "ratings": 1, "rewards": 1, "ranks": -1}
MODELS = ("models", "generation_models", "model_names")
_TEXTS = ("response", "completion", "generation", "output", "answer", "text", "content")
_OWN_NUMBERS = {"score": 1, "rating": 1, "reward": 1, "rank": -1}


@dataclass(frozen=True)
class Ranked:
    """Reader of answers with scores or ranks.

    Attributes:
        pairing: ``all`` pairs with different scores, or the best answer with the worst or with a random worse one.
        min_margin: least difference of the two scores or ranks.

    Raises:
        UsageError: an option has a value that it does not know.
    """

    name: ClassVar[str] = "ranked"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)
    pairing: Pairing = "best-worst"
    min_margin: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.pairing, self.min_margin)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read, self.seed)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        asked, prompt_column = known_prompt(columns)
        image, image_column = known_images(columns)
        answers, used = _answers(columns)
        rated = [answer for answer in answers if answer is not None]
        if len(rated) < 2:
            raise RowError("ANSWER_UNRATED", f"{len(rated)} of {len(answers)} answers have a number")
        ranked = sorted(rated, key=lambda answer: -answer.score)
        row_id = next((str(columns[name]) for name in ID_COLUMNS if is_id(columns.get(name))), str(asked))
        pairs = paired(ranked, self.pairing, self.min_margin, self.seed, row_id)
        if not pairs:
            raise RowError("ANSWER_TIE", f"no two answers differ by more than 0 and {self.min_margin:g}")
        for chosen, rejected in pairs:
            yield PairDraft(
                asked,
                image,
                chosen.response,
                rejected.response,
                (prompt_column, image_column, *used),
                variant=self.pairing,
                params=params(chosen, rejected),
            )


def _answers(columns: Mapping[str, Any]) -> tuple[list[RatedAnswer | None], tuple[str, ...]]:
    """The answers, with None for those without a number, and the names of their columns."""
    column = next((name for name in ANSWERS if isinstance(columns.get(name), (list, dict))), " or ".join(ANSWERS))
    (answers,) = needed(columns, column)
    if isinstance(answers, dict):
        answers = transposed(column, answers)
    numbers = next((name for name in NUMBERS if isinstance(columns.get(name), list)), None)
    models = next((name for name in MODELS if isinstance(columns.get(name), list)), None)
    if numbers is None:
        if not all(isinstance(answer, dict) and _OWN_NUMBERS.keys() & answer.keys() for answer in answers):
            needed(columns, " or ".join(NUMBERS))
        return [_of_object(answer) for answer in answers], (column,)
    scores = columns[numbers]
    if len(scores) != len(answers):
        raise RowError("ROW_SHAPE", f"{len(answers)} {column} and {len(scores)} {numbers}")
    texts = [_text(answer) if isinstance(answer, dict) else answer for answer in answers]
    names: Sequence[object] = columns[models] if models and len(columns[models]) == len(answers) else [""] * len(texts)
    rated = [
        _rated(text, score, NUMBERS[numbers], name) for text, score, name in zip(texts, scores, names, strict=True)
    ]
    return rated, (column, numbers, *([models] if models else []))


def _of_object(answer: Mapping[str, Any]) -> RatedAnswer | None:
    name = next(name for name in _OWN_NUMBERS if name in answer)
    return _rated(_text(answer), answer[name], _OWN_NUMBERS[name], answer.get("model", ""))


def _text(answer: Mapping[str, Any]) -> object:
    return next((answer[name] for name in _TEXTS if answer.get(name) is not None), None)


def _rated(text: object, number: object, sign: int, model: object) -> RatedAnswer | None:
    try:
        score = math.nan if isinstance(number, bool) else sign * float(number)  # type: ignore[arg-type]  # or TypeError
    except (TypeError, ValueError):  # "N/A", null
        return None
    return RatedAnswer(text, score, model if isinstance(model, str) else "") if math.isfinite(score) else None


FORMAT = Format("ranked", reader=Ranked)
