"""Hours of waiting and thousands of paid calls, in virtual time."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from prefgen.engines.chat.call import Trouble
from prefgen.engines.chat.config import JudgeConfig, Patience
from prefgen.engines.chat.exchange import Exchange
from prefgen.engines.chat.ledger import Ended, Ledger, Sent
from prefgen.engines.chat.limits import RateLimit, Window
from prefgen.engines.chat.money import Price, prompt_bound
from prefgen.errors import BudgetReached, ModelUnreachable, RowError
from prefgen.records import Turn
from prefgen.requests import Chat, Message, Sampling
from tests.engines.chat import virtual
from tests.judge import MODEL, completion

Call = Callable[[dict[str, Any], float], Awaitable[bytes]]
PRICE = Price(2.0, 8.0)


def ask(number: int, tokens: int = 50) -> Chat:
    return Chat((Turn("user", (f"question {number}",)),), (), "", Sampling(1.0, 1.0, tokens), number)


def config(**options: Any) -> JudgeConfig:
    prices = {"price_in": PRICE.per_million_in, "price_out": PRICE.per_million_out}
    return JudgeConfig(MODEL, "http://nowhere/v1", **{**prices, **options})


def reply(body: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(completion("fine", body, **changes)).encode()


def exchange(call: Call, ledger: Ledger | None = None, **options: Any) -> Exchange:
    return Exchange(config(**options), ledger or Ledger(":memory:"), call, Patience())


class Provider:
    """Answers or fails at random, after a random time, and keeps its own books of what it charges."""

    def __init__(self, rng: random.Random) -> None:
        self.charged = 0.0
        self._rng = rng

    async def __call__(self, body: dict[str, Any], timeout_s: float) -> bytes:
        rng, text = self._rng, body["messages"][0]["content"]
        usage = {
            "prompt_tokens": rng.randint(1, len(text) + 16 + 64),
            "completion_tokens": rng.randint(0, body["max_tokens"]),
        }
        cost = PRICE.cost(usage["prompt_tokens"], usage["completion_tokens"])
        await asyncio.sleep(rng.expovariate(1.0))
        fate = rng.random()
        if fate < 0.1:
            raise Trouble("server", "503")  # never charged
        if fate < 0.15:
            raise Trouble("throttled", "429", wait_s=rng.random() * 5)
        self.charged += cost
        if fate < 0.3:
            raise Trouble("network", "reset", doubtful=True)
        await asyncio.sleep(rng.random())  # a crash here: charged, and nothing to show for it
        return reply(body, usage=usage if fate < 0.95 else None)


async def invocation(provider: Provider, ledger: Ledger, ceiling: float, rng: random.Random) -> bool:
    """One run up to its end, its budget, or a crash; whether it reached the budget."""
    desk = exchange(provider, ledger, max_cost=ceiling, concurrency=64)
    tasks = [asyncio.create_task(desk.answer(ask(number, rng.randint(1, 200)))) for number in range(120)]
    crash_after = rng.choice([None, rng.random() * 4])
    done, pending = await asyncio.wait(tasks, timeout=crash_after, return_when=asyncio.FIRST_EXCEPTION)
    reached = any(isinstance(task.exception(), BudgetReached) for task in done)
    if pending and crash_after is not None and not reached:
        _kill(ledger)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return reached


def _kill(ledger: Ledger) -> None:
    """From here on nothing is written: what was being sent stays without an end."""
    ledger.write = lambda records: None  # type: ignore[method-assign]


def test_many_records_in_one_commit_are_stored_as_one_by_one() -> None:
    """More than SQLite takes in a statement: calls with every end, of equal requests, begun earlier or just now."""
    numbers = range(1, 1002)
    sent = [Sent(number, f"key {number // 2}", number / 8) for number in numbers]
    ends: list[Sent | Ended] = [
        Ended(number, f"key {number // 2}", number / 4, ("answered", "failed", "doubtful")[number % 3], said)
        for number in numbers[::2]
        for said in [Message(f"reply {number}", "stop", 1, 2) if number % 3 == 0 else None]
    ]
    ends[-1] = Ended(1001, "key 500", 0.0, "failed", RowError("API_400", "no"))
    together, single = Ledger(":memory:"), Ledger(":memory:")
    together.write(sent[:700])
    together.write([*sent[700:], *ends])
    for record in [*sent, *ends]:
        single.write([record])
    keys = [f"key {number}" for number in range(502)]
    assert together.bill() == single.bill()
    assert (together.bill().answered, together.bill().doubtful) == (167, 166 + 500)
    assert together.open_calls(keys) == single.open_calls(keys)
    found = {key: str(together.reply(key)) for key in keys}
    assert found == {key: str(single.reply(key)) for key in keys}
    assert "reply 3" in found["key 1"]
    assert "API_400" in found["key 500"]


def check_schedules(seeds: range) -> None:
    reached = 0
    for seed in seeds:
        rng = random.Random(seed)
        provider, ledger, ceiling = Provider(rng), Ledger(":memory:"), rng.uniform(0.0005, 0.05)
        for _ in range(3):
            reached += virtual.run(invocation(provider, ledger, ceiling, rng))
            vars(ledger).pop("write", None)  # the next invocation
            assert provider.charged <= ceiling
            assert provider.charged <= ledger.spent() + 1e-12 <= ceiling + 2e-12
        ledger.close()
    assert reached > len(seeds) / 2


def test_60_random_schedules_never_pass_the_budget() -> None:
    check_schedules(range(60))


@pytest.mark.slow
def test_1000_random_schedules_never_pass_the_budget() -> None:
    check_schedules(range(1000))


def test_the_reservation_is_a_bound() -> None:
    assert prompt_bound(ask(1), 0) >= len("question 1") + 16


def test_an_hour_of_outage_is_probed_every_half_minute_and_costs_no_row() -> None:
    sent: list[float] = []

    async def call(body: dict[str, Any], timeout_s: float) -> bytes:
        now = asyncio.get_running_loop().time()
        sent.append(now)
        if 1.0 < now < 500.0:
            raise Trouble("server", "503")
        await asyncio.sleep(0.1)
        return reply(body)

    async def main() -> list[Message]:
        desk = exchange(call)
        await desk.answer(ask(0))
        await asyncio.sleep(1.0)
        return list(await asyncio.gather(*(desk.answer(ask(number)) for number in range(1, 101))))

    assert len(virtual.run(main())) == 100
    during = [at for at in sent if 60.0 < at < 500.0]
    assert len(during) <= 15


def test_an_outage_of_more_than_ten_minutes_stops_the_run() -> None:
    async def call(body: dict[str, Any], timeout_s: float) -> bytes:
        if asyncio.get_running_loop().time() > 1.0:
            raise Trouble("server", "503")
        return reply(body)

    async def main() -> float:
        desk = exchange(call)
        await desk.answer(ask(0))
        await asyncio.sleep(2.0)
        with pytest.raises(ModelUnreachable):
            await asyncio.gather(*(desk.answer(ask(number)) for number in range(1, 101)))
        return asyncio.get_running_loop().time()

    assert 600 <= virtual.run(main()) <= 700


def test_throttling_halves_the_window_once_a_burst_and_answers_widen_it_again() -> None:
    async def main() -> tuple[float, float, float]:
        window = Window(64)
        for _ in range(100):
            window.answered()
        full = window.size
        for _ in range(20):
            window.throttled(sent_at=0.0)
        halved = window.size
        for _ in range(32):
            window.answered()
        return full, halved, window.size

    full, halved, later = virtual.run(main())
    assert (full, halved) == (64.0, 32.0)
    assert 32.9 < later < 33.1


def test_a_429_storm_is_survived_by_asking_less() -> None:
    """A server that takes 10 requests at a time."""
    inside = most = refused = 0

    async def call(body: dict[str, Any], timeout_s: float) -> bytes:
        nonlocal inside, most, refused
        if inside >= 10:
            refused += 1
            raise Trouble("throttled", "429", wait_s=0.1)
        inside += 1
        await asyncio.sleep(1.0)
        inside -= 1
        return reply(body)

    async def main() -> None:
        desk = exchange(call)
        await asyncio.gather(*(desk.answer(ask(number)) for number in range(500)))

    virtual.run(main())
    assert 0 < refused < 150


def test_requests_and_tokens_are_spread_over_the_minute() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        requests, tokens = RateLimit(60), RateLimit(600)
        for _ in range(31):
            await requests.take(1)
        after_requests = loop.time()
        for _ in range(4):
            await tokens.take(100)
        return [after_requests, loop.time() - after_requests]

    assert virtual.run(main()) == pytest.approx([30.0, 30.0])


def test_the_limits_of_a_run_hold() -> None:
    sent: list[float] = []

    async def call(body: dict[str, Any], timeout_s: float) -> bytes:
        sent.append(asyncio.get_running_loop().time())
        return reply(body)

    async def main() -> None:
        desk = exchange(call, rpm=120)
        await asyncio.gather(*(desk.answer(ask(number)) for number in range(61)))

    virtual.run(main())
    assert sent[-1] - sent[0] == pytest.approx(30.0)


def test_a_row_whose_server_never_gets_well_is_given_up_in_bounded_time() -> None:
    async def call(body: dict[str, Any], timeout_s: float) -> bytes:
        if body["seed"] == 1:
            await asyncio.sleep(timeout_s)
            raise Trouble("timeout", "no answer", doubtful=True)
        await asyncio.sleep(1)
        return reply(body)

    async def main() -> float:
        desk = exchange(call)
        await desk.answer(ask(0))
        started = asyncio.get_running_loop().time()

        async def others() -> None:
            for number in range(2, 3000):
                await desk.answer(ask(number))

        rest = asyncio.create_task(others())
        with pytest.raises(RowError, match="API_TIMEOUT"):
            await desk.answer(ask(1))
        rest.cancel()
        return asyncio.get_running_loop().time() - started

    assert virtual.run(main()) <= 600.0


def test_a_kill_between_sending_and_the_reply_counts_the_money_and_asks_once_more() -> None:
    ledger, calls = Ledger(":memory:"), 0

    async def call(body: dict[str, Any], timeout_s: float) -> bytes:
        nonlocal calls
        calls += 1
        await asyncio.sleep(10.0)
        return reply(body)

    async def killed() -> None:
        task = asyncio.create_task(exchange(call, ledger).answer(ask(1)))
        await asyncio.sleep(1.0)
        _kill(ledger)
        task.cancel()

    async def again() -> Message:
        desk = exchange(call, ledger)
        await desk.answer(ask(1))
        return await desk.answer(ask(1))

    virtual.run(killed())
    del ledger.write
    assert virtual.run(again()).text == "fine"
    assert calls == 2
    bill = ledger.bill()
    assert (bill.calls, bill.answered, bill.doubtful) == (2, 1, 1)
    assert bill.dollars == pytest.approx(PRICE.cost(prompt_bound(ask(1), 0), 50) + PRICE.cost(30, 20))
