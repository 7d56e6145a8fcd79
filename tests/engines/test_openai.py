"""The client of a served model, against a server on loopback that streams as the real ones do."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import PIL.Image
import pytest

from prefgen import seeds, visibility
from prefgen.engines import openai_
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.call import api_key
from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.openai_ import OpenAIEngine
from prefgen.errors import ModelUnreachable, RowError, UsageError
from prefgen.records import Slot, Turn
from prefgen.requests import Completion, Generate, Reply, Sampling, Stop
from prefgen.visibility import View
from tests.engines import tiny

ANSWER = [" blue", " square", " on", " the", " left", ".", " It", " is", " small", "."]


class Server(ThreadingHTTPServer):
    """Serves the model ``scenes``; says `ANSWER` word by word."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.owner = "vllm"
        self.status = 200
        self.breaks = False  # the connection, in the middle of an answer
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.written = 0  # words that went out before the client closed
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._json(
            200, {"object": "list", "data": [{"id": "scenes", "object": "model", "owned_by": self.server.owner}]}
        )

    def do_POST(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.server.status != 200:
            return self._json(self.server.status, {"error": {"message": "the prompt is too long"}})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        words = ANSWER[: self.server.bodies[-1]["max_completion_tokens"]]
        try:
            for count, word in enumerate(words, 1):
                if self.server.breaks and count == 3:
                    return None
                last = count == len(words)
                reason = ("stop" if words == ANSWER else "length") if last else None
                choice = {"index": 0, "delta": {"content": word}, "finish_reason": reason}
                self._event({"choices": [choice], "usage": {"completion_tokens": count, **_TOKENS}})
                self.server.written += 1
            self.wfile.write(b"data: [DONE]\n\n")
        except ConnectionError:
            pass
        return None

    def _event(self, body: dict[str, Any]) -> None:
        common = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "scenes"}
        self.wfile.write(f"data: {json.dumps(common | body)}\n\n".encode())

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


_TOKENS = {"prompt_tokens": 1, "total_tokens": 1}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(openai_, "_RETRIES", 0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def request(stop: Stop = "end", prefix: str = "", view: View | None = None, tokens: int = 64) -> Generate:
    prompt = (Turn("user", (Slot.IMAGE, "What is there?")),)
    sampling = Sampling(0.5, 0.9, tokens)
    return Generate(prompt, (tiny.picture(3),), view or View(), prefix, 0, stop, "en", sampling, 2**64 - 1)


def connect(server: Server) -> OpenAIEngine:
    return OpenAIEngine.connect(EngineConfig("scenes", "openai", base_url=server.url, batch_size=4))


def answers(server: Server, *wanted: Generate) -> list[Reply | RowError]:
    engine = connect(server)
    for ticket, one in enumerate(wanted):
        engine.submit(ticket, one)
    replies: dict[int, Reply | RowError] = {}
    while got := engine.collect():
        replies |= dict(got)
    return [replies[ticket] for ticket in range(len(wanted))]


def test_an_answer_comes_back_whole(server: Server) -> None:
    (reply,) = answers(server, request())
    assert reply == Completion("".join(ANSWER), "eos", 10, 0, 0)
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["top_p"], body["seed"]) == ("scenes", 0.5, 0.9, 2**63 - 1)
    ((picture, text),) = [message["content"] for message in body["messages"]]
    assert text == {"type": "text", "text": "What is there?"}
    assert np.array_equal(_pixels(picture), _pixels_of(tiny.picture(3).data))


def test_a_limit_is_told_from_an_end(server: Server) -> None:
    assert answers(server, request(tokens=4)) == [Completion("".join(ANSWER[:4]), "length", 4, 0, 0)]


def test_a_sentence_ends_where_the_one_function_says_and_the_stream_is_closed(server: Server) -> None:
    (reply,) = answers(server, request("sentence", "There is a "))
    assert isinstance(reply, Completion)
    assert (reply.text, reply.finish) == (" blue square on the left.", "stop")
    assert reply.tokens < len(ANSWER)
    (body,) = server.bodies
    assert body["messages"][-1] == {"role": "assistant", "content": "There is a"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_noise_on_pixels_is_added_before_a_picture_is_sent(server: Server) -> None:
    answers(server, request(view=View(noise_steps=400, noise_space="pixel-clamp", noise_seed=5)))
    sent = _pixels(server.bodies[0]["messages"][0]["content"][0])
    seed = seeds.derive(5, "", 0, "image")
    assert np.array_equal(sent, visibility.add_pixel_noise(_pixels_of(tiny.picture(3).data), 400, seed, "pixel-clamp"))


def test_what_a_server_cannot_be_given_is_refused(server: Server) -> None:
    engine = connect(server)
    with pytest.raises(UsageError, match="no image token can be masked"):
        engine.submit(0, request(view=View(rho=0.9)))
    with pytest.raises(UsageError, match="pixel-clamp"):
        engine.submit(0, request(view=View(noise_steps=3)))
    server.owner = "somebody"
    with pytest.raises(UsageError, match="--no-guidance"):
        connect(server).submit(0, request("sentence", "There is"))
    assert server.bodies == []


def test_a_request_that_is_refused_costs_its_row_alone(server: Server) -> None:
    server.status = 400
    replies = answers(server, request(), request())
    assert [getattr(reply, "reason", None) for reply in replies] == ["SERVER_REFUSED"] * 2
    assert "the prompt is too long" in str(replies[0])


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_server_that_fails_ends_the_run(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(ModelUnreachable, match="the prompt is too long"):
        answers(server, request())


def test_a_connection_that_breaks_within_an_answer_ends_the_run(server: Server) -> None:
    server.breaks = True
    with pytest.raises(ModelUnreachable, match="failed"):
        answers(server, request())


def test_the_server_is_asked_before_anything_is_sent(server: Server) -> None:
    with pytest.raises(ModelUnreachable, match="does not serve 'other'; it serves scenes"):
        OpenAIEngine.connect(EngineConfig("other", "openai", base_url=server.url))
    with pytest.raises(ModelUnreachable, match="no OpenAI-compatible server answers"):
        OpenAIEngine.connect(EngineConfig("scenes", "openai", base_url="http://127.0.0.1:9"))


def _pixels(part: dict[str, Any]) -> Any:
    return _pixels_of(base64.b64decode(part["image_url"]["url"].removeprefix("data:image/png;base64,")))


def _pixels_of(data: bytes) -> Any:
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match=r"\$OPENAI_API_KEY holds characters") as refused:
        OpenAIEngine.connect(EngineConfig("m", "openai", base_url="http://127.0.0.1:9/v1"))
    assert key not in str(refused.value)
    with pytest.raises(UsageError, match=r"\$OPENAI_API_KEY holds characters"):
        api_key(JudgeConfig("m"))
