"""A reward for captions of scenes: what a reference answer names, and what it does not."""

from __future__ import annotations

from prefgen.engines.base import EngineConfig
from prefgen.errors import RowError
from prefgen.evaluate.scenes.claims import kinds_in
from prefgen.requests import Rate, Rated, Reply, Request


class ScenesReward:
    """Answers `Rate`: kinds named rightly minus those invented, by the number of kinds in the reference answer.

    A caption that names all kinds and no other has the reward 1, one that says nothing 0.
    """

    def __init__(self) -> None:
        self._pending: dict[int, Rate] = {}

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        if not isinstance(request, Rate):
            raise TypeError(f"this engine answers Rate requests, not {type(request).__name__}")
        self._pending[ticket] = request

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Rate everything that is pending."""
        pending, self._pending = self._pending, {}
        return [(ticket, _rated(request)) for ticket, request in pending.items()]


def engine(config: EngineConfig) -> ScenesReward:
    """An engine for a run; it needs no model."""
    return ScenesReward()


def _rated(request: Rate) -> Rated | RowError:
    truth, named = kinds_in(request.reference), kinds_in(request.answer)
    if not truth:
        return RowError("ANSWER_UNRATED", f"the reference names no kind of thing: {request.reference[:80]!r}")
    return Rated((len(named & truth) - len(named - truth)) / len(truth))
