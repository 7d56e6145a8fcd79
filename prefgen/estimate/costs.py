"""Expected and actual cost of a judge, as text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.chat.ledger import Bill
from prefgen.engines.chat.money import price_of, prompt_bound
from prefgen.methods.base import Method
from prefgen.records import Sample
from prefgen.requests import Chat, Completion, Generate

_BYTES_PER_TOKEN = 4.0  # of English; a bound would be 1
_REPLY_TO_ANSWER = 2.0  # a reply repeats the answer and says what changed


def expect(judge: JudgeConfig, method: Method, samples: Sequence[Sample], rows: int) -> Iterator[tuple[str, str]]:
    """Calls, tokens and dollars of a run, extrapolated from the first requests of its first rows.

    Args:
        samples: images loaded.
        rows: of the whole run.
    """
    asked = [request for sample in samples for request in _first_requests(method, sample)]
    chats = [request for request in asked if isinstance(request, Chat)]
    through = "Batch API" if judge.batch_api else f"{judge.concurrency} at a time at most"
    yield "judge", f"{judge.model} at {judge.address} ({through})"
    if not chats:
        yield (
            "cost",
            "known only when there are answers to compare"
            + ("" if judge.max_cost is None else f"; the run stops before ${judge.max_cost:g} are passed"),
        )
        return
    price = price_of(judge)
    image_tokens = price.image_tokens if price else 0
    calls = len(chats) / len(samples) * rows
    read = statistics.mean(prompt_bound(chat, image_tokens) / _BYTES_PER_TOKEN for chat in chats)
    answers = [len((sample.answer or "").encode()) for sample in samples]
    replied = _REPLY_TO_ANSWER * statistics.mean(answers) / _BYTES_PER_TOKEN + judge.hidden_tokens / 2
    yield "calls", f"{calls:,.0f} if nothing is asked twice, about {calls * (read + replied):,.0f} tokens"
    attempts = getattr(method, "attempts", 1)
    if price is None:
        yield "cost", "unknown: give --price-in and --price-out"
    else:
        low, expected = (price.cost(round(read), round(replied)) * calls * factor for factor in (0.8, 1.15))
        bounds = (
            price.cost(prompt_bound(chat, image_tokens), chat.sampling.max_new_tokens + judge.hidden_tokens)
            for chat in chats
        )
        high = statistics.mean(bounds) * calls * attempts
        yield "cost", f"expected ${expected:.2f}, low ${low:.2f}, high ${high:.2f} (every row asked {attempts} times)"
    if judge.max_cost is not None:
        yield "budget", f"${judge.max_cost:g}; the run stops before it is passed"


def _first_requests(method: Method, sample: Sample) -> tuple[object, ...]:
    flow = method(sample)
    try:
        requests = next(flow)
        if hasattr(method, "attempts") and all(isinstance(request, Generate) for request in requests):
            answer = Completion(sample.answer or "…", "stop", 0, 0, 0)  # of the policy, taken to be the reference
            return flow.send((answer,) * len(requests))
        return requests
    except StopIteration:
        return ()
    finally:
        flow.close()


def describe(bill: Bill, judge: JudgeConfig) -> str:
    """Cost of all calls of a run, over all invocations."""
    said = f"judge: {bill.calls:,} calls, {bill.prompt_tokens:,} tokens read, {bill.tokens:,} generated"
    if price_of(judge) is not None:
        said += f", ${bill.dollars:.4f}"
    if bill.doubtful:
        said += f"; {bill.doubtful:,} calls of unknown end, counted in full"
    return said
