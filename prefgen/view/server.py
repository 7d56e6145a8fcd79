"""The page over all rows, served to this machine only.

The address holds a random token, so another user or a page of another site cannot guess it; a request that names
another host (a rebound DNS name) or comes from another origin is refused.
"""

from __future__ import annotations

import json
import secrets
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
_BODY_MAX = 4096  # bytes of a vote


class Server(ThreadingHTTPServer):
    """Serves one data set on 127.0.0.1.

    Raises:
        UsageError: if there are no pairs in `out`.
        EnvironmentFault: if the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, out: Path, port: int = 0) -> None:
        self.collection = Collection(out)
        self.votes = Votes(Layout(out).state / "votes.csv")
        self.token = secrets.token_urlsafe(16)
        self.votes.current()  # a file that is none of ours is refused now, not at the first vote
        data = {"live": True, "rows": [], "pageRows": PAGE_ROWS}
        self.page: Page = render(out, self.collection, data)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise EnvironmentFault(f"port {port} of 127.0.0.1 cannot be had ({error}): give another --port") from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up while it is answered is no error; everything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        """What to open in a browser; whoever knows it can look and vote."""
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
        """Say nothing: what is looked at is nobody's business, and the address holds the token."""

    def _answer(self, respond: Callable[[str, dict[str, str]], None]) -> None:
        """Check who asks, then answer; what is wrong with a request is its sender's to mend."""
        place = urlsplit(self.path)
        _, token, *rest = [*place.path.split("/", 2), ""][:3]
        origin = self.headers.get("Origin", f"http://{self.server.host}")
        known = self.headers.get("Host") == self.server.host and origin == f"http://{self.server.host}"
        if not known or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self.close_connection = True  # the body of a POST, if any, is not read
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            return
        try:
            respond(rest[0], {name: values[-1] for name, values in parse_qs(place.query).items()})
        except EnvironmentFault as error:
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, error)
        except (PrefgenError, ValueError, LookupError, TypeError) as error:
            self._fail(HTTPStatus.BAD_REQUEST, error)

    def _get(self, name: str, asked: dict[str, str]) -> None:
        collection = self.server.collection
        if name == "":
            self._send(HTTPStatus.OK, self.server.page.html.encode(), "text/html; charset=utf-8")
        elif name == "rows":
            positions = collection.select(_query(asked))
            start = max(int(asked.get("start", 0)), 0)
            count = min(int(asked.get("count", PAGE_ROWS)), _ROWS_MAX)
            shown = [present(collection, position, _address) for position in positions[start : start + count].tolist()]
            self._json({"found": len(positions), "rows": shown})
        elif name == "votes":
            self._json(self.server.votes.current())
        elif name == "image":
            row, place, noisy = int(asked["row"]), int(asked["place"]), asked.get("noisy") == "1"
            if place < 0:
                raise IndexError(place)
            content = picture(collection, row, place, noisy=noisy, side=_SIDE)
            self._send(HTTPStatus.OK, content, "image/webp", cache="private, max-age=3600")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")

    def _post(self, name: str, asked: dict[str, str]) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if name != "votes" or not 0 < length <= _BODY_MAX:
            self.close_connection = True
            raise UsageError(f"no vote of {length} bytes is taken at {name!r}")
        vote = json.loads(self.rfile.read(length))
        row = self.server.collection.row(int(vote["position"]))
        blind, rejected_first = vote["blind"] is True, vote["rejectedFirst"] is True
        self.server.votes.add(
            row["id"], row["source_id"], str(vote["vote"]), blind=blind, rejected_first=rejected_first
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


def _query(asked: dict[str, str]) -> Query:
    names = {field.name for field in fields(Query)} - {"low", "high", "descending"}
    low, high = (float(asked[name]) if asked.get(name) else None for name in ("low", "high"))
    texts = {name: text for name, text in asked.items() if name in names}
    return Query(**texts, low=low, high=high, descending=asked.get("descending") == "1")
