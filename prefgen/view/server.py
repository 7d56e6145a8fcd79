"""The viewer's server of all rows, by default for this machine only.

The address holds a random token, so another user or a page of another site cannot guess it; a request that names
another host (a rebound DNS name) or comes from another origin is refused.
"""

from __future__ import annotations

import getpass
import ipaddress
import json
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import fields
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prefgen.errors import EnvironmentFault, PrefgenError, UsageError
from prefgen.rundir.layout import Layout
from prefgen.view.collection import Collection, Query
from prefgen.view.page import Page, render
from prefgen.view.present import picture, present
from prefgen.view.votes import Votes

PAGE_ROWS = 20
_ROWS_MAX = 100  # of one request
_SIDE = 640  # pixels of a picture
_FULL_SIDE = 4096  # of one that is looked at alone
_BODY_MAX = 4096  # bytes of a vote


class Server(ThreadingHTTPServer):
    """Serves one data set.

    Args:
        host: name or address to listen at.
        port: 0 takes a free one.

    Raises:
        UsageError: if there are no pairs in `out`.
        EnvironmentFault: if the host or port cannot be had.
    """

    daemon_threads = True

    def __init__(self, out: Path, port: int = 0, host: str = "127.0.0.1") -> None:
        self.collection = Collection(out)
        self.votes = Votes(Layout(out).state / "votes.csv")
        self.token = secrets.token_urlsafe(16)
        self.votes.current()  # a file that is none of ours is refused now, not at the first vote
        data = {"live": True, "rows": [], "pageRows": PAGE_ROWS}
        self.page: Page = render(out, self.collection, data)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            hint = "give another --port or --host"
            raise EnvironmentFault(f"port {port} of {host} cannot be had ({error}): {hint}") from error
        self.names = {"localhost", host, socket.gethostname(), socket.getfqdn()}
        self._host = socket.gethostname() if host in ("0.0.0.0", "") else host

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore closed connections and print other errors."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def host(self) -> str:
        """The address it listens at."""
        return f"{self._host}:{self.server_address[1]}"

    @property
    def tunnel(self) -> str:
        """The SSH command by which another machine can reach the page."""
        port = self.server_address[1]
        return f"ssh -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.gethostname()}"

    def knows(self, host: str) -> bool:
        """True if a request's `Host` is a name of this machine or an IP address, which cannot be rebound by DNS."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self.names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """The address to open; anyone who knows it can read and vote."""
        return f"http://{self.host}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "prefgen"
    sys_version = ""
    timeout = 60  # seconds a connection may idle

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the address holds the token."""

    def _answer(self, respond: Callable[[str, dict[str, str]], None]) -> None:
        """Check the request's origin, then answer; faulty requests get a client error."""
        path, _, query = self.path.partition("?")
        _, token, *rest = [*path.split("/", 2), ""][:3]
        host = self.headers.get("Host", "")
        known = self.server.knows(host) and self.headers.get("Origin", f"http://{host}") == f"http://{host}"
        if not known or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self.close_connection = True  # the body of a POST, if any, is not read
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            return
        try:
            respond(rest[0], {name: values[-1] for name, values in parse_qs(query).items()})
        except EnvironmentFault as error:
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, error)
        except (PrefgenError, ValueError, LookupError, TypeError) as error:
            self._fail(HTTPStatus.BAD_REQUEST, error)

    def _get(self, name: str, asked: dict[str, str]) -> None:
        collection = self.server.collection
        if name == "":
            self._send(HTTPStatus.OK, self.server.page.html.encode(), "text/html; charset=utf-8")
        elif name == "rows":
            query = _query(asked)
            positions = collection.select(query, self.server.votes.current() if query.vote else None)
            count = min(max(int(asked.get("count", PAGE_ROWS)), 1), _ROWS_MAX)
            start = max(int(asked.get("start", 0)), 0)
            if asked.get("id"):  # the page that this row is on; -1 where it is on none
                start = collection.page_of(asked["id"], positions, count)
            places = positions[start : start + count].tolist() if start >= 0 else []
            shown = [present(collection, position, _address) for position in places]
            self._json({"found": len(positions), "start": start, "rows": shown})
        elif name == "votes":
            self._json(self.server.votes.current())
        elif name == "image":
            row, place, noisy = int(asked["row"]), int(asked["place"]), asked.get("noisy") == "1"
            if place < 0:
                raise IndexError(place)
            side = _FULL_SIDE if asked.get("full") == "1" else _SIDE
            content = picture(collection, row, place, noisy=noisy, side=side)
            self._send(HTTPStatus.OK, content, "image/webp", cache="private, max-age=3600")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")

    def _post(self, name: str, asked: dict[str, str]) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if name != "votes" or not 0 < length <= _BODY_MAX:
            self.close_connection = True
            raise UsageError(f"no vote of {length} bytes is taken at {name!r}")
        vote = _vote(self.rfile.read(length))
        row = self.server.collection.row(vote["position"])
        self.server.votes.add(
            row["id"],
            row["source_id"],
            vote["vote"],
            blind=vote["blind"],
            rejected_first=vote["rejectedFirst"],
        )
        self._json({"votes": str(self.server.votes.path)})

    def _json(self, value: object) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), "application/json")

    def _fail(self, status: HTTPStatus, error: Exception) -> None:
        self._send(status, json.dumps({"error": str(error)}).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str, cache: str = "no-store") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", cache)
        policy = self.server.page.policy if kind.startswith("text/html") else "default-src 'none'"
        self.send_header("Content-Security-Policy", f"{policy}; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(content)


def _address(position: int, place: int, noisy: bool) -> str:
    return f"image?row={position}&place={place}&noisy={int(noisy)}"


def _vote(body: bytes) -> dict[str, Any]:
    """Parse a vote from the page.

    Raises:
        UsageError: if it is none.
    """
    wanted = {"position": int, "vote": str, "blind": bool, "rejectedFirst": bool}
    try:
        vote = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"a vote of {len(body)} bytes is no JSON: {error}") from error
    if not isinstance(vote, dict) or any(type(vote.get(name)) is not kind for name, kind in wanted.items()):
        raise UsageError(f"a vote has {', '.join(f'{name}: {kind.__name__}' for name, kind in wanted.items())}")
    return vote


def _query(asked: dict[str, str]) -> Query:
    names = {field.name for field in fields(Query)} - {"low", "high", "descending"}
    low, high = (float(asked[name]) if asked.get(name) else None for name in ("low", "high"))
    texts = {name: text for name, text in asked.items() if name in names}
    return Query(**texts, low=low, high=high, descending=asked.get("descending") == "1")
