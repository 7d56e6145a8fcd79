"""A Hugging Face Hub on loopback: as much of it as uploading a data set asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_made_up"


class Hub:
    """Holds the files of one data set. A context manager; `url` is its endpoint."""

    def __init__(self) -> None:
        self.private: bool | None = None  # None: there is no repository yet
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}  # large files, by SHA-256
        self.commits = 0
        self.uploads = 0
        self.failing = 0  # so many uploads of large files are refused
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def listing(self, folder: str) -> list[dict[str, Any]]:
        """The files and folders of a folder, as the Hub's API lists them."""
        found: dict[str, dict[str, Any]] = {}
        for path, content in self.files.items():
            if path.startswith(f"{folder}/" if folder else ""):
                start = f"{folder}/" if folder else ""
                name, below, _ = path[len(start) :].partition("/")
                oid = hashlib.sha1(content).hexdigest()
                entry = {"type": "directory" if below else "file", "oid": oid, "size": 0 if below else len(content)}
                found[name] = {**entry, "path": start + name}
        return list(found.values())

    def commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
        self.commits += 1


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if not path.startswith(("/datasets/me/pairs/", "/api/datasets/me/pairs")):
            self.answer(404, {"error": "Repository not found"})
            return
        if "/resolve/" in path:
            self.give(self.hub.files.get(path.split("/", 6)[6]))
            return
        if "/tree/" in path:
            self.answer(200, self.hub.listing(path.split("/tree/")[1].partition("/")[2]))
            return
        files = [{"rfilename": path} for path in self.hub.files]
        known = {"id": "me/pairs", "private": self.hub.private, "siblings": files, "sha": "0" * 40, "tags": []}
        self.answer(404 if self.hub.private is None else 200, known)

    def do_PUT(self) -> None:
        content, oid = self.body(), self.path.rsplit("/", 1)[-1]
        if self.hub.failing:
            self.hub.failing -= 1
            self.answer(403, {"error": "no room"})
            return
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.objects[oid] = content
        self.hub.uploads += 1
        self.answer(200, {})

    def do_POST(self) -> None:
        body = self.body()
        if self.path.startswith("/api") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, {"error": "who are you?"})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            there = self.hub.private is not None
            self.hub.private = self.hub.private if there else asked["visibility"] == "private"
            self.answer(409 if there else 200, {"url": f"{self.hub.url}/datasets/me/pairs"})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = [(path, "lfs" if path.endswith(".parquet") else "regular") for path in paths]
            files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]
            self.answer(200, {"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [self.large(file) for file in json.loads(body)["objects"]]
            self.answer(200, {"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")
        elif "/commit/" in self.path:
            self.hub.commit([json.loads(line) for line in body.splitlines()])
            self.answer(200, {"commitUrl": f"{self.hub.url}/datasets/me/pairs/commit/abc", "commitOid": "a" * 40})
        else:
            self.answer(404, {"error": self.path})

    def give(self, content: bytes | None) -> None:
        """A file's bytes, or those that are asked for."""
        asked = (self.headers.get("Range") or "").removeprefix("bytes=").partition("-")
        part = (content or b"")[int(asked[0] or 0) : int(asked[2]) + 1 if asked[2] else None]
        self.send_response(404 if content is None else 206 if asked[0] else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{hashlib.sha1(content or b"").hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def large(self, file: dict[str, Any]) -> dict[str, Any]:
        """A large file needs an upload unless its content is there."""
        action = {"upload": {"href": f"{self.hub.url}/put/{file['oid']}"}}
        return file if file["oid"] in self.hub.objects else {**file, "actions": action}

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer(self, status: int, value: object, kind: str = "application/json") -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
