"""The Batch API: all requests at once, half the price, an answer within a day.

Requests are written to files under OUT/.prefgen/batches, noted in the ledger with what they may cost, uploaded and
polled. Each step is noted before the next, so a run that dies takes its batches up where they are: one that was created
just before a kill is found again by the tag in its metadata, and what an expired one has finished is kept. The files
are of the form that `vllm run-batch` reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import openai

from prefgen.engines.chat import wire
from prefgen.engines.chat.call import api_key
from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.chat.ledger import Ended, Ledger, Sent
from prefgen.engines.chat.money import Budget, Price, price_of, prompt_bound
from prefgen.errors import BudgetReached, ModelUnreachable, RowError, UsageError
from prefgen.requests import Chat, Message, Reply, Request

_ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_TAG = "prefgen"  # the key in a batch's metadata
_OVER = ("completed", "failed", "expired", "cancelled")
PENDING = "BATCH_PENDING"

T = TypeVar("T")


@dataclass(frozen=True)
class BatchLimits:
    """What one batch may hold, and seconds between two looks at it: the first, and the longest."""

    requests: int = 50_000
    bytes: int = 200_000_000
    poll_first_s: float = 1.0
    poll_most_s: float = 60.0


class Lines:
    """An engine that answers from the ledger, and writes down what it cannot answer.

    Such a request fails with `PENDING`, so its flow ends for now; it is run again when the answer is there.

    Attributes:
        written: requests in the files. short: whether more would have been, but for the budget.
    """

    def __init__(self, config: JudgeConfig, ledger: Ledger, folder: Path, limits: BatchLimits) -> None:
        self.written = 0
        self.short = False
        self._config, self._ledger, self._folder, self._limits = config, ledger, folder, limits
        self._price = price_of(config) or Price(0.0, 0.0)
        self._budget = Budget(config.max_cost, ledger.spent())
        self._seen: set[str] = set()
        self._replies: list[tuple[int, Reply | RowError]] = []
        self._lines: list[bytes] = []
        self._calls: list[Sent] = []
        self._size = 0

    def submit(self, ticket: int, request: Request) -> None:
        """Answer or write down."""
        if not isinstance(request, Chat):
            raise TypeError(f"this engine answers Chat requests, not {type(request).__name__}")
        key = wire.key(request, self._config.model)
        reply = self._ledger.reply(key)
        if reply is None:
            self._put(key, request)
        self._replies.append((ticket, reply or RowError(PENDING)))

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """What was submitted since."""
        replies, self._replies = self._replies, []
        return replies

    def flush(self) -> None:
        """Write the file that is being filled, and what it may cost, for good."""
        if not self._lines:
            return
        content = b"".join(self._lines)
        tag = hashlib.sha256(content).hexdigest()[:32]
        os.makedirs(self._folder, exist_ok=True)
        with open(self._folder / f"{tag}.jsonl", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._ledger.write(self._calls)
        self._ledger.put_batch(f"{tag}.jsonl", tag)
        self._lines, self._calls, self._size = [], [], 0

    def _put(self, key: str, request: Chat) -> None:
        if key in self._seen:
            return
        self._seen.add(key)
        reserved = self._price.cost(prompt_bound(request, self._price.image_tokens), request.sampling.max_new_tokens)
        if not self._budget.fits(reserved):
            self.short = True
            return
        body = wire.body(request, self._config.model, wire.Dialect())
        line = {"custom_id": key, "method": "POST", "url": _ENDPOINT, "body": body}
        encoded = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        if len(self._lines) == self._limits.requests or self._size + len(encoded) > self._limits.bytes:
            self.flush()
        self._budget.take(reserved)
        self._lines.append(encoded)
        self._calls.append(Sent(self._ledger.next_call(), key, reserved))
        self._size += len(encoded)
        self.written += 1


class Answers(Lines):
    """The same when everything has been asked: a question without an answer is a bug."""

    def _put(self, key: str, request: Chat) -> None:
        raise RuntimeError(f"request {key} was not in any batch")


class Batches:
    """The batches of a run at one server. A context manager.

    Args:
        check: called while waiting; may raise.
        say: is told what is going on.
    """

    def __init__(
        self,
        config: JudgeConfig,
        ledger: Ledger,
        folder: Path,
        check: Callable[[], None],
        say: Callable[[str], None],
        limits: BatchLimits | None = None,
    ) -> None:
        self._config, self._ledger, self._folder, self._check, self._say = config, ledger, folder, check, say
        self._limits = limits or BatchLimits()
        self._price = price_of(config) or Price(0.0, 0.0)
        self._client = openai.OpenAI(api_key=api_key(config), base_url=config.judge_url, max_retries=0)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def lines(self) -> Lines:
        """An engine for the next round."""
        return Lines(self._config, self._ledger, self._folder, self._limits)

    def answers(self) -> Answers:
        """An engine for when everything has been asked."""
        return Answers(self._config, self._ledger, self._folder, self._limits)

    def run(self, lines: Lines | None = None) -> None:
        """Submit what was written down, wait for every batch that is not finished, and keep the answers.

        Args:
            lines: what the last round wrote; None at the start, when an earlier process may have left batches.

        Raises:
            BudgetReached: if there is something to ask, and no money for any of it.
            ModelUnreachable: if the server cannot be reached, or nothing was answered.
        """
        if lines is not None:
            lines.flush()
            if lines.short and not lines.written:
                raise BudgetReached(
                    f"--max-cost {self._config.max_cost:g}: ${self._ledger.spent():.4f} are spent, and what is left "
                    "does not cover the next request. Everything that was answered is kept; a higher --max-cost goes on"
                )
        answered = 0
        waiting = {file: batch or self._submit(file, tag) for file, tag, batch in self._ledger.batches()}
        for file, batch in waiting.items():
            answered += self._store(file, self._finished(batch))
        if waiting and not answered:
            raise ModelUnreachable("the batches came back without a single answer; repeat the command to ask again")

    def _submit(self, file: str, tag: str) -> str:
        """Create the batch of a request file, unless that was done just before a kill; its id."""
        known = self._patiently(lambda: self._find(tag))
        if known is None:
            path = self._folder / file
            upload = self._patiently(lambda: self._client.files.create(file=path, purpose="batch")).id
            # Not repeated blindly: an answer that got lost may have been a yes, so the next attempt looks first.
            known = self._patiently(lambda: self._find(tag) or self._create(upload, tag))
        self._ledger.put_batch(file, tag, known)
        self._say(f"batch {known} submitted")
        return known

    def _create(self, upload: str, tag: str) -> str:
        return self._client.batches.create(
            input_file_id=upload, endpoint=_ENDPOINT, completion_window="24h", metadata={_TAG: tag}
        ).id

    def _find(self, tag: str) -> str | None:
        return next(
            (batch.id for batch in self._client.batches.list() if (batch.metadata or {}).get(_TAG) == tag), None
        )

    def _finished(self, batch: str) -> openai.types.Batch:
        """Wait until a batch is over."""
        wait, before = self._limits.poll_first_s, ""
        while True:
            found = self._patiently(lambda: self._client.batches.retrieve(batch))
            counts = found.request_counts
            state = f"batch {batch}: {found.status}" + (f", {counts.completed:,} of {counts.total:,}" if counts else "")
            if state != before:
                self._say(state)
                before = state
            if found.status in _OVER:
                return found
            self._sleep(wait)
            wait = min(2 * wait, self._limits.poll_most_s)

    def _store(self, file: str, batch: openai.types.Batch) -> int:
        """Keep what a finished batch has brought; the number of requests that will not have to be asked again.

        Raises:
            UsageError: if the server did not even begin with it.
        """
        path = self._folder / file
        with open(path, "rb") as lines:
            bounds = {line["custom_id"]: self._bound(line) for line in map(json.loads, lines)}
        open_calls = self._ledger.open_calls(bounds)
        ended: dict[str, Ended] = {}
        for upload in (batch.output_file_id, batch.error_file_id):
            for line in self._patiently(lambda name=upload: self._content(name)):  # type: ignore[misc]
                key = str(line.get("custom_id"))
                if key in open_calls and key not in ended:  # an answer to nothing that was asked, or a second one
                    ended[key] = self._read(key, line, *open_calls[key], bounds[key])
        missing = [Ended(call, key, 0.0, "failed") for key, (call, _) in open_calls.items() if key not in ended]
        self._ledger.write([*ended.values(), *missing])
        self._ledger.put_batch(file, path.stem, batch.id, done=True)
        path.unlink()
        if batch.status == "failed":
            told = "; ".join(error.message or "" for error in (batch.errors.data if batch.errors else None) or ())
            raise UsageError(f"the batch {batch.id} was refused: {told[:500]}")
        return sum(one.reply is not None for one in ended.values())

    def _bound(self, line: dict[str, Any]) -> wire.Usage:
        """What the usage of a request can be, at most; roughly, from its line."""
        return wire.Usage(len(json.dumps(line)) + self._price.image_tokens, line["body"]["max_tokens"])

    def _content(self, upload: str | None) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._client.files.content(upload).text.splitlines()] if upload else []

    def _read(self, key: str, line: dict[str, Any], call: int, reserved: float, bound: wire.Usage) -> Ended:
        """How one request ended."""
        response = line.get("response") or {}
        status = response.get("status_code")
        if status != 200:
            # Expired requests have no status and are asked again; the service has tried the others often enough.
            reason = "API_5XX" if status and (status >= 500 or status == 429) else "API_400"
            detail = json.dumps(response.get("body") or line.get("error"))[:300]
            return Ended(call, key, 0.0, "failed", RowError(reason, f"HTTP {status}: {detail}") if status else None)
        try:
            message, usage, model = wire.read(json.dumps(response.get("body")).encode(), bound)
        except wire.Malformed as error:
            return Ended(call, key, reserved, "doubtful", RowError("API_MALFORMED", str(error)))
        cost = reserved if usage is None else self._price.cost(usage.prompt_tokens, usage.tokens)
        reply: Message | RowError = message
        if not wire.same_model(self._config.model, model):
            reply = RowError("REPLY_MODEL", f"answered by {model}")
        return Ended(call, key, cost, "answered", reply)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask until the server answers.

        Raises:
            UsageError: if it refuses.
            ModelUnreachable: if it stays silent for too long.
        """
        problem: openai.APIError | None = None
        for wait in _waits(self._limits):
            try:
                return ask()
            except openai.APIStatusError as error:
                transient = error.status_code >= 500 or error.status_code in (408, 409, 429)
                if not transient or error.code == "insufficient_quota":
                    kind = BudgetReached if error.code == "insufficient_quota" else UsageError
                    words = str(error).replace(api_key(self._config), "***")[:300]
                    raise kind(f"the Batch API of {self._config.address} refuses: {words}") from None
                problem = error
            except openai.APIConnectionError as error:
                problem = error
            self._sleep(wait)
        raise ModelUnreachable(
            f"the Batch API of {self._config.address} does not answer: {problem}; repeat the command"
        )

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, 0.2))


def _waits(limits: BatchLimits) -> Iterator[float]:
    wait = limits.poll_first_s
    for _ in range(10):
        yield wait
        wait = min(2 * wait, limits.poll_most_s)
