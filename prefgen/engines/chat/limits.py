"""Rate limits: an adaptive window, requests and tokens per minute, pauses, and a circuit breaker for outages.

All of it runs in one event loop and goes by that loop's clock, which is monotonic: setting the machine's clock changes
nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from prefgen.engines.chat.config import Patience
from prefgen.errors import ModelUnreachable

_WINDOW_START = 8.0


def _now() -> float:
    return asyncio.get_running_loop().time()


class Window:
    """Limit of requests in flight. An async context manager: a request may be sent inside.

    Until the first 429 every answer widens it by one; from then on a window full of answers does. A 429 halves it.
    """

    def __init__(self, most: int) -> None:
        self.size = min(_WINDOW_START, float(most))
        self._most = float(most)
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._throttled = False
        self._halved_at = float("-inf")

    async def __aenter__(self) -> None:
        if self._inside >= int(self.size) or self._waiting:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # `_admit` has counted it in
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._inside -= 1
                    self._admit()
                raise
        else:
            self._inside += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside -= 1
        self._admit()

    def answered(self) -> None:
        """Note a reply, which may widen the window."""
        self.size = min(self._most, self.size + (1.0 / self.size if self._throttled else 1.0))

    def throttled(self, sent_at: float) -> None:
        """Note a 429 for a request sent at this time. Those of one burst count once."""
        if sent_at > self._halved_at:
            self.size, self._throttled, self._halved_at = max(1.0, self.size / 2), True, _now()

    def _admit(self) -> None:
        while self._waiting and self._inside < int(self.size):
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)


class RateLimit:
    """A limit per minute, spread evenly; None for no limit."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._free_at = float("-inf")

    async def take(self, amount: int) -> None:
        """Wait for a slot."""
        if self._per_minute is None:
            return
        now = _now()
        start = max(self._free_at, now)
        self._free_at = start + amount * 60.0 / self._per_minute
        await asyncio.sleep(start - now)


class Pause:
    """A pause of all requests that the server asked for."""

    def __init__(self) -> None:
        self._until = float("-inf")

    def extend(self, seconds: float) -> None:
        """Pause all requests for this many seconds."""
        self._until = max(self._until, _now() + seconds)

    async def over(self) -> None:
        """Wait for the end of the pause, which may be extended meanwhile."""
        while (left := self._until - _now()) > 0:
            await asyncio.sleep(left)


class Breaker:
    """Circuit breaker: during an outage, sends one probe at intervals until the server answers or patience ends."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_at = 0.0

    @property
    def is_open(self) -> bool:
        """True if the server counts as down."""
        return self._opened_at is not None

    def answered(self) -> None:
        """Note a reply: the server is up."""
        self._failures, self._opened_at = 0, None

    def failed(self) -> None:
        """Note one more failure without a reply in between."""
        self._failures += 1
        if self._opened_at is None and self._failures >= self._patience.breaker_after:
            self._opened_at = _now()
            self._probe_at = self._opened_at + self._patience.breaker_probe

    async def closed(self) -> bool:
        """Wait until requests may be sent again.

        Returns:
            Whether it is open still, and the caller's request is to be the probe.

        Raises:
            ModelUnreachable: when patience is at its end.
        """
        while self._opened_at is not None:
            now = _now()
            if now - self._opened_at >= self._patience.breaker_gives_up:
                raise ModelUnreachable(
                    f"the judge has answered nothing for {now - self._opened_at:.0f} s; no row was given up for that. "
                    "Repeat the command when it is back"
                )
            if now >= self._probe_at:
                self._probe_at = now + self._patience.breaker_probe
                return True
            await asyncio.sleep(self._probe_at - now)
        return False
