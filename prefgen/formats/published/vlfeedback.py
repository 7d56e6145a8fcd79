"""VLFeedback: https://huggingface.co/datasets/MMInstruction/VLFeedback, terms on its card (outputs of GPT-4V).

``vlfeedback_80k.jsonl`` and ``merged_images.zip``, to be unpacked: four answers to a prompt, each rated by GPT-4V::

    {"id": "svit-detail-1234", "prompt": "Describe the scene.", "img_path": "merged_images/svit-detail-1234.jpg",
     "models": ["llava-v1.5-7b", "gpt-4-vision-preview"],
     "completions": [{"model": "llava-v1.5-7b", "response": "A dog sleeps.", "annotations": {
        "Helpfulness": {"Rating": "4", "Rationale": "..."}, "Ethical Considerations": {"Rating": "5", "Rationale": ""},
        "Visual Faithfulness": {"Rating": "N/A", "Rationale": "..."}}}]}

``completions`` is a list of objects in the file and an object of lists through `datasets`. Where ``img_path`` is
missing, as in the raw file, the picture is ``{id}.jpg``. A ``Rating`` is a string, not always of a number: an answer
that lacks a rating it needs is left out of the pairing.

Decisions, where arXiv 2407.02477 (sections 5.1, 5.3) says only that the chosen answer is the top-ranked one:

1. Answers are ranked by the mean of the three aspects, as the set's own training code does; `aspect` takes one alone.
2. The default rejected answer is the worst-ranked one (`pairing`). Equal ratings never make a pair.
3. Among equally good top answers the first in the file is chosen, or the first that `chosen_model` names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from prefgen.errors import RowError, UsageError
from prefgen.formats.rating import Pairing, RatedAnswer, check, paired, params
from prefgen.formats.reading import PairDraft, decoded, import_set, needed, question
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions
from prefgen.sources.turns import transposed

ASPECTS = {
    "helpfulness": "Helpfulness",
    "ethical_considerations": "Ethical Considerations",
    "visual_faithfulness": "Visual Faithfulness",
}


@dataclass(frozen=True)
class VLFeedback:
    """Reader of VLFeedback, which makes pairs of four rated answers.

    Attributes:
        pairing: ``all`` pairs with different ratings, or the best answer with the worst or with a random worse one.
        aspect: ``mean`` of the three, or the name of one.
        min_margin: least difference of the two ratings.
        chosen_model: pattern (``llava-v1.5*``) that the chosen answer's model must match; upper and lower case agree.
        prompt_source: pattern for the row's id, which starts with the name of the set that the prompt is from.

    Raises:
        UsageError: an option has a value that it does not know.
    """

    name: ClassVar[str] = "vlfeedback"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)
    pairing: Pairing = "best-worst"
    aspect: str = "mean"
    min_margin: float = 0.0
    chosen_model: str = "*"
    prompt_source: str = "*"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.pairing, self.min_margin)
        if self.aspect not in ("mean", *ASPECTS):
            raise UsageError(f"--aspect is {self.aspect!r}; give one of mean, {', '.join(ASPECTS)}")

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read, self.seed)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        row_id, asked, completions = needed(columns, "id", "prompt", "completions")
        if isinstance(completions, dict):
            completions = transposed("completions", completions)
        if not isinstance(completions, list):
            raise RowError("ROW_SHAPE", f"completions should be a list, found {type(completions).__name__}")
        if not _matches(str(row_id), self.prompt_source):
            raise RowError("ROW_FILTERED", f"the prompt {row_id} is not of --prompt-source {self.prompt_source}")
        rated = [answer for item in completions if (answer := self._rated(item)) is not None]
        if len(rated) < 2:
            raise RowError("ANSWER_UNRATED", f"{len(rated)} of {len(completions)} answers have a number as rating")
        ranked = sorted(rated, key=lambda answer: (-answer.score, not _matches(answer.model, self.chosen_model)))
        pairs = paired(ranked, self.pairing, self.min_margin, self.seed, str(row_id))
        if not pairs:
            raise RowError("ANSWER_TIE", f"no two answers differ in rating by more than 0 and {self.min_margin:g}")
        pairs = [pair for pair in pairs if _matches(pair[0].model, self.chosen_model)]
        if not pairs:
            raise RowError("ROW_FILTERED", f"the best answer is not by --chosen-model {self.chosen_model}")
        for chosen, rejected in pairs:
            yield PairDraft(
                question(asked, "prompt"),
                columns.get("img_path") or columns.get("image") or f"{row_id}.jpg",
                chosen.response,
                rejected.response,
                ("prompt", "completions", "img_path", "image"),
                variant=self.pairing,
                params=params(chosen, rejected),
            )

    def _rated(self, item: object) -> RatedAnswer | None:
        """An answer with its rating, or None if it has none."""
        if not isinstance(item, dict):
            raise RowError("ROW_SHAPE", f"completions should hold objects, found {type(item).__name__}")
        model, response, annotations = needed(item, "model", "response", "annotations")
        annotations = decoded("annotations", annotations)
        aspects = tuple(ASPECTS.values()) if self.aspect == "mean" else (ASPECTS[self.aspect],)
        try:
            ratings = [float(annotations[aspect]["Rating"]) for aspect in aspects]
        except (TypeError, KeyError, ValueError):  # "N/A", null, or an aspect that was never rated
            return None
        score = sum(ratings) / len(ratings)
        return RatedAnswer(response, score, str(model)) if 0 <= score <= 10 else None  # NaN is in no range


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())
