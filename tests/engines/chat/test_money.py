"""Prices, aliases, and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from prefgen.engines.chat.config import ALIASES, OPENAI, JudgeConfig
from prefgen.engines.chat.money import PRICES, Price, price_of, prompt_bound
from prefgen.errors import UsageError
from prefgen.records import Image, Slot, Turn
from prefgen.requests import Chat, Sampling


def test_every_alias_has_a_price_and_a_dated_snapshot() -> None:
    for alias, model in ALIASES.items():
        config = JudgeConfig(alias, max_cost=1.0)
        assert config.model == model
        assert model[-10:-6].isdigit()
        assert price_of(config) is not None


def test_prices_are_the_users_then_the_tables_and_half_for_batches() -> None:
    assert price_of(JudgeConfig("gpt4o")) == PRICES["gpt-4o"]
    assert price_of(JudgeConfig("gpt-4o-2024-11-20")) == PRICES["gpt-4o"]
    assert price_of(JudgeConfig("gpt4o", price_in=1.0, price_out=2.0)) == Price(1.0, 2.0)
    halved = price_of(JudgeConfig("gpt4o", batch_api=True))
    assert halved == Price(1.25, 5.0, PRICES["gpt-4o"].image_tokens)
    assert price_of(JudgeConfig("unheard-of")) is None
    assert price_of(JudgeConfig("gpt-4o-mini-tts")) is None
    assert PRICES["gpt-4o"].cost(1_000_000, 100_000) == pytest.approx(3.5)


def test_another_server_may_ask_another_price_for_the_same_name() -> None:
    with pytest.raises(UsageError, match="--price-in"):
        price_of(JudgeConfig("gpt-4o", "http://localhost:8000/v1", max_cost=1.0))
    assert JudgeConfig("gpt-4o", OPENAI + "/").address == OPENAI


def test_a_prompt_has_no_more_tokens_than_bytes_and_pictures() -> None:
    picture = Image(b"\x89PNG", "x.png", 2, 2)
    request = Chat((Turn("user", (Slot.IMAGE, "наука 🤖")),), (picture,), "{}", Sampling(), 0)
    assert prompt_bound(request, 1000) >= 1000 + len("наука 🤖".encode()) + 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "--concurrency 0"),
        ({"max_cost": float("nan")}, "--max-cost nan"),
        ({"max_cost": -1.0}, "--max-cost"),
        ({"price_in": 1.0}, "go together"),
        ({"judge_url": "localhost:8000"}, "must start with http"),
        ({"judge_url": "https://me:secret@example.org/v1"}, "--api-key-env"),
        ({"batch_api": True, "batch_files": True}, "give one"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        JudgeConfig(**options)
    assert "secret" not in str(refused.value)
