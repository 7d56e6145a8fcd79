from __future__ import annotations

import http.client
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import PIL.Image
import pytest

from prefgen.errors import EnvironmentFault
from prefgen.view.server import Server
from tests.view.sets import mixed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(mixed(tmp_path / "out")) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: Server, path: str, body: object = None, token: str | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(server.host, timeout=10)
    content = None if body is None else json.dumps(body).encode()
    connection.request(
        "GET" if body is None else "POST", f"/{server.token if token is None else token}/{path}", content, headers
    )
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.msg
    connection.close()
    return found


def rows(server: Server, path: str) -> dict[str, Any]:
    status, body, _ = ask(server, path)
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def test_the_page_comes_with_its_policy(server: Server) -> None:
    status, body, headers = ask(server, "")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"12 pairs" in body
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data: 'self'; connect-src 'self'; style-src 'sha256-")
    assert policy.endswith("frame-ancestors 'none'")
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_rows_in_pages_filtered_and_sorted(server: Server) -> None:
    page = rows(server, "rows?start=10&count=5")
    assert (page["found"], [row["position"] for row in page["rows"]]) == (12, [10, 11])
    page = rows(server, "rows?flag=similar&sort=similarity&descending=0&low=0.1&high=&count=1")
    assert (page["found"], [row["position"] for row in page["rows"]]) == (3, [8])
    assert rows(server, f"rows?search={quote('zebra')}")["found"] == 1


def test_pictures(server: Server) -> None:
    status, body, headers = ask(server, rows(server, "rows")["rows"][0]["images"][0]["plain"])
    assert (status, headers["Content-Type"]) == (200, "image/webp")
    assert PIL.Image.open(io.BytesIO(body)).size == (4, 3)


@pytest.mark.parametrize(
    "path",
    ["rows?sort=x", "rows?low=a", "image?row=99&place=0", "image?row=0&place=7", "image?row=0&place=-1", "image?row=0"],
)
def test_bad_questions_get_a_reason(server: Server, path: str) -> None:
    status, body, _ = ask(server, path)
    assert status == 400
    assert json.loads(body)["error"]


@pytest.mark.parametrize("path", ["other", "../../etc/passwd", "rows/x"])
def test_unknown_places(server: Server, path: str) -> None:
    assert ask(server, path)[0] == 404


def test_whoever_does_not_know_the_token_gets_nothing(server: Server) -> None:
    for token in ("", "x", server.token[:-1], "ü"):
        assert ask(server, "rows", token=quote(token))[0] == 404
    assert ask(server, "rows", Host="evil.example:80")[0] == 404
    assert ask(server, "rows", Origin="http://evil.example")[0] == 404
    assert ask(server, "votes", {"position": 0, "vote": "good"}, Origin="null")[0] == 404
    assert not server.votes.path.exists()


def test_votes_reach_the_file(server: Server) -> None:
    vote = {"position": 5, "vote": "bad", "blind": True, "rejectedFirst": True}
    assert ask(server, "votes", vote, Origin=f"http://{server.host}")[0] == 200
    assert server.votes.current() == rows(server, "votes") == {f"{5:016x}": "bad"}
    assert "yes,rejected first" in server.votes.path.read_text()


@pytest.mark.parametrize(
    "body", [{}, [], "x", {"position": 99, "vote": "good", "blind": False, "rejectedFirst": False}, {"x": "y" * 5000}]
)
def test_bad_votes_are_refused(server: Server, body: object) -> None:
    assert ask(server, "votes", body)[0] == 400
    assert not server.votes.path.exists()


def test_it_listens_to_this_machine_only(server: Server, tmp_path: Path) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(EnvironmentFault, match="give another --port"):
        Server(tmp_path / "out", port=int(server.server_address[1]))
