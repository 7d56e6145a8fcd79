"""What the engine promises beside the catalogue of faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import openai
import pytest

from prefgen.engines.chat.ledger import Ledger
from prefgen.requests import Message
from tests.engines.chat.sessions import GOOD, ask, judged
from tests.judge import MODEL, Act, Judge, Line, after, completion, fail, say

COMPLAINTS = [
    ("response_format", "Invalid parameter: 'response_format' of type 'json_schema' is not supported"),
    ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
    ("temperature", "Unsupported value: 'temperature' does not support 0.5 with this model."),
    ("seed", "Unrecognized request argument supplied: seed"),
]


@pytest.mark.parametrize("status", [400, 500])
def test_a_server_that_knows_less_is_asked_in_simpler_words_once(status: int) -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        form = body.get("response_format", {}).get("type")
        if form is not None:
            return fail(status, message=COMPLAINTS[0][1])
        return next((fail(status, message=words) for name, words in COMPLAINTS if name in body), say(GOOD))

    with judged(script) as (session, judge):
        schema = json.dumps({"type": "object"})
        for number in range(5):
            session.engine.submit(number, replace(ask(number), schema=schema))
        done = 0
        while done < 5:
            assert session.engine.wait(5.0)
            done += sum(isinstance(reply, Message) for _, reply in session.engine.collect())
        assert len(judge.bodies) == 5 + 5  # two forms and three options, found out once
        assert judge.bodies[-1].keys() == {"model", "messages", "max_completion_tokens"}


def test_a_question_asked_twice_is_paid_once() -> None:
    with judged(lambda *_: GOOD) as (session, judge):
        assert session.texts(3) == session.texts(3) == [GOOD] * 3
        assert len(judge.bodies) == 3


def test_a_request_has_the_address_key_and_headers_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-this-test")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-this-test")
    lines: list[Line] = []

    async def keep(line: Line) -> None:
        lines.append(line)
        await say(GOOD)(line)

    async def by_sdk(judge: Judge, body: dict[str, Any]) -> None:
        async with openai.AsyncOpenAI(base_url=judge.url, max_retries=0) as client:
            await client.chat.completions.create(**body)

    with judged(lambda *_: keep) as (session, judge):
        session.texts()
        asyncio.run(by_sdk(judge, judge.bodies[0]))
    ours, theirs = lines
    of_a_call = {"accept-encoding", "x-stainless-read-timeout", "x-stainless-retry-count"}
    shared = [{name: each for name, each in line.headers.items() if name not in of_a_call} for line in lines]
    assert shared[0] == shared[1]
    assert {"Bearer sk-of-this-test", "org-of-this-test"} <= set(shared[0].values())
    assert (ours.method, ours.path, ours.body) == (theirs.method, theirs.path, theirs.body)


def test_there_are_as_many_connections_as_calls_at_a_time() -> None:
    sockets: set[object] = set()

    def script(number: int, body: dict[str, Any]) -> Act:
        async def answer(line: Line) -> None:
            sockets.add(line.writer.get_extra_info("peername"))
            await after(0.02, GOOD)(line)

        return answer

    with judged(script, concurrency=4) as (session, _):
        assert session.texts(40) == [GOOD] * 40
        assert len(sockets) == 4


def test_completion_is_what_the_sdk_reads() -> None:
    with Judge(lambda *_: GOOD) as judge:
        client = openai.OpenAI(api_key="x", base_url=judge.url, max_retries=0)
        read = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
        client.close()
    assert read.choices[0].message.content == GOOD
    assert read.model_dump(exclude_unset=True) == completion(GOOD, {"model": MODEL})


def test_a_bug_ends_the_run_instead_of_hanging_it() -> None:
    with judged(lambda *_: GOOD) as (session, _):
        broken: Callable[[], None] = session.ledger.close
        broken()
        session.engine.submit(0, ask())
        assert session.engine.wait(5.0)
        with pytest.raises(Exception, match="closed"):
            session.engine.collect()
        session.ledger = Ledger(":memory:")
