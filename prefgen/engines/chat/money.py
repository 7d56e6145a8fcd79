"""Prices and the budget: the cost of a call is reserved before it is sent and settled from its usage."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from prefgen.engines.chat.config import OPENAI, JudgeConfig
from prefgen.errors import BudgetReached, UsageError
from prefgen.requests import Chat

CHECKED = "2026-06"
"""When the table was last compared with openai.com."""
_TOKENS_PER_TURN = 16  # what a chat template adds around a turn, and more
_TOKENS_PER_CHAT = 64  # likewise around a conversation: some bring a system turn of their own
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}\Z")
_BATCH_DISCOUNT = 0.5


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens.

    Attributes:
        image_tokens: what one picture is counted as, at most.
    """

    per_million_in: float
    per_million_out: float
    image_tokens: int = 50_000

    def cost(self, prompt_tokens: int, tokens: int) -> float:
        """Dollars of one call."""
        return (prompt_tokens * self.per_million_in + tokens * self.per_million_out) / 1e6


# A picture is fitted into 2048 x 2048, its shorter side to 768: 8 tiles at most, or 1536 patches times a factor.
PRICES = {
    "gpt-4.1": Price(2.00, 8.00, 85 + 8 * 170),
    "gpt-4.1-mini": Price(0.40, 1.60, 2489),
    "gpt-4.1-nano": Price(0.10, 0.40, 3779),
    "gpt-4o": Price(2.50, 10.00, 85 + 8 * 170),
    "gpt-4o-mini": Price(0.15, 0.60, 2833 + 8 * 5667),
}


def price_of(config: JudgeConfig) -> Price | None:
    """The judge's price: the user's, else the table's, else None. Half for the Batch API.

    Raises:
        UsageError: if there is a budget and no price to count by.
    """
    factor = _BATCH_DISCOUNT if config.batch_api else 1.0
    if config.price_in is not None and config.price_out is not None:
        return Price(config.price_in * factor, config.price_out * factor)
    known = PRICES.get(_SNAPSHOT.sub("", config.model)) if config.address == OPENAI else None
    if known is None and config.max_cost is not None:
        raise UsageError(
            f"--max-cost needs the price of {config.model} at {config.address}, which the table of {CHECKED} lacks: "
            "give --price-in and --price-out in dollars per million tokens (without --batch-api's discount)"
        )
    if known is None:
        return None
    return Price(known.per_million_in * factor, known.per_million_out * factor, known.image_tokens)


def prompt_bound(request: Chat, image_tokens: int) -> int:
    """Upper bound of a prompt's tokens: no tokenizer makes more tokens than bytes."""
    text = max(
        sum(len(turn.text.encode("utf-8", "surrogatepass")) + _TOKENS_PER_TURN for turn in turns)
        for turns in (request.turns, request.plain)
    )
    return _TOKENS_PER_CHAT + text + len(request.schema.encode()) + len(request.images) * image_tokens


class Budget:
    """Keeps the sum of spent and reserved dollars below a ceiling.

    Args:
        ceiling: dollars; None for no limit.
        spent: dollars of earlier invocations, calls whose end is unknown included in full.
    """

    def __init__(self, ceiling: float | None, spent: float = 0.0) -> None:
        self.spent = spent
        self.reserved = 0.0
        self._ceiling = ceiling
        self._open = 0  # reservations that are not settled yet
        self._settled = asyncio.Event()

    async def reserve(self, dollars: float) -> None:
        """Reserve dollars; waits while calls in flight may settle below their reservations.

        Raises:
            BudgetReached: if they cannot be had even then.
        """
        while not self.fits(dollars):
            if not self._open:
                raise BudgetReached(
                    f"--max-cost {self._ceiling:g}: ${self.spent:.4f} are spent, and the next call may cost "
                    f"${dollars:.4f}. Everything that was answered is kept; a higher --max-cost goes on from here"
                )
            self._settled.clear()
            await self._settled.wait()
        self.take(dollars)

    def fits(self, dollars: float) -> bool:
        """True if this amount is left."""
        return self._ceiling is None or self.spent + self.reserved + dollars <= self._ceiling

    def take(self, dollars: float) -> None:
        """Reserve dollars that are known to fit."""
        self.reserved += dollars
        self._open += 1

    def settle(self, reserved: float, cost: float) -> None:
        """Replace a reservation by the charge: 0 if there was none, the reservation if it is unknown."""
        self._open -= 1
        self.reserved = self.reserved - reserved if self._open else 0.0  # so that rounding cannot add up
        self.spent += cost
        self._settled.set()
