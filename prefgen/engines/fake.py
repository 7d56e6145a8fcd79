"""An engine without a model, deterministic and instant, for tests, dry runs and `--engine fake`."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from prefgen import seeds
from prefgen.errors import RowError
from prefgen.requests import (
    Completion,
    Detect,
    Detected,
    Embed,
    Generate,
    Rate,
    Rated,
    Reply,
    Request,
    Score,
    Scored,
    Vector,
)

IMAGE_TOKENS = 64
_WORDS = ("a", "the", "red", "blue", "small", "large", "circle", "square", "star", "sits", "stands", "above", "beside")
_DIMENSIONS = 256


class FakeEngine:
    """Answers `Generate`, `Contrast` and `Score` with seeded words, `Rate`, `Detect` and `Embed` with hashes of words.

    A reply depends on its request alone, so neither batch size nor order can change a run's output.
    """

    def __init__(self, batch_size: int = 64) -> None:
        self._batch_size = batch_size
        self._pending: dict[int, Request] = {}

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        self._pending[ticket] = request

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Answer one batch."""
        tickets = list(self._pending)[: self._batch_size]
        return [(ticket, self._answer(self._pending.pop(ticket))) for ticket in tickets]

    def _answer(self, request: Request) -> Reply:
        if isinstance(request, Generate):
            return _generate(request)
        if isinstance(request, Score):
            return _score(request)
        if isinstance(request, Detect):
            score = _word_id(request.name) / 2**16
            return Detected((score,), score >= 0.5)
        if isinstance(request, Rate):
            return Rated(_word_id(request.answer) / 2**16)
        if isinstance(request, Embed):
            return _embed(request)
        raise TypeError(f"this engine does not answer {type(request).__name__}")


def _generate(request: Generate) -> Completion:
    rng = seeds.generator(request.seed)
    words = [_WORDS[int(draw * len(_WORDS))] for draw in rng.random(1 + int(rng.random() * 8))]
    image_tokens = IMAGE_TOKENS * len(request.images)
    kept_tokens = int(request.view.mask(image_tokens).sum())
    return Completion(" " + " ".join(words) + ".", "stop", len(words) + 1, image_tokens, kept_tokens)


def _score(request: Score) -> Scored:
    """A `Scored` whose tokens are words; one in three is drawn anew."""
    words = request.answer.split()
    draws = seeds.generator(request.seed).random((len(words) + 1, 2))
    drawn = [_WORDS[int(draw * len(_WORDS))] for _, draw in draws]
    for place, word in enumerate(words):
        if draws[place, 0] > 1 / 3:
            drawn[place] = word
    image_tokens = IMAGE_TOKENS * len(request.images)
    return Scored(
        ids=tuple(map(_word_id, words)),
        logps=tuple(np.log(draws[:-1, 0] / 2 + 0.5).tolist()),
        drawn=tuple(map(_word_id, drawn)),
        text=" " + " ".join(drawn[:-1]),
        end=" " + drawn[-1],
        image_tokens=image_tokens,
        kept_tokens=int(request.view.mask(image_tokens).sum()),
    )


def _embed(request: Embed) -> Vector:
    values = np.zeros(_DIMENSIONS, dtype=np.float32)
    for word in re.findall(r"\w+", request.text.lower()):
        values[_word_id(word) % _DIMENSIONS] += 1.0
    norm = float(np.linalg.norm(values))
    return Vector(values / np.float32(norm) if norm else values)


def _word_id(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=2).digest(), "little")
