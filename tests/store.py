"""Object stores on loopback: a real server of S3's protocol (moto), and web servers with a fault each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3() -> Iterator[Any]:
    """A server with an empty bucket ``bucket``; the environment leads to it. Gives a file system that writes to it."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # what an earlier one left
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_MAX_ATTEMPTS": "1"}.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        fs = S3FileSystem()
        fs.mkdir("bucket")
        yield fs
        S3FileSystem.clear_instance_cache()
    server.stop()


class Web:
    """A web server of files. A context manager; `url` is its root.

    Attributes:
        files: content by path. ranges: whether parts of a file are given.
        cuts: the next responses end after such a share of their bytes each.
        status: answer everything with it, unless it is 0.
        moved: by path, where a redirect leads.
    """

    def __init__(self, files: dict[str, bytes], *, ranges: bool = True) -> None:
        self.files, self.ranges = files, ranges
        self.status = self.requests = 0
        self.cuts: list[float] = []
        self.moved: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Files,), {"web": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Web:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Files(BaseHTTPRequestHandler):
    web: Web

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.web.requests += 1
        path = self.path.partition("?")[0]
        if path in self.web.moved:
            self.send_response(302)
            self.send_header("Location", self.web.moved[path])
            self.end_headers()
            return
        if self.web.status or path not in self.web.files:
            self.send_error(self.web.status or 404)
            return
        content = self.web.files[path]
        asked = self.headers.get("Range") if self.web.ranges else None
        start = int(asked.partition("=")[2].partition("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hash(content)}"')
        self.end_headers()
        if body:
            self._send(content[start:])

    def _send(self, content: bytes) -> None:
        if self.web.cuts and len(content) > 1000:
            content = content[: int(len(content) * self.web.cuts.pop(0))]
            self.close_connection = True
        self.wfile.write(content)
