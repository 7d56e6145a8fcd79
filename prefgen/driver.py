"""The driver: runs the flows of many samples at the same time on a few engines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from prefgen.engines.base import Engines, Remembering, Remote
from prefgen.errors import RowError
from prefgen.records import Dropped, Sample
from prefgen.requests import Reply, Request

T = TypeVar("T")
Asking = Generator[tuple[Request, ...], tuple[Reply, ...], T]
"""A flow that returns whatever it likes; a method's returns an `Outcome`."""


@dataclass
class _Waiting(Generic[T]):
    """A flow and the replies it waits for, by the index of their requests."""

    index: int
    sample: Sample
    flow: Asking[T]
    expected: int | None = None  # None until the flow has been started
    replies: dict[int, Reply | RowError] = field(default_factory=dict)


_WAIT_S = 0.2  # between two looks at whether the user wants to stop


def drive(
    samples: Iterable[Sample],
    method: Callable[[Sample], Asking[T]],
    engines: Engines,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, T | Dropped]]:
    """Run a method over samples, all of them at once.

    Args:
        engines: for each type of request the engine that answers it; earlier ones are asked first.
        check: called now and then while there is nothing to do but wait; may raise.

    Yields:
        (position of the sample, its outcome), in the order in which they are done.

    Raises:
        RuntimeError: if an engine leaves a request unanswered.
    """
    for engine in engines.values():
        if isinstance(engine, Remembering):
            engine.forget()
    tickets: dict[int, tuple[_Waiting[T], int]] = {}
    next_ticket = 0
    ready = [_Waiting(index, sample, method(sample)) for index, sample in enumerate(samples)]
    while ready or tickets:
        again: list[_Waiting[T]] = []
        for waiting in ready:
            step = _resume(waiting)
            if not isinstance(step, tuple):
                yield waiting.index, step
                continue
            waiting.expected, waiting.replies = len(step), {}
            if not step:  # a flow without requests continues at once
                again.append(waiting)
            for place, request in enumerate(step):
                tickets[next_ticket] = (waiting, place)
                engines[type(request)].submit(next_ticket, request)
                next_ticket += 1
        ready = again
        answered = [reply for engine in engines.values() for reply in engine.collect()]
        if not answered and tickets and _wait(engines):
            check()
        elif not answered and tickets:
            raise RuntimeError(f"{len(tickets)} requests were never answered")
        for ticket, reply in answered:
            waiting, place = tickets.pop(ticket)
            waiting.replies[place] = reply
            if len(waiting.replies) == waiting.expected:
                ready.append(waiting)


def _wait(engines: Engines) -> bool:
    """Wait for a remote engine; False if none has work to do."""
    remote = [engine for engine in dict.fromkeys(engines.values()) if isinstance(engine, Remote)]
    return bool(sum(engine.wait(_WAIT_S / len(remote)) for engine in remote))


def _resume(waiting: _Waiting[T]) -> tuple[Request, ...] | T | Dropped:
    """Send the replies, or throw the first failed one, into the flow; returns its next requests or its outcome."""
    try:
        if waiting.expected is None:
            return next(waiting.flow)
        replies: list[Reply] = []
        for place in range(waiting.expected):
            reply = waiting.replies[place]
            if isinstance(reply, RowError):
                return waiting.flow.throw(reply)
            replies.append(reply)
        return waiting.flow.send(tuple(replies))
    except StopIteration as done:
        return cast(T, done.value)
    except RowError as error:
        return Dropped.of(waiting.sample, error.reason, error.detail)
