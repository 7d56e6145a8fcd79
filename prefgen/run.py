"""The driver: keeps the flows of many samples going on a few engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prefgen.engines.base import Engines
from prefgen.errors import RowError
from prefgen.records import Dropped, Outcome, Sample
from prefgen.requests import Flow, Reply, Request


@dataclass
class _Waiting:
    """A flow and the replies it waits for."""

    index: int
    sample: Sample
    flow: Flow
    replies: list[Reply | RowError | None] = field(default_factory=list)
    missing: int = 0


def drive(
    samples: Iterable[Sample], method: Callable[[Sample], Flow], engines: Engines
) -> Iterator[tuple[int, Outcome]]:
    """Run a method over samples, all of them at once.

    Args:
        engines: for each type of request the engine that answers it; earlier ones are asked first.

    Yields:
        (position of the sample, its outcome), in the order in which they are done.

    Raises:
        RuntimeError: if an engine leaves a request unanswered.
    """
    tickets: dict[int, tuple[_Waiting, int]] = {}
    next_ticket = 0
    ready = [_Waiting(index, sample, method(sample)) for index, sample in enumerate(samples)]
    while ready or tickets:
        for waiting in ready:
            step = _resume(waiting)
            if isinstance(step, tuple):
                waiting.replies, waiting.missing = [None] * len(step), len(step)
                for place, request in enumerate(step):
                    tickets[next_ticket] = (waiting, place)
                    engines[type(request)].submit(next_ticket, request)
                    next_ticket += 1
            else:
                yield waiting.index, step
        ready = []
        answered = [reply for engine in engines.values() for reply in engine.collect()]
        if not answered and tickets:
            raise RuntimeError(f"{len(tickets)} requests were never answered")
        for ticket, reply in answered:
            waiting, place = tickets.pop(ticket)
            waiting.replies[place] = reply
            waiting.missing -= 1
            if not waiting.missing:
                ready.append(waiting)


def _resume(waiting: _Waiting) -> tuple[Request, ...] | Outcome:
    """Send the replies, or throw the first failed one, into the flow; its next requests or its outcome."""
    failed = next((reply for reply in waiting.replies if isinstance(reply, RowError)), None)
    replies = tuple(reply for reply in waiting.replies if reply is not None and not isinstance(reply, RowError))
    try:
        if failed is not None:
            return waiting.flow.throw(failed)
        return waiting.flow.send(replies) if waiting.replies else next(waiting.flow)
    except StopIteration as done:
        outcome: Outcome = done.value
        return outcome
    except RowError as error:
        return Dropped.of(waiting.sample, error.reason, error.detail)
