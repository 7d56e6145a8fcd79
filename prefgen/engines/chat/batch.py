"""Batch APIs: writes all requests to files, submits them and reads the results.

Requests are written to files under OUT/.prefgen/batches and noted in the ledger with what they may cost; a service
answers them (`prefgen.engines.chat.services`). Each step is noted before the next, so a run that dies takes its batches
up where they are, and what an expired batch has finished is kept. The files are of the form of OpenAI's Batch API,
which `vllm run-batch` reads as well.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefgen.engines.chat import wire
from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.chat.exchange import bound_of
from prefgen.engines.chat.ledger import Ended, Ledger, Sent
from prefgen.engines.chat.money import Budget, Price, price_of
from prefgen.engines.chat.services import ENDPOINT, Service
from prefgen.errors import BudgetReached, ModelUnreachable, RowError, UsageError
from prefgen.requests import Chat, Message, Reply, Request

PENDING = "BATCH_PENDING"


@dataclass(frozen=True)
class BatchLimits:
    """Limits of one batch."""

    requests: int = 50_000
    bytes: int = 200_000_000


class Lines:
    """An engine that answers from the ledger and writes all other requests to batch files.

    Such a request fails with `PENDING`, so its flow ends for now; it is run again when the answer is there.

    Attributes:
        written: requests in the files.
        short: whether more would have been, but for the budget.
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
        """Answer a request from the ledger, or write it to the file."""
        if not isinstance(request, Chat):
            raise TypeError(f"this engine answers Chat requests, not {type(request).__name__}")
        key = wire.key(request, self._config)
        reply = self._ledger.reply(key)
        if reply is None:
            self._put(key, request)
        self._replies.append((ticket, reply or RowError(PENDING)))

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Replies to the requests submitted since the last call."""
        replies, self._replies = self._replies, []
        return replies

    def flush(self) -> None:
        """Close the file that is being filled and store its reservation."""
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
        bound = bound_of(request, self._config, self._price.image_tokens)
        reserved = self._price.cost(bound.prompt_tokens, bound.tokens)
        if not self._budget.fits(reserved):
            self.short = True
            return
        body = wire.body(request, self._config, wire.Dialect())
        line = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
        encoded = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        if len(self._lines) == self._limits.requests or self._size + len(encoded) > self._limits.bytes:
            self.flush()
        self._budget.take(reserved)
        self._lines.append(encoded)
        self._calls.append(Sent(self._ledger.next_call(), key, reserved))
        self._size += len(encoded)
        self.written += 1


class LedgerAnswers(Lines):
    """An engine that answers from the ledger when everything has been asked; a missing reply is a bug."""

    def _put(self, key: str, request: Chat) -> None:
        raise RuntimeError(f"request {key} was not in any batch")


class Batches:
    """The batches of a run.

    Args:
        service: where they are answered.
    """

    def __init__(
        self,
        config: JudgeConfig,
        ledger: Ledger,
        folder: Path,
        service: Service,
        limits: BatchLimits | None = None,
    ) -> None:
        self._config, self._ledger, self._folder, self._service = config, ledger, folder, service
        self._limits = limits or BatchLimits()
        self._price = price_of(config) or Price(0.0, 0.0)

    def lines(self) -> Lines:
        """An engine for the next round."""
        return Lines(self._config, self._ledger, self._folder, self._limits)

    def answers(self) -> LedgerAnswers:
        """An engine for the last round, which answers from the ledger only."""
        return LedgerAnswers(self._config, self._ledger, self._folder, self._limits)

    def run(self, lines: Lines | None = None) -> None:
        """Submit the files that were written, wait for every open batch, and store the replies.

        Args:
            lines: what the last round wrote; None at the start, when an earlier process may have left batches.

        Raises:
            BudgetReached: if there is something to ask, and no money for any of it.
            UsageError: if a batch is refused as a whole.
            ModelUnreachable: if the service cannot be reached, or nothing was answered.
        """
        if lines is not None:
            lines.flush()
            if lines.short and not lines.written:
                raise BudgetReached(
                    f"--max-cost {self._config.max_cost:g}: ${self._ledger.spent():.4f} are spent, and what is left "
                    "does not cover the next request. Everything that was answered is kept; a higher --max-cost goes on"
                )
        waiting = []
        for file, tag, batch in self._ledger.batches():
            submitted = batch or self._service.submit(self._folder / file, tag)
            self._ledger.put_batch(file, tag, submitted)
            waiting.append((file, submitted))
        answered = [self._answered(file, batch) for file, batch in waiting]
        if waiting and not any(answered):
            raise ModelUnreachable("the batches came back without a single answer; repeat the command to ask again")

    def _answered(self, file: str, batch: str) -> int:
        """Wait for a batch and store its replies; returns the number of requests that are settled."""
        try:
            return self._store(file, self._service.results(batch))
        except UsageError:  # refused as a whole: whatever was wrong, it will be another batch
            self._store(file, ())
            raise

    def _store(self, file: str, results: Iterable[Mapping[str, Any]]) -> int:
        path = self._folder / file
        with open(path, "rb") as lines:
            bounds = {line["custom_id"]: self._bound(line) for line in map(json.loads, lines)}
        open_calls = self._ledger.open_calls(bounds)
        ended: dict[str, Ended] = {}
        for line in results:
            key = str(line.get("custom_id"))
            if key in open_calls and key not in ended:  # else an answer to nothing that was asked, or a second one
                ended[key] = self._read(key, line, *open_calls[key], bounds[key])
        missing = [Ended(call, key, 0.0, "failed") for key, (call, _) in open_calls.items() if key not in ended]
        self._ledger.write([*ended.values(), *missing])
        self._ledger.put_batch(file, path.stem, done=True)
        path.unlink()
        return sum(one.reply is not None for one in ended.values())

    def _bound(self, line: dict[str, Any]) -> wire.Usage:
        """Upper bound of a request's usage, estimated from its line."""
        return wire.Usage(len(json.dumps(line)) + self._price.image_tokens, line["body"]["max_tokens"])

    def _read(self, key: str, line: Mapping[str, Any], call: int, reserved: float, bound: wire.Usage) -> Ended:
        """The outcome of one request."""
        response = line.get("response") or {}
        status = response.get("status_code")
        if status != 200:
            # Expired requests have no status and are asked again; the service has tried the others often enough.
            reason = "API_5XX" if status and (status >= 500 or status == 429) else "API_400"
            detail = json.dumps(response.get("body") or line.get("error"))[:300]
            return Ended(call, key, 0.0, "failed", RowError(reason, f"HTTP {status}: {detail}") if status else None)
        try:
            message, usage, model = wire.read(json.dumps(response.get("body")).encode(), bound)
        except wire.Failed as error:
            return Ended(call, key, 0.0, "failed", RowError("API_5XX", str(error)))
        except wire.Malformed as error:
            return Ended(call, key, reserved, "doubtful", RowError("API_MALFORMED", str(error)))
        cost = reserved if usage is None else self._price.cost(usage.prompt_tokens, usage.tokens)
        reply: Message | RowError = message
        if not wire.same_model(self._config.model, model):
            reply = RowError("REPLY_MODEL", f"answered by {model}")
        return Ended(call, key, cost, "answered", reply)
