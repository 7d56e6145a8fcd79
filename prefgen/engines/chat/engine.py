"""The engine for `Chat` requests: an event loop in a background thread, so that no other engine waits."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from prefgen.engines.chat.call import Caller
from prefgen.engines.chat.config import JudgeConfig, Patience
from prefgen.engines.chat.exchange import Exchange
from prefgen.engines.chat.ledger import Ledger
from prefgen.errors import PrefgenError, RowError
from prefgen.requests import Chat, Reply, Request

Done = tuple[int, Reply | RowError | BaseException]


class ChatEngine:
    """Answers `Chat` requests.

    Args:
        ledger: of the run; the engine does not close it.
        say: is told what is found out about the judge.
    """

    def __init__(
        self,
        config: JudgeConfig,
        ledger: Ledger,
        patience: Patience | None = None,
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._config, self._ledger, self._patience, self._say = config, ledger, patience or Patience(), say
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._next: Done | None = None  # taken from the queue by `wait`
        self._pending = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="judge", daemon=True)
        self._thread.start()
        try:
            self._caller, self._exchange = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self._stop()
            raise

    async def _open(self) -> tuple[Caller, Exchange]:
        caller = Caller(self._config)
        return caller, Exchange(self._config, self._ledger, caller, self._patience, self._threads, self._say)

    @property
    def calls(self) -> int:
        """Number of calls that this process has made."""
        return self._exchange.calls

    def hold(self, calls: int | None) -> None:
        """Limit the number of calls in all; None removes the limit."""
        self._loop.call_soon_threadsafe(self._exchange.hold, calls)

    def held(self) -> list[Chat]:
        """Number of requests held back by the limit if no call is in flight, else 0."""
        held = list(self._exchange.held)
        return held if self._exchange.waiting == self._pending else []

    @property
    def last_reply(self) -> str:
        """The text of the latest reply."""
        return self._exchange.last

    def submit(self, ticket: int, request: Request) -> None:
        """Start a request."""
        if not isinstance(request, Chat):
            raise TypeError(f"this engine answers Chat requests, not {type(request).__name__}")
        self._pending += 1
        self._loop.call_soon_threadsafe(self._start, ticket, request)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Replies that have arrived since the last call; does not wait.

        Raises:
            PrefgenError: if the judge cannot be asked any more.
        """
        replies: list[tuple[int, Reply | RowError]] = []
        while (done := self._take(0.0)) is not None:
            ticket, reply = done
            if isinstance(reply, BaseException) and not isinstance(reply, RowError):
                raise reply
            replies.append((ticket, reply))
        self._pending -= len(replies)
        return replies

    def wait(self, timeout_s: float) -> bool:
        """Wait for a reply; False if none is expected."""
        self._next = self._take(timeout_s)
        return self._pending > 0

    def close(self) -> None:
        """Send no more requests, wait for those in flight, and stop the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._threads.shutdown()

    async def _close(self) -> None:
        await self._exchange.close()
        await self._caller.close()

    def _take(self, timeout_s: float) -> Done | None:
        taken, self._next = self._next, None
        if taken is not None:
            return taken
        try:
            return self._done.get(timeout=timeout_s) if timeout_s else self._done.get_nowait()
        except queue.Empty:
            return None

    def _start(self, ticket: int, request: Chat) -> None:
        task = self._loop.create_task(self._answer(ticket, request))
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, ticket: int, request: Chat) -> None:
        try:
            self._done.put((ticket, await self._exchange.answer(request)))
        except (RowError, PrefgenError) as error:
            self._done.put((ticket, error))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # a bug: it must end the run, not this task alone
            self._done.put((ticket, error))
