"""Configuration of a judge: its model, address, prices and limits."""

from __future__ import annotations

from dataclasses import dataclass

from prefgen import addresses, options
from prefgen.errors import UsageError

OPENAI = "https://api.openai.com/v1"
# Dated snapshots, so that a name means the same model tomorrow.
ALIASES = {
    "gpt4": "gpt-4.1-2025-04-14",
    "gpt4-mini": "gpt-4.1-mini-2025-04-14",
    "gpt4o": "gpt-4o-2024-08-06",
}


# Tokens that a model may spend on reasoning, by --reasoning-effort.
EFFORTS = {"none": 0, "minimal": 1024, "low": 4096, "medium": 8192, "high": 16384, "xhigh": 32768}


@dataclass(frozen=True)
class JudgeConfig:
    """A judge and its limits.

    Attributes:
        judge: an alias of `ALIASES`, or a model's name as its server spells it.
        judge_url: base URL of an OpenAI-compatible server.
        api_key_env: environment variable that holds the key.
        concurrency: requests in flight at most; the window starts small, grows while answers come and halves at a 429.
        rpm: requests a minute at most.
        tpm: tokens a minute, those to be generated included.
        request_timeout: seconds one attempt may take.
        request_deadline: seconds all attempts at a request may take.
        max_cost: dollars that this run may cost, all its invocations together.
        price_in: dollars per million tokens read, `price_out` per million generated; None takes the table's.
        reasoning_effort: how much a reasoning model is to think; None leaves it to the server. Tokens for it
            (`hidden_tokens`) come on top of the limit of a reply.
        keep_going: ask on although the first rows of the run all fail alike.
        batch_api: ask through the Batch API: half the price, an answer within a day.
        batch_files: write the same requests to files and read their results from files.
    """

    judge: str = options.option("gpt4", help=f"A chat model's name, or {', '.join(ALIASES)}.", panel=options.JUDGE)
    judge_url: str = options.option(
        OPENAI, was=("--base-url",), help="Base URL of an OpenAI-compatible server.", panel=options.JUDGE
    )
    api_key_env: str = options.option(
        "OPENAI_API_KEY", help="Environment variable that holds the key.", panel=options.JUDGE
    )
    concurrency: int = options.option(64, help="Requests in flight at most.", panel=options.JUDGE, low=1)
    rpm: int | None = options.option(None, help="Requests a minute at most.", panel=options.JUDGE, low=1)
    tpm: int | None = options.option(None, help="Tokens a minute at most.", panel=options.JUDGE, low=1)
    request_timeout: float = options.option(120.0, help="Seconds of one attempt.", panel=options.JUDGE, low=0.001)
    request_deadline: float = options.option(
        600.0, help="Seconds of all attempts at a request.", panel=options.JUDGE, low=0.001
    )
    max_cost: float | None = options.option(None, help="Dollars the whole run may cost.", panel=options.JUDGE, low=0)
    price_in: float | None = options.option(None, help="Dollars per million tokens read.", panel=options.JUDGE, low=0)
    price_out: float | None = options.option(
        None, help="Dollars per million tokens generated.", panel=options.JUDGE, low=0
    )
    reasoning_effort: str | None = options.option(
        None, help="How much the judge thinks", panel=options.JUDGE, choices=tuple(EFFORTS)
    )
    keep_going: bool = options.shared(False)
    batch_api: bool = options.option(
        False, help="Ask through the Batch API: half price, within a day.", panel=options.JUDGE
    )
    batch_files: bool = options.option(False, help="Write requests to files, for vllm run-batch.", panel=options.JUDGE)

    def __post_init__(self) -> None:
        options.check(self)
        if (self.price_in is None) != (self.price_out is None):
            raise UsageError("--price-in and --price-out go together")
        if self.batch_api and self.batch_files:
            raise UsageError("--batch-api and --batch-files are two ways to ask: give one")
        addresses.check("--judge-url", self.judge_url)

    @property
    def hidden_tokens(self) -> int:
        """Upper bound of the reasoning tokens of a reply."""
        return EFFORTS[self.reasoning_effort or "none"]

    @property
    def model(self) -> str:
        """The model's name on its server."""
        return ALIASES.get(self.judge, self.judge)

    @property
    def address(self) -> str:
        """The base URL without a trailing slash."""
        return self.judge_url.rstrip("/")


@dataclass(frozen=True)
class Patience:
    """Retry settings; times in seconds.

    Attributes:
        tries: attempts at a request that meets server or network errors.
        malformed_tries: that gets unusable replies.
        backoff_first: wait before the second attempt, doubled each time up to `backoff_most`, times a random 0.5 … 1.
        breaker_after: failures in a row, of all requests, after which only one probe per `breaker_probe` is sent;
            after `breaker_gives_up` the run stops.
        rejected_first: requests that may be rejected (400) before anything was answered.
        closing: how long an attempt in flight may go on when the run stops.
    """

    tries: int = 6
    malformed_tries: int = 3
    backoff_first: float = 0.5
    backoff_most: float = 60.0
    breaker_after: int = 20
    breaker_probe: float = 30.0
    breaker_gives_up: float = 600.0
    rejected_first: int = 5
    closing: float = 30.0
