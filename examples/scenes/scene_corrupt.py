"""Rule-made corruption: a chat server on loopback that knows the grammar, where the paper has GPT-4.

    python examples/scenes/scene_corrupt.py --port 8765
    prefgen corrupt --input rows.json --judge rules --base-url http://127.0.0.1:8765/v1 --reply text --output corrupted

Like the paper's judge it is shown question and answer, never the picture. It changes one fact so that a complete
caption becomes false: a shape, a colour, a place or a number gives way to another, or a sentence about the partner of a
shape is added. All draws come from the marker that `prefgen corrupt` sets around an answer; same run, same text.
"""

import argparse
import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from prefgen.evaluate.scenes.metrics import cells_in, shapes_in
from prefgen.evaluate.scenes.text import NUMBERS, PLACES, thing_sentence
from prefgen.evaluate.scenes.world import CELLS, COLOURS, FAVOURITE, PARTNER, PLURAL, SHAPES, Thing

Sections = Mapping[str, str]
"""Sections of a prompt of prefgen, between marker lines, by name: question, answer …; `fence`; a `picture`'s digest."""

_FENCE = re.compile(r"^--- ([0-9a-f]{16}) end", re.MULTILINE)
_SHAPE = re.compile(rf"\b({'|'.join(SHAPES)})(es|s)?\b", re.IGNORECASE)
_COLOUR = re.compile(rf"\b({'|'.join(COLOURS)})\b", re.IGNORECASE)
_PLACE = re.compile(
    "|".join(sorted((name for names in PLACES for name in names), key=len, reverse=True)), re.IGNORECASE
)
_TOTAL = re.compile(rf"\b({'|'.join(NUMBERS[2:])})(?= objects\b)", re.IGNORECASE)


def corrupt(answer: str, rng: np.random.Generator) -> str:
    """A caption that says something false of every picture of which `answer` is a true and complete caption.

    Raises:
        ValueError: the answer names no shape.
    """
    mentioned = shapes_in(answer)
    if not mentioned:
        raise ValueError(f"no shape in {answer!r}")
    changes = [_add_partner, _change_shape, _change_colour, _change_place, _change_total]
    for number in rng.permutation(len(changes)):
        changed: str = changes[number](answer, mentioned, rng)
        if changed != answer:
            return changed
    raise ValueError(f"nothing to change in {answer!r}")


def _add_partner(answer: str, mentioned: frozenset[str], rng: np.random.Generator) -> str:
    absent = [PARTNER[shape] for shape in SHAPES if shape in mentioned and PARTNER[shape] not in mentioned]
    free = [cell for cell in range(CELLS) if cell not in cells_in(answer)]
    if not absent or not free:
        return answer
    shape = _choice(rng, absent)
    return f"{answer} {thing_sentence(Thing(shape, FAVOURITE[shape], (_choice(rng, free),)), rng)}"


def _change_shape(answer: str, mentioned: frozenset[str], rng: np.random.Generator) -> str:
    new = _choice(rng, [shape for shape in SHAPES if shape not in mentioned])
    found = _choice(rng, list(_SHAPE.finditer(answer)))
    return _put(answer, found, PLURAL[new] if found[2] else new)


def _change_colour(answer: str, mentioned: frozenset[str], rng: np.random.Generator) -> str:
    return _exchange(answer, _COLOUR, COLOURS, rng)


def _change_place(answer: str, mentioned: frozenset[str], rng: np.random.Generator) -> str:
    free = [cell for cell in range(CELLS) if cell not in cells_in(answer)]
    return _exchange(answer, _PLACE, [name for cell in free for name in PLACES[cell]], rng) if free else answer


def _change_total(answer: str, mentioned: frozenset[str], rng: np.random.Generator) -> str:
    return _exchange(answer, _TOTAL, NUMBERS[2:], rng)


def _exchange(answer: str, pattern: re.Pattern[str], words: Any, rng: np.random.Generator) -> str:
    found = list(pattern.finditer(answer))
    if not found:
        return answer
    old = _choice(rng, found)
    return _put(answer, old, _choice(rng, [word for word in words if word != old[0].lower()]))


def _put(answer: str, old: re.Match[str], new: str) -> str:
    new = new[0].upper() + new[1:] if old[0][0].isupper() else new
    return answer[: old.start()] + new + answer[old.end() :]


def _choice(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def reply(sections: Sections) -> str:
    """The corrupted answer; as it was where there is nothing to change, which prefgen drops."""
    try:
        return corrupt(sections["answer"], np.random.default_rng(int(sections["fence"], 16)))
    except ValueError:
        return sections["answer"]


def read(text: str) -> Sections:
    """The sections of a request.

    Raises:
        ValueError: it has none.
    """
    end = _FENCE.search(text)
    if not end:
        raise ValueError(f"no marker lines in {text!r}")
    names = re.split(rf"^--- {end[1]} (.+)\n", text[: end.start()], flags=re.MULTILINE)[1:]
    return {**dict(zip(names[::2], (each.strip() for each in names[1::2]), strict=True)), "fence": end[1]}


class _Server(ThreadingHTTPServer):
    def __init__(self, port: int, replies: Callable[[Sections], str]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.replies = replies


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Answer one request for a chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"]
        parts: list[Any] = [{"text": content}] if isinstance(content, str) else content
        sections = dict(read("".join(part.get("text", "") for part in parts)))
        for url in (part["image_url"]["url"] for part in parts if "image_url" in part):
            sections["picture"] = hashlib.sha256(base64.b64decode(url.partition(",")[2])).hexdigest()
        said = self.server.replies(sections)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        usage = {"prompt_tokens": len(json.dumps(content).split()), "completion_tokens": len(said.split())}
        usage["total_tokens"] = sum(usage.values())
        sent = {"id": "rules", "object": "chat.completion", "created": 0, "model": body["model"]}
        sent_bytes = json.dumps({**sent, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent_bytes)))
        self.end_headers()
        self.wfile.write(sent_bytes)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(port: int = 0, replies: Callable[[Sections], str] = reply) -> Iterator[str]:
    """The server, for as long as the context lasts; its base URL."""
    server = _Server(port, replies)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765)
    with serving(parser.parse_args().port) as url:
        print(f"{url}, until Ctrl-C")
        threading.Event().wait()


if __name__ == "__main__":
    main()
