"""How fast the judge engine is: a judge that answers at once, asked by prefgen, by a bare SDK loop and by raw HTTP.

    python examples/benchmarks/chat.py

The server is a process of its own on loopback; its own limit, measured by a client that does nothing but write and
read bytes on as many sockets, is printed first: what cannot be reached even so says nothing about a client. The ways:

- sdk: `AsyncOpenAI.chat.completions.create` in `--concurrency` tasks, each asking one question after the other;
- http: the SDK's own HTTP library, JSON in and out, without the SDK;
- prefgen: the product's engine, with ledger (every call and reply synced to disk), budget, limits and checks.

"rows" is `prefgen corrupt` from SFT rows in memory to outcomes: flows, prompts, calls, checks. Rounds alternate, so
that a busy machine slows all; the ratio is the median of the rounds'.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
from report import circumstances, command_line, write

from prefgen.driver import drive
from prefgen.engines.chat import wire
from prefgen.engines.chat.call import httpx
from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.chat.engine import ChatEngine
from prefgen.engines.chat.ledger import Ledger
from prefgen.methods import prompts
from prefgen.methods.corrupt import Corrupt
from prefgen.records import Image, Pair, Sample, Slot, Turn
from prefgen.requests import Chat

MODEL = "null"
ANSWER = "Two dogs sleep on a red sofa next to the window, and a lamp stands behind them."
REPLY = {
    "changes": [{"kind": "count", "before": "Two", "after": "Three"}],
    "answer": ANSWER.replace("Two", "Three"),
}
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": json.dumps(REPLY)}}],
    "usage": {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960},
}


def serve(port: Any, latency_s: float) -> None:
    """Answer everything with the same bytes."""
    content = json.dumps(COMPLETION).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in asked.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                await reader.readexactly(length)
                if latency_s:
                    await asyncio.sleep(latency_s)
                writer.write(head + content)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def samples(count: int) -> list[Sample]:
    """SFT rows in memory."""
    prompt = (Turn("user", (Slot.IMAGE, "What do you see?")),)
    picture = Image(b"\x89PNG", "x.png", 2, 2)
    return [Sample(f"{number:016x}", prompt, (picture,), ANSWER, "benchmark", str(number)) for number in range(count)]


async def in_tasks(bodies: list[dict[str, Any]], width: int, ask: Callable[[dict[str, Any]], Awaitable[None]]) -> float:
    """Ask everything, so many at a time; requests per second."""
    left = iter(bodies)

    async def one() -> None:
        for body in left:
            await ask(body)

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(width)))
    return len(bodies) / (time.perf_counter() - started)


async def by_sdk(url: str, bodies: list[dict[str, Any]], width: int) -> float:
    """The official SDK and nothing else."""
    async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:

        async def ask(body: dict[str, Any]) -> None:
            reply = await client.chat.completions.create(**body)
            assert reply.choices[0].message.content

        return await in_tasks(bodies, width, ask)


async def by_http(url: str, bodies: list[dict[str, Any]], width: int) -> float:
    """The SDK's HTTP library alone."""
    limits = httpx.Limits(max_connections=width, max_keepalive_connections=width)
    async with httpx.AsyncClient(limits=limits) as client:

        async def ask(body: dict[str, Any]) -> None:
            reply = await client.post(f"{url}/chat/completions", json=body)
            assert reply.json()["choices"][0]["message"]["content"]

        return await in_tasks(bodies, width, ask)


async def by_sockets(url: str, bodies: list[dict[str, Any]], width: int) -> float:
    """Bytes out, bytes in: what the server can do."""
    host, port = url.split("/")[2].split(":")
    encoded = [json.dumps(body).encode() for body in bodies]
    left = iter(encoded)

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for body in left:
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(width)))
    return len(bodies) / (time.perf_counter() - started)


def by_prefgen(url: str, requests: list[Chat], width: int, folder: Path) -> float:
    """The product's engine."""
    config = JudgeConfig(MODEL, url, concurrency=width, max_cost=1e6, price_in=1.0, price_out=1.0)
    with closing(Ledger(folder / "ledger.sqlite")) as ledger, closing(ChatEngine(config, ledger)) as engine:
        started = time.perf_counter()
        for ticket, request in enumerate(requests):
            engine.submit(ticket, request)
        done = 0
        while done < len(requests) and engine.wait(10.0):
            done += len(engine.collect())
        seconds = time.perf_counter() - started
        assert ledger.bill().answered == len(requests)
    return len(requests) / seconds


def by_rows(url: str, rows: list[Sample], method: Corrupt, width: int, folder: Path) -> float:
    """Rows to outcomes."""
    config = JudgeConfig(MODEL, url, concurrency=width, max_cost=1e6, price_in=1.0, price_out=1.0)
    with closing(Ledger(folder / "rows.sqlite")) as ledger, closing(ChatEngine(config, ledger)) as engine:
        started = time.perf_counter()
        outcomes = [outcome for _, outcome in drive(rows, method, {Chat: engine})]
        seconds = time.perf_counter() - started
    assert all(isinstance(outcome, Pair) for outcome in outcomes)
    return len(rows) / seconds


def main() -> None:
    """Measure, print the figures, keep the JSON."""
    parser = command_line(__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    width, method, rows = arguments.concurrency, Corrupt(prompts.load("corrupt")), samples(arguments.requests)
    requests = [method.ask(row, 1, method.max_new_tokens) for row in rows]
    bodies = [wire.body(request, JudgeConfig(MODEL), wire.Dialect()) for request in requests]
    mine, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs, arguments.latency_ms / 1e3), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{mine.recv()}/v1"
    ways: dict[str, Callable[[Path], float]] = {
        "sockets": lambda _: asyncio.run(by_sockets(url, bodies, width)),
        "http": lambda _: asyncio.run(by_http(url, bodies, width)),
        "sdk": lambda _: asyncio.run(by_sdk(url, bodies, width)),
        "prefgen": lambda folder: by_prefgen(url, requests, width, folder),
        "rows": lambda folder: by_rows(url, rows, method, width, folder),
    }
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # a real disk: /tmp may be memory
            rounds.append({name: way(Path(folder)) for name, way in ways.items()})
    server.terminate()
    figures = {
        f"{name} / {other}": round(statistics.median(one[name] / one[other] for one in rounds), 2)
        for name, other in (("prefgen", "sdk"), ("rows", "sdk"), ("prefgen", "http"), ("rows", "http"))
    }
    report = {
        **circumstances(load=round(os.getloadavg()[0], 1)),
        "settings": {"requests": len(requests), "concurrency": width, "latency_ms": arguments.latency_ms},
        "figures": figures,
        "best_per_s": {name: round(max(one[name] for one in rounds), 1) for name in ways},
        "rounds": rounds,
    }
    print(json.dumps(figures | report["best_per_s"], indent=2))
    write(report, arguments.output, "chat-cpu")


if __name__ == "__main__":
    main()
