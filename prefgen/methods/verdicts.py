"""Which of two answers is better, asked in both orders: what ranking and the test of an annotator have in common.

The task is that of table 14 of arXiv:2407.02477 in our own words: image, question, both answers; fewer hallucinations
first, then helpfulness, with a reason. The paper randomises the order; here both orders are asked, and a verdict counts
only if it is the same in both. Who asks in one order alone takes that verdict for both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prefgen import seeds
from prefgen.errors import RowError
from prefgen.methods import replies
from prefgen.methods.prompts import Template, question
from prefgen.records import Sample, Slot, Turn
from prefgen.requests import Annotate, Chat, Completion, Message, Reply, Request, Sampling
from prefgen.restrict import View

By = Literal["annotator", "api"]
COMPARERS: tuple[By, ...] = ("annotator", "api")
Verdict = Literal["first", "second", "tie", "unclear"]
_VERDICTS: dict[str, Verdict] = {"a": "first", "b": "second", "tie": "tie"}
SWAPPED: Mapping[Verdict, Verdict] = {"first": "second", "second": "first"}
"""A verdict as it would be with the answers in the other order; the others stay as they are."""
_WORDS = re.compile(r"\bverdict\b\W{1,8}(A|B|tie)\b", re.IGNORECASE)
_BARE = re.compile(r"\A\s*(?:answer\s+)?\W{0,2}(A|B|tie)\W{0,3}\s*\Z", re.IGNORECASE)
_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "tie"]}},
        "required": ["reason", "verdict"],
        "additionalProperties": False,
    }
)
PLACES = ("question", "first", "second")


@dataclass(frozen=True)
class Comparison:
    """Both verdicts about two answers: `forth` with the one first, `back` with the other first."""

    forth: Verdict
    back: Verdict

    @property
    def winner(self) -> int | None:
        """0 for the one, 1 for the other; None where the orders disagree, or neither is clearly better."""
        return {("first", "second"): 0, ("second", "first"): 1}.get((self.forth, self.back))

    @property
    def is_clear(self) -> bool:
        """Whether both verdicts could be read."""
        return "unclear" not in (self.forth, self.back)


@dataclass(frozen=True)
class Comparer:
    """Puts the question and reads the verdict.

    Attributes:
        by: ``annotator`` is a vision-language model that our engines run, ``api`` a chat model.
        prompt: with places ``$question``, ``$first`` and ``$second``; ``$fence`` if it wants that.
        with_image: whether an API judge is shown the picture; an annotator always is.
        seed: the run's seed.
    """

    by: By
    prompt: Template
    with_image: bool = True
    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the prompt.

        Raises:
            UsageError: naming what is wrong with it.
        """
        self.prompt.check(PLACES, {"fence"})

    def requests(self, sample: Sample, one: str, other: str, purpose: str) -> tuple[Request, Request]:
        """Both orders. `purpose` tells the comparisons of a sample apart."""
        return self._ask(sample, one, other, f"{purpose} forth"), self._ask(sample, other, one, f"{purpose} back")

    def read(self, forth: Reply, back: Reply | None = None) -> Comparison:
        """Both verdicts; one that was not asked for is the other's."""
        verdict = _verdict(forth)
        return Comparison(verdict, SWAPPED.get(verdict, verdict) if back is None else _verdict(back))

    def _ask(self, sample: Sample, first: str, second: str, purpose: str) -> Request:
        seed = seeds.derive(self.seed, sample.id, 1, f"verdict {purpose}")
        turns = self.prompt.fill(
            question=question(sample), first=first.strip(), second=second.strip(), fence=f"{seed:016x}"
        )
        pictures = sample.loaded_images if self.with_image or self.by == "annotator" else ()
        shown = (*turns[:-1], Turn(turns[-1].role, (*[Slot.IMAGE] * len(pictures), *turns[-1].parts)))
        sampling = Sampling(self.temperature, 1.0, self.max_new_tokens)
        if self.by == "api":
            return Chat(shown, pictures, _SCHEMA, sampling, seed)
        return Annotate(shown, pictures, View(), "", 0, "end", "en", sampling, seed)


def _verdict(reply: Reply) -> Verdict:
    try:
        if isinstance(reply, Message):
            return _VERDICTS[str(replies.parse(replies.spoken(reply))["verdict"]).lower()]
    except (RowError, KeyError):
        return "unclear"
    assert isinstance(reply, Completion)
    found = _WORDS.findall(reply.text) or _BARE.findall(reply.text)
    return _VERDICTS[found[-1].lower()] if found else "unclear"  # the last one: reasons may speak of verdicts, too
