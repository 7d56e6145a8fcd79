"""An engine without a model: instant, deterministic, for tests, dry runs and `--engine fake`."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from prefgen import seeds
from prefgen.errors import RowError
from prefgen.requests import Completion, Embed, Generate, Reply, Request, Vector

IMAGE_TOKENS = 64
_WORDS = ("a", "the", "red", "blue", "small", "large", "circle", "square", "star", "sits", "stands", "above", "beside")
_DIMENSIONS = 256


class FakeEngine:
    """Answers `Generate` with seeded words and `Embed` with hashed bags of words.

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
        if isinstance(request, Embed):
            return _embed(request)
        raise TypeError(f"the fake engine does not answer {type(request).__name__} requests")


def _generate(request: Generate) -> Completion:
    rng = seeds.generator(request.seed)
    words = [_WORDS[int(draw * len(_WORDS))] for draw in rng.random(1 + int(rng.random() * 8))]
    image_tokens = IMAGE_TOKENS * len(request.images)
    kept_tokens = int(request.view.mask(image_tokens).sum())
    return Completion(" " + " ".join(words) + ".", "stop", len(words) + 1, image_tokens, kept_tokens)


def _embed(request: Embed) -> Vector:
    values = np.zeros(_DIMENSIONS, dtype=np.float32)
    for word in re.findall(r"\w+", request.text.lower()):
        digest = hashlib.blake2b(word.encode(), digest_size=2).digest()
        values[int.from_bytes(digest, "little") % _DIMENSIONS] += 1.0
    norm = float(np.linalg.norm(values))
    return Vector(values / np.float32(norm) if norm else values)
