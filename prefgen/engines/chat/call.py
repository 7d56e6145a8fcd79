"""One attempt at one API call, with the address, key and headers of the official SDK, and what its failure means.

How often to ask, and when, is decided in `prefgen.engines.chat.exchange` alone.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import openai

from prefgen import addresses
from prefgen.engines.chat.config import OPENAI, JudgeConfig
from prefgen.engines.chat.wire import Malformed
from prefgen.errors import UsageError

try:  # what the SDK sends with: httpx, under another name since its version 3
    import httpx2 as httpx
except ImportError:
    import httpx  # type: ignore[no-redef,import-not-found]

REPLY_BYTES_MOST = 1 << 20
_SECRET_CHARS = 6
_RETRY_AFTER_MOST = 86_400.0  # a longer wait is no advice
_RETRIED = {408, 409}
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")

Kind = Literal[
    "throttled", "server", "network", "timeout", "malformed", "rejected", "refused", "quota", "unknown-model"
]


class Trouble(Exception):
    """A failed attempt.

    Args:
        kind: ``rejected`` is this request, for what it holds; ``refused`` is everything under this key.
        doubtful: whether it may have been charged all the same.
        wait_s: how long the server asks to wait, where it says so in a way that makes sense.
    """

    def __init__(self, kind: Kind, detail: str, *, doubtful: bool = False, wait_s: float | None = None) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.doubtful, self.wait_s = kind, detail, doubtful, wait_s


class _Connections(openai.DefaultAsyncHttpxClient):
    """HTTP client with a pool for each connection, which stops reading a reply at `REPLY_BYTES_MOST`.

    Before a request a pool looks at all its connections, which with 64 of them took longer than the request.
    """

    def __init__(self) -> None:
        super().__init__()
        self._verify = httpx.create_ssl_context()  # once, since reading the certificates takes long
        self._idle: list[httpx.AsyncClient] = []
        self._all: list[httpx.AsyncClient] = []

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        client = self._idle.pop() if self._idle else self._another()
        try:
            response = await client.send(request, **{**options, "stream": True})
            response.stream = _BoundedStream(response)
            await response.aread()
        finally:
            self._idle.append(client)
        return response

    def _another(self) -> httpx.AsyncClient:
        one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        self._all.append(openai.DefaultAsyncHttpxClient(verify=self._verify, limits=one))
        return self._all[-1]

    async def aclose(self) -> None:
        for client in self._all:
            await client.aclose()
        await super().aclose()


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, response: httpx.Response) -> None:
        self._stream, self._left = response.stream, REPLY_BYTES_MOST

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:  # type: ignore[union-attr]  # of an async client's response
            self._left -= len(chunk)
            if self._left < 0:
                raise Malformed(f"more than {REPLY_BYTES_MOST:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()  # type: ignore[union-attr]


class Caller:
    """Sends request bodies to one server with one key. Create and use it inside one event loop.

    Address, key and headers are the SDK's. Its `chat.completions.create` and `post` are not used: building and checking
    what `wire.body` makes and `wire.read` checks takes them as long as the HTTP exchange itself.
    """

    def __init__(self, config: JudgeConfig) -> None:
        self._key = api_key(config)
        self._http = _Connections()
        sdk = openai.AsyncOpenAI(api_key=self._key, base_url=config.judge_url, http_client=self._http)
        self._url = f"{sdk.base_url}chat/completions"
        headers = {name: value for name, value in sdk.default_headers.items() if isinstance(value, str)}
        # The bound is one of bytes, not of what they unpack to.
        self._headers = {**headers, **sdk.auth_headers, "Accept-Encoding": "identity"}

    async def __call__(self, body: dict[str, Any], timeout_s: float) -> bytes:
        """The body of a reply with status 200.

        Raises:
            Trouble: for everything else.
        """
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        sent = self._http.post(self._url, content=content, headers=self._headers, timeout=timeout_s)
        try:
            response = await asyncio.wait_for(sent, timeout_s)
        except Malformed as error:
            raise Trouble("malformed", str(error), doubtful=True) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Trouble("network", self._clean(error)) from None
        except (TimeoutError, httpx.TimeoutException) as error:
            raise Trouble("timeout", f"no whole answer within {timeout_s:.0f} s", doubtful=True) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Trouble("network", self._clean(error), doubtful=True) from None
        if not response.is_success:
            raise self._status(response)
        return response.content

    def _status(self, response: httpx.Response) -> Trouble:
        status, code = response.status_code, _code(response)
        detail = f"HTTP {status}: {self._clean(response.text.strip() or response.reason_phrase or 'nothing else')}"
        if status == 402 or code in _QUOTA:
            return Trouble("quota", detail)
        if status == 429:
            return Trouble("throttled", detail, wait_s=retry_after(response.headers))
        if status >= 500 or status in _RETRIED:
            return Trouble("server", detail, wait_s=retry_after(response.headers))
        if status in (401, 403):
            return Trouble("refused", detail)
        return Trouble("unknown-model" if status == 404 else "rejected", detail)

    def _clean(self, error: BaseException | str) -> str:
        """An error's message without the key, shortened to one line."""
        words = "".join(character if character.isprintable() else " " for character in str(error))
        message = " ".join(words.split()) or type(error).__name__
        # A word such as EMPTY, which stands in for a key at servers of one's own, is no secret.
        return (message.replace(self._key, "***") if len(self._key) >= _SECRET_CHARS else message)[:300]

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _code(response: httpx.Response) -> str:
    """OpenAI's name for an error; empty if the body has none."""
    try:
        body = response.json()
        return str(body.get("error", body)["code"])
    except (ValueError, AttributeError, KeyError, TypeError):
        return ""


def api_key(config: JudgeConfig) -> str:
    """The key from the environment; local servers often need none.

    Raises:
        UsageError: if OpenAI is to be asked without a key, or it cannot be one.
    """
    key = addresses.key(config.api_key_env)
    if not key and config.address == OPENAI:
        raise UsageError(f"{config.api_key_env} is not set: the judge {config.judge} needs a key (--api-key-env)")
    return key or "no-key"


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that a ``Retry-After`` header asks for; None if it cannot be read.

    A date counts from the server's own ``Date``, so that the clock of this machine does not matter.
    """
    stated = headers.get("retry-after", "").strip()
    try:
        seconds = float(stated)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(stated) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
        except (TypeError, ValueError, IndexError):
            return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= _RETRY_AFTER_MOST else None
