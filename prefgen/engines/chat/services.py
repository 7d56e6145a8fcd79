"""Services that answer batch files: OpenAI's Batch API, or the user."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import openai

from prefgen.engines.chat.call import api_key
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import BudgetReached, ExitCode, ModelUnreachable, Stopped, UsageError

T = TypeVar("T")
ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_TAG = "prefgen"  # the key in a batch's metadata
_RESULTS = ".results.jsonl"
_OVER = ("completed", "failed", "expired", "cancelled")


class Service(Protocol):
    """Answers files of requests."""

    def submit(self, path: Path, tag: str) -> str:
        """Submit a file unless that was done before; returns its name. `tag` identifies its content."""

    def results(self, batch: str) -> list[dict[str, Any]]:
        """Wait until a batch is over; returns the lines of its results, in any order, some perhaps missing.

        Raises:
            UsageError: if it was refused as a whole.
        """

    def close(self) -> None:
        """Release connections."""


class BatchApi:
    """OpenAI's Batch API: half the price, replies within a day.

    A batch that was created just before a kill is found again by the tag in its metadata.

    Args:
        check: called while waiting; may raise.
        say: is told what is going on.
        poll_s: seconds between two looks at a batch: the first, and the longest.
    """

    def __init__(
        self,
        config: JudgeConfig,
        check: Callable[[], None],
        say: Callable[[str], None],
        poll_s: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        self._config, self._check, self._say, self._poll_s = config, check, say, poll_s
        self._client = openai.OpenAI(api_key=api_key(config), base_url=config.judge_url, max_retries=0)

    def submit(self, path: Path, tag: str) -> str:
        """Upload the file and create its batch unless there is one; returns its id."""
        known = self._patiently(lambda: self._find(tag))
        if known is None:
            upload = self._patiently(lambda: self._client.files.create(file=path, purpose="batch")).id
            # Not repeated blindly: an answer that got lost may have been a yes, so the next attempt looks first.
            known = self._patiently(lambda: self._find(tag) or self._create(upload, tag))
        self._say(f"batch {known} submitted")
        return known

    def results(self, batch: str) -> list[dict[str, Any]]:
        """Wait until the batch is over; returns its results, also of one that expired."""
        found = self._finished(batch)
        if found.status == "failed":
            reason = "; ".join(error.message or "" for error in (found.errors.data if found.errors else None) or ())
            raise UsageError(f"the batch {batch} was refused: {reason[:500]}")
        uploads = [upload for upload in (found.output_file_id, found.error_file_id) if upload]
        return [line for upload in uploads for line in self._content(upload)]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _find(self, tag: str) -> str | None:
        seen: set[str] = set()
        for batch in self._client.batches.list():  # fetches further pages as it goes
            if batch.id in seen:
                break  # a server without pages gives the first one again
            seen.add(batch.id)
            if (batch.metadata or {}).get(_TAG) == tag:
                return batch.id
        return None

    def _create(self, upload: str, tag: str) -> str:
        return self._client.batches.create(
            input_file_id=upload, endpoint=ENDPOINT, completion_window="24h", metadata={_TAG: tag}
        ).id

    def _finished(self, batch: str) -> openai.types.Batch:
        (wait, longest), before = self._poll_s, ""
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
            wait = min(2 * wait, longest)

    def _content(self, upload: str) -> list[dict[str, Any]]:
        text = self._patiently(lambda: self._client.files.content(upload).text)
        return [json.loads(line) for line in text.splitlines()]

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Retry until the server answers.

        Raises:
            UsageError: if it refuses. BudgetReached: for want of quota.
            ModelUnreachable: if it stays silent for too long.
        """
        problem: openai.APIError | None = None
        for wait in self._waits():
            try:
                return ask()
            except openai.APIStatusError as error:
                no_quota = error.code == "insufficient_quota"
                if no_quota or not (error.status_code >= 500 or error.status_code in (408, 409, 429)):
                    words = str(error).replace(api_key(self._config), "***")[:300]
                    kind = BudgetReached if no_quota else UsageError
                    raise kind(f"the Batch API of {self._config.address} refuses: {words}") from None
                problem = error
            except openai.APIConnectionError as error:
                problem = error
            self._sleep(wait)
        raise ModelUnreachable(
            f"the Batch API of {self._config.address} does not answer: {problem}; repeat the command"
        )

    def _waits(self) -> Iterator[float]:
        wait, longest = self._poll_s
        for _ in range(10):
            yield wait
            wait = min(2 * wait, longest)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, 0.2))


class Files:
    """Files that the user has answered, for example by `vllm run-batch`; the run stops until the results exist."""

    def __init__(self, config: JudgeConfig) -> None:
        self._model = config.model

    def submit(self, path: Path, tag: str) -> str:
        """The path at which the results are expected."""
        return str(path.with_suffix(_RESULTS))

    def results(self, batch: str) -> list[dict[str, Any]]:
        """The lines of the result file, if it exists.

        Raises:
            Stopped: with what to do for every file that lacks its results.
        """
        path = Path(batch)
        if path.exists():
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        asked = [request for request in sorted(path.parent.glob("*.jsonl")) if not request.name.endswith(_RESULTS)]
        commands = [
            f"vllm run-batch -i {request} -o {request.with_suffix(_RESULTS)} --model {self._model}"
            for request in asked
            if not request.with_suffix(_RESULTS).exists()
        ]
        message = "\n".join(["the requests are written; have them answered, and repeat the command:", *commands])
        raise Stopped(message, ExitCode.TERMINATED)

    def close(self) -> None:
        """Do nothing: no connection is open."""
