"""An OpenAI-compatible server on loopback that fails as it is told: real sockets, one script for each test.

A script is called with the number of the request (from 0) and its body, and says what to do: a string is the model's
reply, an `Act` anything else.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

Act = Callable[["Line"], Awaitable[None]]
Script = Callable[[int, dict[str, Any]], "str | Act"]
MODEL = "test-model"


@dataclass
class Line:
    """One request and the socket that it came from."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes
    writer: asyncio.StreamWriter
    number: int = 0

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.content)  # type: ignore[no-any-return]

    async def send(self, status: int, content: bytes, *headers: str, length: int | None = None) -> None:
        head = [f"HTTP/1.1 {status} Status", "Content-Type: application/json", *headers]
        head.append(f"Content-Length: {len(content) if length is None else length}")
        self.writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + content)
        await self.writer.drain()

    async def send_json(self, status: int, value: object, *headers: str) -> None:
        await self.send(status, json.dumps(value).encode(), *headers)


def completion(text: str | None, body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A whole reply; `changes` replace its parts: those of the message, the choice, or the reply."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
    reply = {"id": "c1", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage}
    for part in (message, choice, reply):
        part.update({name: value for name, value in changes.items() if name in part})
    return {**reply, "choices": [choice]}


def say(text: str | None, **changes: Any) -> Act:
    """A reply of status 200 with some parts changed."""

    async def act(line: Line) -> None:
        await line.send_json(200, completion(text, line.body, **changes))

    return act


def fail(status: int, *headers: str, code: str | None = None, message: str = "no", html: bool = False) -> Act:
    """An error in the API's form, or a page of a proxy."""

    async def act(line: Line) -> None:
        error = {"error": {"message": message, "type": "error", "code": code, "param": None}}
        await line.send(status, b"<html>oops</html>" if html else json.dumps(error).encode(), *headers)

    return act


def raw(content: bytes, *, status: int = 200, length: int | None = None, drop: bool = False) -> Act:
    """These bytes; with `drop` the connection is torn down after them."""

    async def act(line: Line) -> None:
        await line.send(status, content, length=length)
        if drop:
            line.writer.transport.abort()

    return act


def silence(seconds: float = 60.0) -> Act:
    """Nothing at all."""

    async def act(line: Line) -> None:
        await asyncio.sleep(seconds)

    return act


def drip(every: float) -> Act:
    """A body that never ends, a byte at a time."""

    async def act(line: Line) -> None:
        await line.send(200, b"{", length=10**6)
        while True:
            await asyncio.sleep(every)
            line.writer.write(b" ")
            await line.writer.drain()

    return act


def after(seconds: float, act: Act | str) -> Act:
    """Something, later."""

    async def later(line: Line) -> None:
        await asyncio.sleep(seconds)
        await (say(act) if isinstance(act, str) else act)(line)

    return later


@dataclass
class Judge:
    """The server. A context manager; `url` is what a client is given.

    Attributes:
        bodies: of the chat requests that came, in order. answered: how many got status 200. most: in flight at a time.
        requests: method and path of everything that came.
    """

    script: Script
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    most: int = 0
    other: Callable[[Line], Awaitable[None]] | None = None

    def __enter__(self) -> Judge:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(started,))
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: threading.Event) -> None:
        self._loop.run_until_complete(self._serve(started))
        self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        self._stop, self._inside, self._tasks = asyncio.Event(), 0, set[asyncio.Task[Any]]()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 26)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (line := await _read(reader, writer)) is not None:
                await self._answer(line)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, line: Line) -> None:
        self.requests.append(f"{line.method} {line.path}")
        if line.path != "/v1/chat/completions":
            assert self.other is not None, line.path
            await self.other(line)
            return
        line.number = len(self.bodies)
        self.bodies.append(line.body)
        self._inside += 1
        self.most = max(self.most, self._inside)
        try:
            act = self.script(line.number, line.body)
            await (say(act) if isinstance(act, str) else act)(line)
        finally:
            self._inside -= 1


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Line | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return Line(method, path, headers, content, writer)


def asked_about(body: dict[str, Any]) -> tuple[str, str]:
    """Question and answer of a request that prefgen's own prompt made."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    found = re.fullmatch(r"--- \w+ question\n(.*)\n--- \w+ answer\n(.*)\n--- \w+ end", text, re.DOTALL)
    assert found, text
    return found[1], found[2]


def corrupted(body: dict[str, Any]) -> str:
    """A good reply: one word of the answer exchanged."""
    _, answer = asked_about(body)
    first, *rest = answer.split(" ")
    new = " ".join(["Nowhere" if first != "Nowhere" else "Here", *rest])
    return json.dumps({"changes": [{"kind": "position", "before": first, "after": "Nowhere"}], "answer": new})


def revised(body: dict[str, Any]) -> str:
    """A good reply of a judge that repairs: the first word of the first sentence exchanged."""
    _, answer = asked_about(body)
    _, *rest = answer.partition("\n")[0].removeprefix("[1] ").split(" ")
    repair = {"number": 1, "kind": "position", "problem": "elsewhere", "revised": " ".join(["Nowhere", *rest])}
    return json.dumps({"sentences": [repair]})


def good(number: int, body: dict[str, Any]) -> str:
    """The script of a judge that does what it should, corrupts or repairs."""
    return revised(body) if "You correct what" in json.dumps(body["messages"][0]) else corrupted(body)
