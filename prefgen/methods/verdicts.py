"""Comparison of two answers by a model, in both orders; used by ranking and by the test of a judge.

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

from prefgen import reading, seeds
from prefgen.errors import RowError
from prefgen.methods import replies
from prefgen.methods.base import reference
from prefgen.methods.prompts import Template, question
from prefgen.records import Sample, Slot, Turn
from prefgen.requests import Annotate, Chat, Completion, Message, Reply, Request, Sampling
from prefgen.visibility import View

By = Literal["annotator", "api"]
Verdict = Literal["first", "second", "tie", "unclear"]
SWAPPED: Mapping[Verdict, Verdict] = {"first": "second", "second": "first"}
"""A verdict as it would be with the answers in the other order; the others stay as they are."""
_NAMES: dict[str, Verdict] = {
    **dict.fromkeys(("a", "1", "one", "first", "firstone", "1st"), "first"),
    **dict.fromkeys(("b", "2", "two", "second", "secondone", "2nd"), "second"),
    **dict.fromkeys(("tie", "tied", "c", "equal", "equallygood", "draw", "neither", "both", "same"), "tie"),
}  # fmt: skip
_NOUN = re.compile(r"\b(?:the|answer|response|reply|option|assistant|candidate|model|caption|description)\b")
_KIND = r"(?:answer|response|reply|option|assistant|candidate|model|caption|description)"
_NAME = rf"(?:the\s+)?(?:{_KIND}\W{{0,3}}(?:A|B|1|2|one|two)|(?:first|second)\s+{_KIND}|(?:first|second)\s+one)\b"
_BARE = re.compile(
    rf"\A\W*(?:answer\W+)?({_NAME}|A|B|C|1|2|first|second|tied?|draw|equal|neither|both)\W*\Z", re.IGNORECASE
)
_STATED = re.compile(
    rf"\b(?:verdict|winner|(?:preferred|better|best)(?:[\s_]+{_KIND}|(?=\s*[:=]))|final\s+(?:answer|choice|judge?ment)"
    rf"|choice|preference)\b\W{{0,3}}(?:is\b|:|=)?\W{{0,8}}({_NAME}|(?:A|B|C|1|2|first|second|tied?|draw|equal|neither)\b)"
    r"|\[\[\s*(A|B|C|1|2|tie)\s*\]\]",
    re.IGNORECASE,
)
_VERB = r"(?:is|was|seems|appears|(?:should|would)\s+be|has|contains|gives|provides|offers|(?=wins))"
_GOOD = r"(?:accurate|helpful|correct|truthful|faithful|precise|reliable)"
_BAD = r"(?:hallucinations?|errors?|mistakes?|inaccuracies)"
_COMPARED = re.compile(
    rf"(?P<name>{_NAME})\W{{0,3}}\s*(?:{_VERB}\b[\w\s]{{0,40}}?\s*(?:(?P<better>\bbetter|\bbest|\bpreferred"
    rf"|\bpreferable|\bsuperior|\bmore {_GOOD}|\b(?:fewer|less) {_BAD}|\bwins)|\bworse|\bworst|\binferior"
    rf"|\bless {_GOOD}|\bmore {_BAD})\b)",
    re.IGNORECASE,
)
_PREFERRED = re.compile(
    rf"\bI(?:\s+(?:would|will)|['’]d)?\s+(?:prefer|choose|pick|select|go\s+with)\s+({_NAME}|(?-i:[AB12]\b))",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:not|no|neither|hardly|never)\b|n['’]t\b", re.IGNORECASE)
_TIED = re.compile(
    rf"\b(?:it is|it['’]s|result is|this is)\s+a\s+(?:tie|draw)\b|\bboth\s+{_KIND}s?\b[\w\s]{{0,20}}\bequally\b"
    rf"|\b(?:neither)\s+(?:{_KIND}\s+)?is\s+better\b",
    re.IGNORECASE,
)
_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "tie"]}},
        "required": ["reason", "verdict"],
        "additionalProperties": False,
    }
)
_KEYS = ("verdict", "winner", "better", "better_response", "better_answer", "preferred", "preference", "choice")
PLACES = ("question", "first", "second")


@dataclass(frozen=True)
class Comparison:
    """The verdicts on two answers: `forth` with the first one shown first, `back` with the second shown first."""

    forth: Verdict
    back: Verdict

    @property
    def winner(self) -> int | None:
        """0 or 1, the index of the better answer; None where the orders disagree, or neither is clearly better."""
        return {("first", "second"): 0, ("second", "first"): 1}.get((self.forth, self.back))

    @property
    def is_clear(self) -> bool:
        """True if both verdicts could be read."""
        return "unclear" not in (self.forth, self.back)


@dataclass(frozen=True)
class Comparer:
    """Makes comparison requests and reads the verdicts.

    Attributes:
        by: ``annotator`` is a vision-language model that our engines run, ``api`` a chat model.
        prompt: with places ``$question``, ``$first`` and ``$second``; ``$fence`` and ``$reference``, the sample's own
            answer (appendix D), if it wants those. An API judge is held to the form of our own prompts, a JSON object
            with a ``verdict``, only if the prompt speaks of one.
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
        """Check the placeholders of the prompt.

        Raises:
            UsageError: naming what is wrong with it.
        """
        self.prompt.check(PLACES, {"fence", "reference"})

    @property
    def shows_reference(self) -> bool:
        """True if the prompt shows the sample's reference answer."""
        return self.prompt.has("reference")

    def requests(self, sample: Sample, one: str, other: str, purpose: str) -> tuple[Request, Request]:
        """The requests for both orders. `purpose` distinguishes the comparisons of one sample.

        Raises:
            RowError: the prompt shows the reference, and the sample has none.
        """
        return self._ask(sample, one, other, f"{purpose} forth"), self._ask(sample, other, one, f"{purpose} back")

    def read(self, forth: Reply, back: Reply | None = None) -> Comparison:
        """Both verdicts; where one order was asked for, the other verdict is derived from it."""
        found = verdict(forth)
        return Comparison(found, SWAPPED.get(found, found) if back is None else verdict(back))

    def _ask(self, sample: Sample, first: str, second: str, purpose: str) -> Request:
        seed = seeds.derive(self.seed, sample.id, 1, f"verdict {purpose}")
        turns = self.prompt.fill(
            question=question(sample),
            first=first.strip(),
            second=second.strip(),
            fence=f"{seed:016x}",
            reference=reference(sample).strip() if self.shows_reference else "",
        )
        pictures = sample.loaded_images if self.with_image or self.by == "annotator" else ()
        shown = (*turns[:-1], Turn(turns[-1].role, (*[Slot.IMAGE] * len(pictures), *turns[-1].parts)))
        sampling = Sampling(self.temperature, 1.0, self.max_new_tokens)
        if self.by == "api":
            schema = _SCHEMA if "verdict" in self.prompt.text.lower() else ""
            return Chat(shown, pictures, schema, sampling, seed)
        return Annotate(shown, pictures, View(), "", 0, "end", "en", sampling, seed)


def said(reply: Reply) -> str:
    """The text of a judge's reply."""
    assert isinstance(reply, Message | Completion)
    return reply.text


def verdict(reply: Reply) -> Verdict:
    """The verdict of a judge's reply; ``unclear`` if it was refused, cut off or unreadable."""
    if isinstance(reply, Message):
        try:
            replies.spoken(reply)
        except RowError:
            return "unclear"
    return read_verdict(said(reply))


def read_verdict(text: str) -> Verdict:
    """The verdict in a reply, from a JSON object or from its words; ``unclear`` if it names none or two.

    A line that states the verdict counts before any other, and the last such line: reasons speak of answers, too.
    """
    for key in _KEYS:
        found = reading.json_object(text, frozenset({key}))
        if found is not None:
            return _named(str(found[0][key]))
    said = reading.answer(text).text
    said, _ = reading.unfenced(said)
    if bare := _BARE.match(said):
        return _named(bare[1])
    stated = [named for match in _STATED.finditer(said) if (named := _named(match[1] or match[2])) != "unclear"]
    if stated:
        return stated[-1]
    judged = {
        _named(match["name"]) if match["better"] else SWAPPED.get(_named(match["name"]), "unclear")
        for match in _COMPARED.finditer(said)
        if not _NEGATED.search(match.group())
    }
    judged |= {_named(match[1]) for match in _PREFERRED.finditer(said)}
    if _TIED.search(said):
        judged.add("tie")
    return judged.pop() if len(judged) == 1 else "unclear"


def _named(name: str) -> Verdict:
    return _NAMES.get(re.sub(r"[^a-z0-9]", "", _NOUN.sub("", name.lower())), "unclear")
