from __future__ import annotations

import http.client
import io
import json
import socket
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
    server: Server, path: str, body: object = None, token: str | None = None, raw: bytes | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(server.host, timeout=10)
    content = raw if body is None else json.dumps(body).encode()
    connection.request(
        "GET" if content is None else "POST", f"/{server.token if token is None else token}/{path}", content, headers
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


@pytest.mark.parametrize("address", ["http://[::1/x", "//[", "x", "/%00", "\xff"])
def test_an_address_that_is_none_is_not_found_and_prints_nothing(
    address: str, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    port = server.server_address[1]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode("latin-1"))
        assert connection.recv(100).startswith(b"HTTP/1.1 404")
    assert capsys.readouterr().err == ""


def test_whoever_does_not_know_the_token_gets_nothing(server: Server) -> None:
    for token in ("", "x", server.token[:-1], "ü"):
        assert ask(server, "rows", token=quote(token))[0] == 404
    assert ask(server, "rows", Host="evil.example:80")[0] == 404
    assert ask(server, "rows", Origin="http://evil.example")[0] == 404
    assert ask(server, "votes", {"position": 0, "vote": "good"}, Origin="null")[0] == 404
    assert not server.votes.path.exists()


def test_names_of_this_machine_and_addresses_are_known(server: Server) -> None:
    for host in (f"localhost:{server.server_address[1]}", "127.0.0.1:9999", "localhost", "[::1]:80", "192.168.1.7:80"):
        assert ask(server, "rows", Host=host)[0] == 200
        assert ask(server, "rows", Host=host, Origin=f"http://{host}")[0] == 200
        assert ask(server, "rows", Host=host, Origin="http://evil.example")[0] == 404
    for host in ("", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "x:y:z"):
        assert ask(server, "rows", Host=host)[0] == 404, host
    port = server.server_address[1]
    assert server.tunnel.startswith(f"ssh -L {port}:127.0.0.1:{port} ")


def test_rows_by_vote_source_licence_and_id(server: Server) -> None:
    vote = {"position": 5, "vote": "bad", "blind": False, "rejectedFirst": False}
    assert ask(server, "votes", vote)[0] == 200
    found = {name: rows(server, f"rows?vote={name}")["found"] for name in ("bad", "good", "any", "none", "")}
    assert found == {"bad": 1, "good": 0, "any": 1, "none": 11, "": 12}
    (source,) = {row["source"] for row in rows(server, "rows")["rows"]}
    assert rows(server, f"rows?source={quote(source)}")["found"] == 12
    assert rows(server, "rows?source=other")["found"] == rows(server, "rows?licence=mit")["found"] == 0
    paged = rows(server, f"rows?count=5&id={7:016x}")
    assert (paged["start"], [row["position"] for row in paged["rows"]]) == (5, [5, 6, 7, 8, 9])
    assert rows(server, "rows?id=nothing") == {"found": 12, "start": -1, "rows": []}
    assert rows(server, f"rows?search=zebra&id={7:016x}")["start"] == -1


def test_a_picture_in_full_size(server: Server) -> None:
    small, full = (PIL.Image.open(io.BytesIO(ask(server, f"image?row=0&place=0{more}")[1])) for more in ("", "&full=1"))
    assert small.size == full.size == (4, 3)


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


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 4000,
        b'{"position": 1e400, "vote": "good", "blind": false, "rejectedFirst": false}',
        b'{"position": NaN, "vote": "good", "blind": false, "rejectedFirst": false}',
        b'{"position": 1.5, "vote": "good", "blind": false, "rejectedFirst": false}',
        b'{"position": true, "vote": "good", "blind": false, "rejectedFirst": false}',
        b'{"position": 1, "vote": ["good"], "blind": 1, "rejectedFirst": false}',
        b'{"position": 1' + b"0" * 4000 + b"}",
        b"\xff\xfe",
    ],
)
def test_hostile_votes_are_refused_and_the_next_is_taken(server: Server, content: bytes) -> None:
    status, body, _ = ask(server, "votes", raw=content)
    assert status == 400
    assert "a vote" in json.loads(body)["error"]
    assert ask(server, "votes", {"position": 1, "vote": "tie", "blind": False, "rejectedFirst": False})[0] == 200
    assert server.votes.current() == {f"{1:016x}": "tie"}


def test_it_listens_to_this_machine_only(server: Server, tmp_path: Path) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(EnvironmentFault, match="give another --port"):
        Server(tmp_path / "out", port=int(server.server_address[1]))
