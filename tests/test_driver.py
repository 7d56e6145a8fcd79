from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from prefgen.driver import drive
from prefgen.engines.base import Engines
from prefgen.engines.fake import FakeEngine
from prefgen.errors import RowError
from prefgen.methods.bdhs import BDHS
from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Turn
from prefgen.requests import Chat, Embed, Flow, Generate, Message, Reply, Request, Sampling, Vector, embed


def samples(count: int) -> list[Sample]:
    prompt = (Turn("user", (Slot.IMAGE, "Describe it.")),)
    image = Image(b"x", "x.png", 2, 2)
    return [
        Sample(f"{n:04x}", prompt, (image,), f"There are {n} cats. One is red.", "test", str(n)) for n in range(count)
    ]


def outcomes(count: int, engines: Engines) -> list[Outcome]:
    done = dict(drive(samples(count), BDHS(similarity_threshold=0.6), engines))
    return [done[index] for index in range(count)]


def fakes(batch_size: int) -> Engines:
    engine = FakeEngine(batch_size)
    return {Embed: engine, Generate: engine}


def test_outcomes_do_not_depend_on_the_batch_size() -> None:
    expected = outcomes(60, fakes(1))
    assert {outcome.iteration for outcome in expected} >= {1, 2}
    assert outcomes(60, fakes(7)) == expected
    assert outcomes(60, fakes(1000)) == expected


class Reversed(FakeEngine):
    """Answers the newest request first."""

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        return super().collect()[::-1]


def test_outcomes_do_not_depend_on_the_order_of_replies() -> None:
    engine = Reversed(5)
    assert outcomes(30, {Embed: engine, Generate: engine}) == outcomes(30, fakes(3))


class Failing(FakeEngine):
    """Cannot answer one of the prompts."""

    def _answer(self, request: Request) -> Reply | RowError:  # type: ignore[override]
        if isinstance(request, Generate) and "7 cats" in request.prefix:
            return RowError("OUT_OF_MEMORY", "too long")
        return super()._answer(request)


def test_a_failed_request_drops_its_row_alone() -> None:
    engine = Failing(4)
    done = outcomes(10, {Embed: engine, Generate: engine})
    assert isinstance(done[7], Dropped)
    assert (done[7].reason, done[7].detail, done[7].id) == ("OUT_OF_MEMORY", "too long", "0007")
    assert sum(isinstance(outcome, Pair) for outcome in done) == 9


def test_a_slow_sample_does_not_hold_up_the_others() -> None:
    def method(sample: Sample) -> Flow:
        return many_rounds(sample) if sample.source_id == "0" else BDHS()(sample)

    order = [index for index, _ in drive(samples(4), method, fakes(100))]
    assert order == [1, 2, 3, 0]


def many_rounds(sample: Sample) -> Flow:
    for round_ in range(9):
        yield (Embed(str(round_)),)
    yield ()  # nothing to ask: resumed at once
    return Dropped.of(sample, "DONE", "")


class Mute(FakeEngine):
    def collect(self) -> list[tuple[int, Reply | RowError]]:
        return []


def test_an_engine_that_forgets_a_request_is_a_bug() -> None:
    engine = Mute()
    with pytest.raises(RuntimeError, match="3 requests were never answered"):
        list(drive(samples(3), BDHS(), {Embed: engine, Generate: engine}))


def test_samples_are_taken_from_any_iterable() -> None:
    def stream() -> Iterator[Sample]:
        yield from samples(3)

    assert len(list(drive(stream(), BDHS(), fakes(2)))) == 3


class Elsewhere:
    """Answers `Chat` when the local engine has nothing left to do, and a little later."""

    def __init__(self, local: FakeEngine) -> None:
        self.waits = 0
        self._local, self._asked = local, list[int]()

    def submit(self, ticket: int, request: Request) -> None:
        self._asked.append(ticket)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        if self.waits < 3:
            return []
        asked, self._asked = self._asked, []
        return [(ticket, Message("yes", "stop", 1, 1)) for ticket in asked]

    def wait(self, timeout_s: float) -> bool:
        assert not self._local._pending, "the local engine waits for the other"
        self.waits += 1
        return bool(self._asked)

    def close(self) -> None:
        pass


def mixed(sample: Sample) -> Flow:
    if int(sample.id, 16) % 2:
        yield (Chat((), (), "", Sampling(), 0),)
    for _ in range(5):
        yield (Embed(sample.id),)
    return Dropped.of(sample, "DONE", "")


def test_a_remote_engine_is_waited_for_only_when_there_is_nothing_else_to_do() -> None:
    local, checks = FakeEngine(2), list[int]()
    remote = Elsewhere(local)
    done = [index for index, _ in drive(samples(10), mixed, {Embed: local, Chat: remote}, lambda: checks.append(1))]
    assert {*done[:5]} == {0, 2, 4, 6, 8}
    assert {*done[5:]} == {1, 3, 5, 7, 9}
    assert len(checks) == remote.waits == 3


def test_the_check_while_waiting_can_end_the_run() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    local = FakeEngine(2)
    with pytest.raises(KeyboardInterrupt):
        list(drive(samples(4), mixed, {Embed: local, Chat: Elsewhere(local)}, stop))


def test_a_reply_of_another_type_is_named() -> None:
    asked = embed("a", "b")
    assert next(asked) == (Embed("a"), Embed("b"))
    with pytest.raises(TypeError, match=r"a request for Vector was answered by .*Vector.*Message"):
        asked.send((Vector(np.zeros(2, np.float32)), Message("no", "stop", 1, 1)))
