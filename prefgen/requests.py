"""Requests of methods to models, and the replies to them.

A method is a *flow*: a generator that yields tuples of requests to be answered together, is sent the tuple of their
replies in the same order, and returns an outcome. It does no I/O and knows no engine.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from prefgen.records import Image, Outcome, Turn
from prefgen.visibility import View

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Stop = Literal["sentence", "full-stop", "end"]
Finish = Literal["stop", "eos", "length"]


@dataclass(frozen=True)
class Sampling:
    """Sampling of the next token. Temperature 0 is greedy.

    Attributes:
        max_new_tokens: a completion that reaches it is kept, with finish ``length``.
        min_new_tokens: an end of sequence is not drawn before so many tokens.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    min_new_tokens: int = 0


@dataclass(frozen=True)
class Generate:
    """Continue the assistant's answer.

    Attributes:
        prompt: the conversation; its image slots are filled by `images` in order.
        prefix: what the answer already says; may be empty.
        open_at: offset into `prefix` where the sentence to be completed starts (for ``stop="sentence"``).
        stop: ``sentence`` ends at the first sentence end, ``full-stop`` at the first ".", ``end`` at end of sequence.
        language: ISO 639-1 code, for the abbreviations that do not end a sentence.
        seed: seeds the token draws of this request alone.
        policy: which of the run's policies is asked, from 0.
    """

    prompt: tuple[Turn, ...]
    images: tuple[Image, ...]
    view: View
    prefix: str
    open_at: int
    stop: Stop
    language: str
    sampling: Sampling
    seed: int
    policy: int = field(default=0, kw_only=True)

    @property
    def views(self) -> tuple[View, ...]:
        """The views of the images that are needed to answer."""
        return (self.view,)


@dataclass(frozen=True)
class Contrast(Generate):
    """Continue the assistant's answer, with logits that contrast two views of the images.

    Tokens are drawn from ``(1 + alpha) * l - alpha * l'``, where l are the next-token logits under `view` and l' those
    under `against`, both after the same tokens.

    Attributes:
        against: the view whose logits are taken away.
        plausibility: a token is drawn only if under `view` it is at least so many times as likely as the likeliest that
            may be drawn; in [0, 1].
    """

    against: View
    alpha: float
    plausibility: float

    @property
    def views(self) -> tuple[View, ...]:
        """Both views of the images."""
        return (self.view, self.against)


@dataclass(frozen=True)
class Annotate(Generate):
    """As `Generate`, for the model that compares answers instead of the policy."""


@dataclass(frozen=True)
class Completion:
    """The text that was generated after the prefix.

    Attributes:
        text: the continuation with its leading space, so that ``prefix + text`` is the answer so far.
        tokens: number of tokens generated.
        image_tokens: image tokens of the prompt; `kept_tokens` of them were visible. Both 0 if a server does not report
        them.
        ids: the generated tokens, an end token included; empty if the engine does not report them.
    """

    text: str
    finish: Finish
    tokens: int
    image_tokens: int
    kept_tokens: int
    ids: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Score:
    """Score a given answer token by token, with the model's own prediction in each place (teacher forcing).

    Attributes:
        prompt: as in `Generate`, and `images` and `view` likewise.
        answer: not empty; trailing spaces are not read.
        temperature: of the draw in each place, 0 takes the most likely token.
        top_p: its nucleus.
        seed: seeds the draws of this request alone.
    """

    prompt: tuple[Turn, ...]
    images: tuple[Image, ...]
    view: View
    answer: str
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class AnnotatorScore(Score):
    """As `Score`, for the model that `Annotate` asks instead of the policy."""


@dataclass(frozen=True)
class Scored:
    """Log-probabilities and predictions of an answer of T tokens.

    Attributes:
        ids: the answer's tokens, (T,).
        logps: log-probability of each after all before it, in nats, (T,).
        drawn: what the model puts in the place of each, and in the place behind them where the answer ends, (T + 1,).
        text: the drawn tokens but for the last as text, as it continues the prompt.
        end: the text of the last.
        image_tokens: image tokens of the prompt; `kept_tokens` of them were visible.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    drawn: tuple[int, ...]
    text: str
    end: str
    image_tokens: int
    kept_tokens: int


@dataclass(frozen=True)
class Rate:
    """Ask a reward model, or another measure of an answer, how good it is.

    Attributes:
        prompt: as in `Generate`, and `images` likewise.
        reference: the sample's own answer; empty if it has none.
    """

    prompt: tuple[Turn, ...]
    images: tuple[Image, ...]
    answer: str
    reference: str = ""


@dataclass(frozen=True)
class Rated:
    """The reward of an answer: higher is better, the unit is the measure's own."""

    reward: float


@dataclass(frozen=True)
class Embed:
    """Embed a text for semantic comparison."""

    text: str


@dataclass(frozen=True)
class Vector:
    """A unit-length embedding, float32 (dim,); empty where a run has no similarity model.

    Attributes:
        truncated: the embedder saw only the text's beginning.
    """

    values: npt.NDArray[np.float32]
    truncated: bool = False


@dataclass(frozen=True)
class Borrow:
    """Ask for an image of another sample that differs from `image`; `seed` chooses it."""

    image: Image
    seed: int


@dataclass(frozen=True)
class Borrowed:
    """An image of another sample."""

    image: Image


@dataclass(frozen=True)
class Chat:
    """Ask a chat model behind an API.

    Attributes:
        turns: the conversation, instructions and examples included; its image slots are filled by `images` in order.
        schema: JSON schema of the reply, as JSON; empty for free text.
        seed: passed on to servers that take one; two requests that differ in nothing else are two questions.
        plain: the same question to be answered in plain text, for a judge that gives no JSON; empty if there is none.
        after: why the reply before this one was of no use, for a row that is asked about again.
    """

    turns: tuple[Turn, ...]
    images: tuple[Image, ...]
    schema: str
    sampling: Sampling
    seed: int
    plain: tuple[Turn, ...] = ()
    after: str = ""


@dataclass(frozen=True)
class Message:
    """Reply of a chat model. The method decides whether it can be used.

    Attributes:
        finish: why it ended, in the API's words (``stop``, ``length``, ``content_filter`` …), or ``refusal``, in which
            case `text` says why.
        tokens: tokens generated; `prompt_tokens` were read. `reasoning_tokens` of those generated were not shown.
        how: how it was read: ``plain`` if it answers `Chat.plain`, ``parts`` if its content was a list,
            ``reasoning-field`` if reasoning came beside it, ``no-finish`` if the server did not say why it ended.
    """

    text: str
    finish: str
    tokens: int
    prompt_tokens: int
    reasoning_tokens: int = 0
    how: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detect:
    """Look for an object in an image, by its name."""

    image: Image
    name: str


@dataclass(frozen=True)
class Detected:
    """Result of the detection of an object.

    Attributes:
        scores: of each detector, that of its best box, in [0, 1].
        found: whether it is there; None where the detectors disagree.
    """

    scores: tuple[float, ...]
    found: bool | None


Request = Generate | Contrast | Score | Rate | Embed | Borrow | Chat | Detect
Reply = Completion | Scored | Rated | Vector | Borrowed | Message | Detected
Flow = Generator[tuple[Request, ...], tuple[Reply, ...], Outcome]
Flows = Generator[tuple[Request, ...], tuple[Reply, ...], Outcome | list[Outcome]]
"""A flow that may return an outcome for each of several rows, see `prefgen.methods.base.Several`."""

T = TypeVar("T", bound=Reply)
Asking = Generator[tuple[Request, ...], tuple[Reply, ...], tuple[T, ...]]
"""A part of a flow that asks for replies of one type: ``(reply,) = yield from generate(request)``."""


def generate(*requests: Generate) -> Asking[Completion]:
    """Have a model write, the policy or, for `Annotate`, the annotator."""
    return _typed(Completion, (yield requests))


def score(*requests: Score) -> Asking[Scored]:
    """Have a model score answers, the policy or, for `AnnotatorScore`, the annotator."""
    return _typed(Scored, (yield requests))


def rate(*requests: Rate) -> Asking[Rated]:
    """Have a reward model rate answers."""
    return _typed(Rated, (yield requests))


def embed(*texts: str) -> Asking[Vector]:
    """Have the similarity model embed texts."""
    return _typed(Vector, (yield tuple(map(Embed, texts))))


def borrow(*requests: Borrow) -> Asking[Borrowed]:
    """Get pictures of other samples."""
    return _typed(Borrowed, (yield requests))


def chat(*requests: Chat) -> Asking[Message]:
    """Have a judge answer."""
    return _typed(Message, (yield requests))


def detect(*requests: Detect) -> Asking[Detected]:
    """Have a detector look for objects."""
    return _typed(Detected, (yield requests))


def _typed(kind: type[T], replies: tuple[Reply, ...]) -> tuple[T, ...]:
    found = tuple(reply for reply in replies if isinstance(reply, kind))
    if len(found) < len(replies):
        raise TypeError(f"a request for {kind.__name__} was answered by {', '.join(map(str, map(type, replies)))}")
    return found


def of_annotator(asks: Sequence[type[Request]]) -> bool:
    """True if any of these requests is answered by the annotator."""
    return not {Annotate, AnnotatorScore}.isdisjoint(asks)


def of_policy(asks: Sequence[type[Request]]) -> bool:
    """True if any of these requests is answered by the policy, the model that pairs are made for."""
    return not {Generate, Contrast, Score}.isdisjoint(asks)
