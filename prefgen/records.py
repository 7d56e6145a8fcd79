"""The records of prefgen: `Sample` is the input of a method, `Pair` and `Dropped` its outcomes.

All are frozen and hold plain data. "Rejected" always means the worse of two responses; a sample that yields no pair is
*dropped*, with a reason.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


class Slot(Enum):
    """A place in a turn for something other than text."""

    IMAGE = "image"


Part = str | Slot


@dataclass(frozen=True)
class Turn:
    """One message: text and image slots in order, so that no text can be mistaken for an image tag."""

    role: Role
    parts: tuple[Part, ...]

    @cached_property
    def text(self) -> str:
        """The text parts joined, image slots left out."""
        return "".join([part for part in self.parts if isinstance(part, str)])

    @cached_property
    def image_count(self) -> int:
        """Number of image slots in this turn."""
        return self.parts.count(Slot.IMAGE)

    @cached_property
    def key(self) -> bytes:
        """Role and parts as `sample_id` hashes them."""
        return _key(f"{self.role}\x1e{part_text(self)}")

    def __reduce__(self) -> tuple[type[Turn], tuple[Role, tuple[Part, ...]]]:
        """The fields alone are pickled."""
        return Turn, (self.role, self.parts)


@dataclass(frozen=True)
class ImageRecord:
    """A run's record of an image with this digest; fields as in `Image`."""

    sha256: str
    path: str = ""
    how: str = ""
    original: str = ""


@dataclass(frozen=True)
class ImageRef:
    """A reference to an image: a path, bytes or a URL. `prefgen.images.load` makes an `Image` of it.

    Attributes:
        recorded: what an earlier run recorded of it, where the source is an export of that run.
    """

    path: str | None = None
    data: bytes | None = field(default=None, repr=False)
    url: str | None = None
    recorded: ImageRecord | None = None

    @property
    def name(self) -> str:
        """Name of the image for messages."""
        return self.path or self.url or "<embedded image>"


@dataclass(frozen=True)
class Image:
    """An image's encoded bytes, checked. Shape of the pixels: (height, width).

    Attributes:
        data: the original bytes, or a PNG of what they show where trainers would show something else.
        path: as the source writes it.
        how: the rule by which its file was found, if its name is not that path.
        original: digest of the original bytes where `data` is not them.
    """

    data: bytes = field(repr=False)
    path: str
    width: int
    height: int
    how: str = ""
    original: str = ""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the encoded bytes, computed once: answers about one image share it."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Sample:
    """A prompt with its images and usually a reference answer, of which a pair is made.

    Attributes:
        id: 16 hexadecimal digits, a hash of what the source has of it; every random draw is seeded by it.
        prompt: the conversation before the answer; the last turn is the user's.
        images: one per image slot of the prompt, in order. References until `prefgen.images.load` has been at them.
        answer: the reference answer y+, or None where a method needs none.
        source: name of the dataset or file it came from.
        source_id: the row's own id there; `turn` is the index of the answer among the row's assistant turns.
        meta: columns of the source that prefgen does not interpret (JSON types).
        licence: the source's, as the Hub spells it (``cc-by-4.0``); empty where it states none.
        part: which row this is of those that are planned for one sample, from 0.
    """

    id: str
    prompt: tuple[Turn, ...]
    images: tuple[Image | ImageRef, ...]
    answer: str | None
    source: str
    source_id: str
    turn: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    part: int = 0

    @property
    def row_id(self) -> str:
        """Id of the row: the sample's id, or for further rows of it a hash of that."""
        if not self.part:
            return self.id
        return hashlib.blake2b(f"{self.id}\x1f{self.part}".encode(), digest_size=8).hexdigest()

    @property
    def loaded_images(self) -> tuple[Image, ...]:
        """The images, all of which must be loaded.

        Raises:
            TypeError: if one is still a reference.
        """
        return _loaded(self.images, self.id)


@dataclass(frozen=True)
class StoredSample(Sample):
    """The sample of a pair of a finished run, with what is rejected; its `answer` is the chosen one.

    Attributes:
        rejected_images: as in `Pair`.
        run, row: place of the pair: the number of the run among those that are read, and of the row in it.
    """

    rejected: str = ""
    rejected_images: tuple[Image | ImageRef, ...] = ()
    run: int = 0
    row: int = 0


def _loaded(images: tuple[Image | ImageRef, ...], sample: str) -> tuple[Image, ...]:
    for image in images:
        if not isinstance(image, Image):
            raise TypeError(f"image {image.name} of sample {sample} has not been loaded")
    return tuple(image for image in images if isinstance(image, Image))


@dataclass(frozen=True)
class Span:
    """A half-open range of character offsets, ``[start, end)``."""

    start: int
    end: int


@dataclass(frozen=True)
class Pair:
    """A preference pair with the record of how its rejected answer was made.

    Attributes:
        method: e.g. ``bdhs``; `variant` is the method's own sub-name, e.g. ``attn``.
        authors: which of the run's policies wrote the chosen and the rejected answer, from 0; None for the reference.
        chosen: y+.
        rejected: y-.
        rejected_images: one for each image of the prompt, where the images are what is better or worse; the two answers
            are then equal. References as long as those of the sample are.
        iteration: 1-based iteration in which the rejected answer was accepted; 0 for one that was imported.
        similarity: cosine similarity of the sentence embeddings of both answers; None where none was computed.
        seed: the run's seed.
        spans: what was generated, as offsets into `rejected`; everything outside of them is in `chosen` as well.
        swaps: yes/no words that were exchanged, as offsets into `rejected`.
        cuts: where each sentence of `chosen` was cut, as offsets into `chosen`; empty for an unguided answer.
        finish: why each generated stretch ended (``stop``, ``eos`` or ``length``), in the order of `spans`.
        image_tokens: image tokens in the language model's input; `kept_tokens` of them could be attended to.
        tokens: tokens generated for this sample, all iterations together.
        flags: things a reader of the data should know, e.g. ``similar``, ``truncated``.
        params: the method's options, as JSON types.
        record: what else the method has to say of this pair, as JSON types.
        joined: where one chosen answer is paired with several, in rows next to each other: ``group``, the same for all
            of them, and ``size``, their number.
    """

    sample: Sample
    method: str
    variant: str
    chosen: str
    rejected: str
    iteration: int
    similarity: float | None
    seed: int
    rejected_images: tuple[Image | ImageRef, ...] = ()
    spans: tuple[Span, ...] = ()
    swaps: tuple[Span, ...] = ()
    cuts: tuple[int, ...] = ()
    finish: tuple[str, ...] = ()
    image_tokens: int = 0
    kept_tokens: int = 0
    tokens: int = 0
    flags: tuple[str, ...] = ()
    authors: tuple[int | None, int] = (None, 0)
    params: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    joined: dict[str, Any] = field(default_factory=dict)

    @property
    def loaded_rejected_images(self) -> tuple[Image, ...]:
        """The rejected images, all of which must be loaded.

        Raises:
            TypeError: if one is still a reference.
        """
        return _loaded(self.rejected_images, self.sample.id)


@dataclass(frozen=True)
class Dropped:
    """A planned row that yields no pair.

    Attributes:
        reason: stable upper-case code, listed by `prefgen guide data-in`.
        detail: what was found, for a person.
        id: the row's id, or None for a row that could not be read as a sample.
        similarity: as in `Pair`, where the row got that far; such rows count in the similarity report.
    """

    reason: str
    detail: str
    source: str
    source_id: str
    id: str | None = None
    turn: int = 0
    iteration: int = 0
    similarity: float | None = None
    tokens: int = 0

    @classmethod
    def of(cls, sample: Sample, reason: str, detail: str) -> Dropped:
        """Drop `sample`."""
        return cls(reason, detail, sample.source, sample.source_id, id=sample.row_id, turn=sample.turn)


Outcome = Pair | Dropped


def sample_id(source_id: str, turn: int, prompt: tuple[Turn, ...], images: tuple[str, ...], answer: str | None) -> str:
    """Content hash that names a sample: 16 hexadecimal digits.

    LLaVA-Instruct repeats its row ids, so a row id alone cannot seed draws or name a pair.

    Args:
        images: name or digest of each image, in order.
    """
    keys = [_key(source_id), _key(str(turn)), *(said.key for said in prompt)]
    keys += map(_key, (*images, answer or "\x00"))
    return hashlib.blake2b(b"".join(keys), digest_size=8).hexdigest()


def _key(text: str) -> bytes:
    """The text in UTF-8 after its length."""
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "little") + encoded


def part_text(turn: Turn) -> str:
    """A turn's parts as one string, in which image slots differ from any text."""
    return "\x1f".join(part if isinstance(part, str) else "\x1d" for part in turn.parts)
