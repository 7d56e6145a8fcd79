"""Work of a method per row: encoded pictures, tokens read and written. Needs no model.

Each flow is run for one round on an engine that notes the requests and answers with seeded words. How long the answers
of a real model are is not known before; they are taken to be as long as the reference, with two measured exceptions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from prefgen.driver import drive
from prefgen.engines.base import Engine
from prefgen.engines.fake import FakeEngine
from prefgen.engines.hf.album import Album
from prefgen.errors import RowError
from prefgen.methods.base import Method
from prefgen.records import Sample
from prefgen.requests import (
    Annotate,
    AnnotatorScore,
    Borrow,
    Chat,
    Contrast,
    Detect,
    Embed,
    Generate,
    Rate,
    Reply,
    Request,
    Score,
)
from prefgen.text import split_sentences

WRITTEN_SHARE = 2 / 3
"""Tokens that are written when every sentence is cut and completed, by those of the reference: 15.2 of 23 on an earlier
world of scenes (examples/benchmarks/results/bdhs-scenes-cpu.json)."""
SENTENCES_SHARE = 0.64
"""Sentences that `prefgen sentences` draws for, by the most that it may: 231 of 360 on 60 captions of that world."""
STILL_SIMILAR = (0.330, 0.184, 0.133, 0.103)
"""Share of rows that go into iteration 2, 3, 4 and 5 of BDHS: those of the scenes at ρ = 0.95 of 144 image tokens."""


@dataclass(frozen=True)
class Work:
    """Mean work per row.

    Attributes:
        encoded: image tokens that the vision tower makes.
        read: tokens that the language model reads before it writes; what requests share is read once.
        written: tokens that it writes.
        context: tokens that each of these attends to.
        embedded: tokens that the sentence embedder reads.
    """

    encoded: float = 0.0
    read: float = 0.0
    written: float = 0.0
    context: float = 0.0
    embedded: float = 0.0


@dataclass(frozen=True)
class RoundsPerRow:
    """The number of times that the work of a round is done per row."""

    low: float
    expected: float
    high: float


_ROUNDS = ("iterations", "sentences")
"""Fields of methods that say how many rounds there are at most."""


def rounds(method: Method) -> RoundsPerRow:
    """Iterations of a method that repeats answers, sentences of one that makes them one by one; 1 for others."""
    if drawn := int(getattr(method, "sentences", 0)):
        return RoundsPerRow(1.0, SENTENCES_SHARE * drawn, float(drawn))
    most = getattr(method, "iterations", 1)
    shares = [STILL_SIMILAR[min(place, len(STILL_SIMILAR) - 1)] for place in range(most - 1)]
    return RoundsPerRow(1.0, 1.0 + sum(shares), float(most))


def work(method: Method, samples: Sequence[Sample], image_tokens: float, tokens: Callable[[str], float]) -> Work:
    """The work of one round on these samples, whose images are loaded.

    Args:
        image_tokens: of a prompt with its pictures.
        tokens: how many a text has.
    """
    once = {name: 1 for name in _ROUNDS if hasattr(method, name)}
    method = dataclasses.replace(method, **once) if once else method  # type: ignore[type-var]  # methods are dataclasses
    found = [_of_row(method, sample, image_tokens, tokens) for sample in samples]
    return Work(**{field.name: mean(getattr(row, field.name) for row in found) for field in dataclasses.fields(Work)})


def _of_row(method: Method, sample: Sample, image_tokens: float, tokens: Callable[[str], float]) -> Work:
    noted = _RecordingEngine()
    engines: Mapping[type[Request], Engine] = {Borrow: Album([sample])} | dict.fromkeys(
        (Embed, Generate, Contrast, Annotate, Score, AnnotatorScore, Rate, Chat, Detect), noted
    )
    for _ in drive([sample], method, engines):
        pass
    shown = image_tokens / max(len(sample.images), 1)  # of one picture
    answer = tokens(sample.answer or "")
    sentences = max(1, len(split_sentences(sample.answer or "")))
    asked = [request for request in noted.requests if isinstance(request, (Generate, Score))]
    encoded = written = attended = 0.0
    seen: dict[object, float] = {}  # what was read of a prompt under a view
    for request in asked:
        views = request.views if isinstance(request, Generate) else (request.view,)
        given = request.prefix if isinstance(request, Generate) else request.answer
        new = _written(request, answer, sentences, asked, tokens)
        prompt = sum(tokens(turn.text) for turn in request.prompt)
        written += new
        for view in views:
            length = view.expected_kept(round(shown * len(request.images))) + prompt + tokens(given)
            attended += new * (length + new / 2)
            key = (request.prompt, request.images, view)
            encoded += 0.0 if key in seen else shown * len(request.images)
            seen[key] = max(seen.get(key, 0.0), length)
    rated = [request for request in noted.requests if isinstance(request, Rate)]
    if rated:  # a reward model reads the prompt once more, all answers behind it
        encoded += shown * len(rated[0].images)
        prompt = sum(tokens(turn.text) for turn in rated[0].prompt) + shown * len(rated[0].images)
        seen["reward"] = prompt + sum(tokens(request.answer) for request in rated)
    embedded = sum(tokens(request.text) for request in noted.requests if isinstance(request, Embed))
    return Work(encoded, sum(seen.values()), written, attended / written if written else 0.0, embedded)


def _written(
    request: Generate | Score,
    answer: float,
    sentences: int,
    asked: Sequence[Generate | Score],
    tokens: Callable[[str], float],
) -> float:
    if isinstance(request, Score):
        return 0.0
    if request.stop == "end":
        return max(answer - tokens(request.prefix), 1.0)
    if request.open_at == len(request.prefix):  # a whole sentence
        return answer / sentences
    return WRITTEN_SHARE * answer / sum(isinstance(other, Generate) and other.stop != "end" for other in asked)


class _RecordingEngine:
    """An engine that records requests and answers with seeded words."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._fake = FakeEngine()
        self._chats: list[int] = []

    def submit(self, ticket: int, request: Request) -> None:
        """Record a request and pass it on; a chat request ends its row."""
        self.requests.append(request)
        if isinstance(request, Chat):
            self._chats.append(ticket)
        else:
            self._fake.submit(ticket, request)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """The replies."""
        chats, self._chats = self._chats, []
        unasked: list[tuple[int, Reply | RowError]] = [
            (ticket, RowError("REPLY_EMPTY", "not asked")) for ticket in chats
        ]
        return unasked + self._fake.collect()
