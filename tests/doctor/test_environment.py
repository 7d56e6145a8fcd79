from __future__ import annotations

import importlib.metadata
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from prefgen.doctor import environment


class Api(BaseHTTPRequestHandler):
    """Lists a model under /v1 to who has the key, and answers a Hub's question."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            allowed = self.headers.get("Authorization") == "Bearer good"
            self.reply(200 if allowed else 401, {"data": [{"id": "judge"}]})
        elif self.path.startswith("/api/models"):
            self.reply(200, [])
        elif self.path == "/page/models":
            self.reply(200, "a page")
        else:
            self.reply(404, {})

    def reply(self, status: int, content: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        return f"http://127.0.0.1:{server.server_address[1]}"


def test_a_judge_is_asked_for_its_models(api: str) -> None:
    found = environment.judge({"OPENAI_BASE_URL": f"{api}/v1/", "OPENAI_API_KEY": "good"})
    assert (found.level, found.text) == ("ok", f"{api}/v1/models lists 1 models")


@pytest.mark.parametrize(
    ("path", "key", "text", "advice"),
    [
        ("/v1", "bad", "answers 401", "OPENAI_API_KEY"),
        ("", "good", "answers 404", "ends in /v1"),
        ("/page", "good", "does not answer with a list of models", "ends in /v1"),
    ],
)
def test_what_is_wrong_with_a_judge_is_told_apart(api: str, path: str, key: str, text: str, advice: str) -> None:
    found = environment.judge({"OPENAI_BASE_URL": api + path, "OPENAI_API_KEY": key})
    assert found.level == "broken"
    assert text in found.text
    assert advice in found.advice
    assert key not in found.text + found.advice


def test_a_judge_that_is_not_there_is_broken_only_if_one_was_asked_for(nobody: str) -> None:
    assert environment.judge({"OPENAI_BASE_URL": nobody}).level == "broken"
    assert environment.judge({}).level == "note"


def test_the_hub_is_asked_unless_it_is_to_be_left_alone(api: str, nobody: str) -> None:
    assert environment.hub({"HF_ENDPOINT": api}).level == "ok"
    assert environment.hub({"HF_ENDPOINT": nobody}).level == "warning"
    offline = environment.hub({"HF_ENDPOINT": nobody, "HF_HUB_OFFLINE": "1"})
    assert offline.level == "note"
    assert "HF_HUB_OFFLINE" in offline.text


def test_versions_that_clash_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.clashes(["prefgen", "torch", "transformers"]) == []
    wanted = {"transformers": ["numpy<1", "torch>=1", "unheard-of>=3", "pillow<1; extra == 'vision'"]}
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted.get(name))
    (clash,) = environment.clashes(["transformers", "torch"])
    assert clash.level == "warning"
    assert clash.text == f"transformers needs numpy<1, installed is {importlib.metadata.version('numpy')}"
    assert clash.advice == "pip install 'numpy<1'"


def test_an_output_that_cannot_be_written_is_broken_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert environment.writable(tmp_path / "new" / "out").level == "ok"
    assert environment.writable(tmp_path / "file" / "out").level == "broken"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
