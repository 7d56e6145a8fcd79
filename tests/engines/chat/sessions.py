"""An engine on a scripted judge, over real sockets, with short waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from prefgen.engines.chat.config import JudgeConfig, Patience
from prefgen.engines.chat.engine import ChatEngine
from prefgen.engines.chat.ledger import Bill, Ledger
from prefgen.errors import PrefgenError, RowError
from prefgen.records import Turn
from prefgen.requests import Chat, Message, Reply, Sampling
from tests.judge import MODEL, Act, Judge, Script, say

QUICK = Patience(
    backoff_first=0.01, backoff_most=0.05, breaker_after=8, breaker_probe=0.2, breaker_gives_up=0.7, closing=1.0
)
GOOD = "an answer"
BESIDES = 16 + 64 + 50  # tokens that a question may take beside its text: around it, and for the answer


def ask(number: int = 0) -> Chat:
    return Chat((Turn("user", (f"question {number}",)),), (), "", Sampling(1.0, 1.0, 50), number)


class Session:
    """An engine on a scripted judge, and what came of it."""

    def __init__(self, judge: Judge, **options: Any) -> None:
        priced = {"price_in": 1.0, "price_out": 1.0}
        self.config = JudgeConfig(MODEL, judge.url, **{**priced, "request_timeout": 5.0, **options})
        self.ledger = Ledger(":memory:")
        self.engine = ChatEngine(self.config, self.ledger, QUICK)

    def answers(self, count: int = 1, first: int = 0) -> list[Reply | RowError]:
        """Ask so many questions at once; the replies in their order."""
        for number in range(first, first + count):
            self.engine.submit(number, ask(number))
        replies: dict[int, Reply | RowError] = {}
        while len(replies) < count:
            assert self.engine.wait(5.0)
            replies.update(self.engine.collect())
        return [replies[number] for number in sorted(replies)]

    def texts(self, count: int = 1, first: int = 0) -> list[str]:
        return [reply.text if isinstance(reply, Message) else str(reply) for reply in self.answers(count, first)]

    def bill(self) -> Bill:
        return self.ledger.bill()


@contextmanager
def judged(script: Script, **options: Any) -> Iterator[tuple[Session, Judge]]:
    with Judge(script) as judge:
        session = Session(judge, **options)
        try:
            yield session, judge
        finally:
            session.engine.close()
            session.ledger.close()


def first(*acts: Act) -> Script:
    """These, one after the other, then good answers."""
    return lambda number, _: acts[number] if number < len(acts) else GOOD


def then(*acts: Act) -> Script:
    """A good answer, then these, then good answers."""
    return first(say(GOOD), *acts)


def stops(session: Session, kind: type[PrefgenError], count: int = 1) -> str:
    with pytest.raises(kind) as stopped:
        session.texts(count)
    return str(stopped.value)


def reason(reply: Reply | RowError) -> str:
    assert isinstance(reply, RowError), reply
    return reply.reason
