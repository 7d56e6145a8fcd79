"""Checkers of sentences: whether what a sentence says of a picture holds, is invented, or cannot be decided.

One interface, `Checker`: a part of a flow that asks what it needs and returns a verdict on each sentence. The kinds:

- ``objects``: the objects that the sentence names, by a list of words, against a list of the picture's objects. Any
  that the picture lacks makes it hallucinated; a sentence that names none is neutral.
- ``detector``: the objects that it names are looked for in the picture by open-vocabulary detectors. One that no
  detector finds makes it hallucinated; one about which they disagree leaves it unclear.
- ``judge``: a chat model that sees the picture is asked about each sentence, with what was said before.
- ``image-gain``: how much likelier the policy finds the sentence with the picture than without, in nats per token.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from prefgen import seeds
from prefgen.errors import RowError
from prefgen.methods import replies
from prefgen.methods.prompts import Template, question
from prefgen.records import Image, ImageRef, Sample, Slot, Turn
from prefgen.requests import (
    Chat,
    Detect,
    Detected,
    Message,
    Reply,
    Request,
    Sampling,
    Score,
    Scored,
    chat,
    detect,
    score,
)
from prefgen.visibility import View

Verdict = Literal["verified", "hallucinated", "neutral", "unclear"]
"""Neutral is a sentence that says nothing of what is looked for; unclear one that nothing could be found out about."""
_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "reason": {"type": "string"},
            "verdict": {"type": "string", "enum": ["supported", "contradicted", "unclear"]},
        },
        "required": ["reason", "verdict"],
        "additionalProperties": False,
    }
)
_VERDICTS: Mapping[str, Verdict] = {"supported": "verified", "contradicted": "hallucinated"}


@dataclass(frozen=True)
class Checked:
    """Result of a sentence's check.

    Attributes:
        told: why, as JSON types; recorded with the pair.
        named: objects that it names, as far as the checker looks for them.
    """

    verdict: Verdict
    told: Any = None
    named: frozenset[str] = frozenset()


Checking = Generator[tuple[Request, ...], tuple[Reply, ...], list[Checked]]


class Checker(Protocol):
    """See above. As a string it is its kind and all that its verdicts depend on."""

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """Types of its requests."""

    def refuse(self, sample: Sample) -> None:
        """See that it can check sentences about this sample.

        Raises:
            RowError: it cannot.
        """

    def check(self, sample: Sample, context: str, sentences: Sequence[str], round_: int) -> Checking:
        """A verdict on each sentence, as it continues the context."""


class Words(Protocol):
    """Words for objects. As a string it is their name and digest."""

    def mentions(self, text: str) -> list[str]:
        """The objects that a text names, one for each mention, in order."""


@dataclass(frozen=True)
class ObjectLists:
    """The objects of pictures.

    Attributes:
        column: of the rows, with a list of names; "" where they are in a file.
        file: its name and digest.
        by_picture: the objects of each picture, by file name.
    """

    column: str = "objects"
    file: str = ""
    by_picture: Mapping[str, frozenset[str]] | None = None

    def __str__(self) -> str:
        return self.file or f"column {self.column}"

    def of(self, sample: Sample) -> frozenset[str] | None:
        """The names of what the sample's pictures show; None if that is not known."""
        if self.by_picture is not None:
            found = [self.by_picture.get(_name(image)) for image in sample.images]
            return None if None in found else frozenset(name for names in found for name in names or ())
        listed = sample.meta.get(self.column)
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            return None
        return frozenset(listed)


@dataclass(frozen=True)
class ByObjects:
    """Objects named against objects listed."""

    words: Words
    lists: ObjectLists
    asks: ClassVar[tuple[type[Request], ...]] = ()

    def __str__(self) -> str:
        return f"objects, {self.lists}, words {self.words}"

    def refuse(self, sample: Sample) -> None:
        """See that the picture's objects are known."""
        if self.lists.of(sample) is None:
            raise RowError("SENTENCE_NO_OBJECTS", f"no list of the picture's objects ({self.lists})")

    def check(self, sample: Sample, context: str, sentences: Sequence[str], round_: int) -> Checking:
        """Nothing is asked."""
        yield from ()
        listed = {object_ for name in self.lists.of(sample) or () for object_ in self.words.mentions(name)}
        return [_of_objects(frozenset(self.words.mentions(sentence)), listed) for sentence in sentences]


def _of_objects(named: frozenset[str], listed: set[str]) -> Checked:
    told = {"named": sorted(named), "absent": sorted(named - listed)}
    return Checked(("hallucinated" if named - listed else "verified") if named else "neutral", told, named)


@dataclass(frozen=True)
class ByDetectors:
    """Objects named, looked for in the picture.

    Attributes:
        detectors: names and revisions of the detectors.
    """

    words: Words
    detectors: str
    asks: ClassVar[tuple[type[Request], ...]] = (Detect,)

    def __str__(self) -> str:
        return f"detector, {self.detectors}, words {self.words}"

    def refuse(self, sample: Sample) -> None:
        """It can check any."""

    def check(self, sample: Sample, context: str, sentences: Sequence[str], round_: int) -> Checking:
        """Looks for each object in each of the pictures."""
        named = [frozenset(self.words.mentions(sentence)) for sentence in sentences]
        objects = sorted(frozenset[str]().union(*named))
        looked = [Detect(image, name) for name in objects for image in sample.loaded_images]
        replies = yield from detect(*looked)
        found: dict[str, list[Detected]] = {name: [] for name in objects}
        for request, reply in zip(looked, replies, strict=True):
            found[request.name].append(reply)
        return [_of_detectors({name: found[name] for name in sorted(names)}) for names in named]


def _of_detectors(found: Mapping[str, Sequence[Detected]]) -> Checked:
    """The verdict on a sentence, by what was found of each object that it names in each picture."""
    said = [{each.found for each in seen} for seen in found.values()]
    told = {name: [round(score, 3) for each in seen for score in each.scores] for name, seen in found.items()}
    if not found:
        return Checked("neutral", told)
    verdict: Verdict = "unclear"
    if any(each == {False} for each in said):
        verdict = "hallucinated"
    elif all(True in each for each in said):
        verdict = "verified"
    return Checked(verdict, told, frozenset(found))


@dataclass(frozen=True)
class ByGain:
    """Checker by image gain: how much the picture adds to a sentence's likelihood.

    Attributes:
        verified_from: nats per token from which on a sentence is verified.
        hallucinated_to: below it, up to which it is hallucinated.
    """

    verified_from: float = 0.5
    hallucinated_to: float = 0.0
    asks: ClassVar[tuple[type[Request], ...]] = (Score,)

    def __str__(self) -> str:
        return f"image-gain, verified from {self.verified_from:g}, hallucinated to {self.hallucinated_to:g}"

    def refuse(self, sample: Sample) -> None:
        """It can check any."""

    def check(self, sample: Sample, context: str, sentences: Sequence[str], round_: int) -> Checking:
        """Reads each sentence with the picture and without."""
        views = (View(), View(rho=1.0))
        texts = [*([context] if context else []), *(context + sentence for sentence in sentences)]
        requests = [Score(sample.prompt, sample.loaded_images, view, text) for text in texts for view in views]
        read = yield from score(*requests)
        before = read[0].ids if context else ()
        pairs = list(zip(read[::2], read[1::2], strict=True))[bool(context) :]
        return [self._of(_gain(seen, blind, before)) for seen, blind in pairs]

    def _of(self, gain: float) -> Checked:
        told = {"image_gain": round(gain, 4)}
        if gain >= self.verified_from:
            return Checked("verified", told)
        return Checked("hallucinated" if gain <= self.hallucinated_to else "unclear", told)


def _gain(seen: Scored, blind: Scored, before: Sequence[int]) -> float:
    """Nats per token of what follows the tokens `before`."""
    own = 0
    while own < min(len(before), len(seen.ids) - 1) and seen.ids[own] == before[own]:
        own += 1
    return (sum(seen.logps[own:]) - sum(blind.logps[own:])) / (len(seen.ids) - own)


@dataclass(frozen=True)
class ByJudge:
    """A chat model that sees the picture.

    Attributes:
        prompt: with places ``$question``, ``$context`` and ``$sentence``; ``$fence`` if it wants it.
    """

    prompt: Template
    seed: int = 0
    asks: ClassVar[tuple[type[Request], ...]] = (Chat,)

    def __post_init__(self) -> None:
        """Check the prompt.

        Raises:
            UsageError: naming what is wrong with it.
        """
        self.prompt.check(("question", "context", "sentence"), ("fence",))

    def __str__(self) -> str:
        return f"judge, prompt {self.prompt}"

    def refuse(self, sample: Sample) -> None:
        """It can check any."""

    def check(self, sample: Sample, context: str, sentences: Sequence[str], round_: int) -> Checking:
        """Asks about one sentence at a time."""
        requests = [
            self.ask(sample, context, sentence, f"check {round_} {number}") for number, sentence in enumerate(sentences)
        ]
        return [_of_judge(message) for message in (yield from chat(*requests))]

    def ask(self, sample: Sample, context: str, sentence: str, purpose: str) -> Chat:
        """The request to the judge about a sentence."""
        seed = seeds.derive(self.seed, sample.id, 1, purpose)
        turns = self.prompt.fill(
            question=question(sample), context=context.strip(), sentence=sentence.strip(), fence=f"{seed:016x}"
        )
        pictures = sample.loaded_images
        shown = Turn(turns[-1].role, (*[Slot.IMAGE] * len(pictures), *turns[-1].parts))
        return Chat((*turns[:-1], shown), pictures, _SCHEMA, Sampling(0.0, 1.0, 256), seed)


def _of_judge(message: Message) -> Checked:
    """A reply's verdict; unclear, and why, where it has none."""
    try:
        value, _ = replies.parse(message, frozenset({"verdict"}))
    except RowError as error:
        return Checked("unclear", {"reason": error.reason})
    return Checked(_VERDICTS.get(str(value["verdict"]), "unclear"), {"reason": str(value.get("reason", ""))[:200]})


def _name(image: Image | ImageRef) -> str:
    return (image.path or "").replace("\\", "/").rpartition("/")[2]
