"""The exchange of a request for its reply: ledger, budget, limits, the call and its retries, in this order.

What the failures of a call lead to (``tries`` and times: `prefgen.engines.chat.config.Patience`):

| trouble | consequence |
| --- | --- |
| throttled (429) | everyone waits as long as the server asks, else as long as the back-off; the window halves |
| server (5xx, 408, 409), network, timeout | again after a back-off; ``API_5XX``, ``API_NETWORK``, ``API_TIMEOUT`` |
| malformed | again, less often; ``API_MALFORMED`` |
| a reply in prose where JSON was asked for, before any was JSON | in the next form (`wire.FORMATS`), after a few |
| rejected (other 4xx) | in simpler words if it is about the format, else ``API_400`` |
| refused (401, 403), unknown model (404), quota (402, ``insufficient_quota``) | the run stops at once |

A row is given up only while others are being answered: before the first answer, and while the breaker is open, failures
stop the run instead, which can be resumed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from prefgen import reading
from prefgen.engines.chat import wire
from prefgen.engines.chat.call import Kind, Trouble
from prefgen.engines.chat.config import JudgeConfig, Patience
from prefgen.engines.chat.ledger import End, Ended, Ledger, Sent
from prefgen.engines.chat.limits import Breaker, Pause, RateLimit, Window
from prefgen.engines.chat.money import Budget, Price, price_of, prompt_bound
from prefgen.errors import BudgetReached, ExitCode, ModelUnreachable, PrefgenError, RowError, Stopped, UsageError
from prefgen.requests import Chat, Message
from prefgen.text import REFUSAL

Call = Callable[[dict[str, Any], float], Awaitable[bytes]]
_BYTES_PER_TOKEN = 3  # roughly, to share out --tpm; the budget counts with one
_DIALECT = "dialect"
_PROSE_MOST = 2  # replies in prose before a server is taken not to know JSON schemas
_FORM: dict[wire.Format, str] = {
    "json_object": "it takes no JSON schema, so JSON objects are asked for and the schema is in the prompt",
    "prompt": "it takes no form of reply, so JSON is asked for in the prompt",
    "plain": "it gives no JSON, so the answer alone is asked for; what was changed is not recorded",
}
_GIVEN_UP = {
    "server": "API_5XX",
    "network": "API_NETWORK",
    "timeout": "API_TIMEOUT",
    "malformed": "API_MALFORMED",
    "rejected": "API_400",
}


class Exchange:
    """Answers requests inside one event loop.

    Args:
        say: is told what was found out about the judge.
        threads: where the ledger is written, so that a slow disk does not hold up the network; None writes at once.
    """

    def __init__(
        self,
        config: JudgeConfig,
        ledger: Ledger,
        call: Call,
        patience: Patience,
        threads: ThreadPoolExecutor | None = None,
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.calls = 0  # of this process
        self.last = ""  # the latest reply
        self.held: list[Chat] = []  # requests that wait for `release`
        self._queued = 0
        self._calls_most: int | None = None
        self._released = asyncio.Event()
        self.budget = Budget(config.max_cost, ledger.spent())
        self._config, self._ledger, self._call, self._patience = config, ledger, call, patience
        self._price = price_of(config) or Price(0.0, 0.0)
        self._window = Window(config.concurrency)
        self._requests, self._tokens = RateLimit(config.rpm), RateLimit(config.tpm)
        self._pause, self._breaker = Pause(), Breaker(patience)
        self._writer = _Writer(ledger, threads)
        self._say = say
        kept_dialect = ledger.found(_DIALECT)
        self._dialect = wire.Dialect(**json.loads(kept_dialect)) if kept_dialect else wire.Dialect()
        self._form_known = kept_dialect is not None
        self._prose = 0  # replies in a row that were to be JSON and are not, before any was
        self._beyond = 0  # tokens that a reply took beyond its limit, at most: reasoning that servers count apart
        if kept_dialect and self._dialect.format != "json_schema":
            say(f"judge: {_FORM[self._dialect.format]}, as was found before")
        self._jitter = random.Random()  # not of the run's seed: it must differ between machines, and no output shows it
        self._first = asyncio.Lock()
        self._greeted = asyncio.Event()  # the judge has answered once
        self._rejected_first = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calling: set[asyncio.Task[Any]] = set()
        self._over: BaseException | None = None  # why nothing more is sent

    async def answer(self, request: Chat) -> Message:
        """The reply, from the ledger or the server.

        Raises:
            RowError: if this request cannot be answered.
            PrefgenError: if none can be.
        """
        key = wire.key(request, self._config)
        task = _this_task()
        self._tasks.add(task)
        try:
            kept = self._ledger.reply(key)
            if kept is None and not self._is_known(request):
                self._queued += 1
                async with self._first:  # until the server is known, one at a time: it may be the wrong one
                    self._queued -= 1
                    kept = self._ledger.reply(key) if self._is_known(request) else await self._insist(key, request)
            kept = kept or await self._insist(key, request)
        except PrefgenError as error:
            self._over = self._over or error
            raise
        finally:
            self._tasks.discard(task)
        if isinstance(kept, RowError):
            raise kept
        return kept

    def hold(self, calls: int | None) -> None:
        """Limit the number of calls in all until this is called with None."""
        self._calls_most = calls
        if calls is None:
            self._released.set()
        else:
            self._released.clear()

    @property
    def waiting(self) -> int:
        """Number of requests held back by `hold`, and of those queued behind them."""
        return len(self.held) + self._queued

    @property
    def _is_allowed(self) -> bool:
        return self._calls_most is None or self.calls < self._calls_most

    async def _allowed(self, request: Chat) -> None:
        """Wait while the limit of calls is reached."""
        while not self._is_allowed:
            self.held.append(request)
            try:
                await self._released.wait()
            finally:
                self.held.remove(request)

    async def close(self) -> None:
        """Send no more requests; replies to those in flight are still stored."""
        self._over = self._over or asyncio.CancelledError()
        for task in self._tasks - self._calling:
            task.cancel()
        if self._calling:
            _, late = await asyncio.wait(self._calling, timeout=self._patience.closing)
            for task in late:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._writer.idle()

    async def _insist(self, key: str, request: Chat) -> Message | RowError:
        """Retry until there is a reply, or a failure that no retry can mend."""
        loop, patience = asyncio.get_running_loop(), self._patience
        deadline: float | None = None
        failures = tries = malformed = 0
        while True:
            await self._allowed(request)
            probing = await self._breaker.closed()
            dialect, bound = self._dialect, self._bound(request)
            async with self._window:
                await self._pause.over()
                await self._tokens.take(bound.prompt_tokens // _BYTES_PER_TOKEN + bound.tokens)
                await self._requests.take(1)
                await self._pause.over()
                if self._breaker.is_open:
                    deadline = None  # an outage does not count against the request
                    if not probing:
                        continue
                if not self._is_allowed:
                    continue
                if self._over is not None:
                    raise self._over
                started = loop.time()
                deadline = deadline or started + self._config.request_deadline
                try:
                    reply = await self._attempt(key, request, dialect, bound, deadline - started)
                    if reply is not None:
                        return reply
                    deadline = (
                        loop.time() + self._config.request_deadline
                    )  # it was answered, in another form than asked for
                    continue
                except Trouble as trouble:
                    problem = trouble
                if problem.kind == "throttled":
                    self._window.throttled(started)
            # Some servers report what they do not know as an error of their own.
            unknown = problem.kind == "rejected" or (problem.kind == "server" and not self._greeted.is_set())
            if unknown and self._simpler(request, dialect, problem):
                continue
            if problem.kind == "rejected":
                return self._rejected(problem)
            self._stop_if_hopeless(problem)
            wait = self._wait(problem, failures)
            failures += 1
            if problem.kind == "throttled":
                self._be_throttled(problem, wait, deadline - loop.time())
                continue
            if self._over is not None:
                raise self._over
            if problem.kind == "malformed":
                malformed += 1
            else:
                self._breaker.failed()
                tries += not self._breaker.is_open
            late = not self._breaker.is_open and loop.time() + wait >= deadline
            if late or tries >= patience.tries or malformed >= patience.malformed_tries:
                return self._given_up(problem)
            await asyncio.sleep(wait)

    def _bound(self, request: Chat) -> wire.Usage:
        """Upper bound of the request's usage."""
        return bound_of(request, self._config, self._price.image_tokens)

    async def _attempt(
        self, key: str, request: Chat, dialect: wire.Dialect, bound: wire.Usage, left: float
    ) -> Message | RowError | None:
        """Make one call: reserve, record, send, settle, record. None if the request must be sent in another form.

        Raises:
            Trouble: where there is no answer.
        """
        reserved = self._price.cost(bound.prompt_tokens, bound.tokens + self._beyond)
        self.calls += 1  # before anything is waited for: `hold` counts on it
        await self.budget.reserve(reserved)
        call, task = self._ledger.next_call(), _this_task()
        cost = 0.0
        end: End = "failed"
        reply: Message | RowError | None = None
        try:
            await self._writer.write(Sent(call, key, reserved))
            self._calling.add(task)
            body = wire.body(request, self._config, dialect)
            cost, end = reserved, "doubtful"  # until more is known
            content = await self._call(body, max(min(self._config.request_timeout, left), 0.001))
            message, usage, model = wire.read(content, bound)
            cost = reserved if usage is None else self._price.cost(usage.prompt_tokens, usage.tokens)
            if usage is not None:
                self._beyond = max(self._beyond, usage.tokens - bound.tokens)
            if request.schema and dialect.format == "plain":
                message = replace(message, how=("plain", *message.how))
            self.last, end = message.text, "answered"
            reply = self._checked(message, model)
            again = isinstance(reply, Message) and self._is_form_wrong(request, dialect, reply)
            if again:
                reply = None
        except wire.Failed as error:
            raise _trouble(error) from None
        except wire.Malformed as error:
            raise Trouble("malformed", str(error), doubtful=True) from None
        except Trouble as trouble:
            if not trouble.doubtful:
                cost, end = 0.0, "failed"
            raise
        finally:
            self.budget.settle(reserved, cost)
            await self._writer.write(Ended(call, key, cost, end, reply))
            self._calling.discard(task)
        self._greeted.set()
        self._breaker.answered()
        self._window.answered()
        return reply

    def _checked(self, message: Message, model: str) -> Message | RowError:
        """The message, if the asked model has sent it.

        Raises:
            UsageError: if the very first does not.
        """
        if wire.same_model(self._config.model, model):
            return message
        if not self._greeted.is_set():
            raise UsageError(f"the judge asked for is {self._config.model}, but {model} answers: give that as --judge")
        return RowError("REPLY_MODEL", f"answered by {model}")

    def _is_known(self, request: Chat) -> bool:
        """True if the form in which this server takes requests is known."""
        return self._greeted.is_set() and (self._form_known or not request.schema)

    def _is_form_wrong(self, request: Chat, dialect: wire.Dialect, reply: Message) -> bool:
        """True if a complete reply is not JSON as asked, and another form of request may help.

        The first reply that can be read, or the last form there is, settles it for the run.
        """
        if not request.schema or self._form_known or reply.finish != "stop":
            return False
        if reading.json_object(reply.text, frozenset(json.loads(request.schema).get("required", ()))) is not None:
            self._settle()
            return False
        said = reading.answer(reply.text).text
        if dialect.format == "plain" or not said or REFUSAL.search(said[:200]):
            return False  # a refusal says nothing about the form
        self._prose += 1
        if self._prose >= (_PROSE_MOST if dialect.format == "json_schema" else 1):
            following = wire.FORMATS[wire.FORMATS.index(dialect.format) + 1]
            if following == "plain" and not request.plain:
                self._settle()
                return False
            self._prose = 0
            self._dialect = replace(self._dialect, format=following)
            if following == "plain":
                self._settle()
        return True

    def _settle(self) -> None:
        """Store the form that the server accepts for the rest of the run."""
        self._form_known = True
        self._ledger.keep(_DIALECT, json.dumps(vars(self._dialect)))
        if self._dialect.format != "json_schema":
            self._say(f"judge: {_FORM[self._dialect.format]}")

    def _simpler(self, request: Chat, used: wire.Dialect, trouble: Trouble) -> bool:
        """True if the request should be sent again in a simpler form."""
        if self._dialect == used:
            self._dialect = used.without(trouble.detail)
            vague = self._dialect == used and not self._greeted.is_set() and "reasoning_effort" not in trouble.detail
            if vague and request.schema and used.format == "json_schema" and _is_about_form(trouble.detail):
                self._dialect = replace(used, format="prompt")
        return self._dialect != used

    def _rejected(self, trouble: Trouble) -> RowError:
        """The error for a request that the server rejects.

        Raises:
            UsageError: if it had none so far.
        """
        self._rejected_first += not self._greeted.is_set()
        if self._rejected_first >= self._patience.rejected_first:
            raise UsageError(f"the judge has rejected the first {self._rejected_first} requests: {trouble.detail}")
        return RowError(_GIVEN_UP["rejected"], trouble.detail)

    def _stop_if_hopeless(self, trouble: Trouble) -> None:
        config = self._config
        if trouble.kind == "quota":
            raise BudgetReached(f"the account behind {config.api_key_env} has no quota left: {trouble.detail}")
        if trouble.kind == "refused":
            raise UsageError(f"{config.address} refuses the key in {config.api_key_env}: {trouble.detail}")
        if trouble.kind == "unknown-model":
            raise UsageError(f"{config.address} does not know {config.model}: {trouble.detail}")

    def _wait(self, trouble: Trouble, failures: int) -> float:
        """Seconds until the next attempt."""
        if trouble.wait_s is not None:
            return trouble.wait_s
        backoff: float = min(self._patience.backoff_first * 2**failures, self._patience.backoff_most)
        return backoff * (0.5 + self._jitter.random() / 2)

    def _be_throttled(self, trouble: Trouble, wait: float, left: float) -> None:
        """Slow all requests down after a 429.

        Raises:
            Stopped: if that would take longer than a request may.
        """
        if wait >= left:
            raise Stopped(
                f"the judge is to be left alone for {wait:.0f} s ({trouble.detail}), longer than "
                "--request-deadline allows; what it answered is kept, and the same command continues later",
                ExitCode.TERMINATED,
            )
        self._pause.extend(wait)

    def _given_up(self, trouble: Trouble) -> RowError:
        """The error that drops the row, if other requests are being answered.

        Raises:
            ModelUnreachable: if nobody ever got one.
        """
        if not self._greeted.is_set():
            raise ModelUnreachable(
                f"the judge {self._config.model} at {self._config.address} does not answer: {trouble.detail}"
            )
        return RowError(_GIVEN_UP[trouble.kind], trouble.detail)


def _trouble(failed: wire.Failed) -> Trouble:
    """The failure for an error that came with status 200; it may have been charged."""
    kinds: dict[int, Kind] = {401: "refused", 402: "quota", 403: "refused", 404: "unknown-model", 429: "throttled"}
    status = failed.status or 500
    kind: Kind = kinds.get(status, "rejected" if 400 <= status < 500 and status not in (408, 409) else "server")
    return Trouble(kind, f"the server answered with an error: {failed}", doubtful=True)


def _is_about_form(complaint: str) -> bool:
    """True if a rejection that names none of our parameters may be about the form of the reply."""
    return any(word in complaint.lower() for word in ("format", "schema", "grammar", "guided", "extra", "structured"))


def bound_of(request: Chat, config: JudgeConfig, image_tokens: int) -> wire.Usage:
    """Upper bound of a request's usage, in any form."""
    read = prompt_bound(request, image_tokens) + (wire.REMINDER_BYTES if request.schema else 0)
    return wire.Usage(read, request.sampling.max_new_tokens + config.hidden_tokens)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


class _Writer:
    """Writes records to the ledger, all that have come since the last commit in one transaction."""

    def __init__(self, ledger: Ledger, threads: ThreadPoolExecutor | None) -> None:
        self._ledger, self._threads = ledger, threads
        self._waiting: list[tuple[Sent | Ended, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def write(self, record: Sent | Ended) -> None:
        """Return when the record is on disk; it is written even if the caller is cancelled."""
        if self._threads is None:
            self._ledger.write([record])
            return
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append((record, stored))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await asyncio.shield(stored)

    async def idle(self) -> None:
        """Wait until nothing is left to write."""
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._threads, self._ledger.write, [record for record, _ in batch])
            except Exception as error:  # noqa: BLE001  # passed to the waiting request
                for _, stored in batch:
                    if not stored.done():
                        stored.set_exception(error)
                continue
            for _, stored in batch:
                if not stored.done():
                    stored.set_result(None)
        self._running = None
