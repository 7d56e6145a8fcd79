"""Rule-made corruption: a chat server on loopback that knows the grammar, where the paper has GPT-4.

    python examples/scenes/scene_corrupt.py --port 8765
    prefgen corrupt --input rows.json --judge rules --base-url http://127.0.0.1:8765/v1 --reply text --output corrupted

Like the paper's judge it is shown question and answer, never the picture. It changes one fact so that a complete
caption becomes false: a kind, a colour, a number, an action or a surface gives way to another, or a sentence about what
usually comes along is added. All draws come from the marker that `prefgen corrupt` sets around an answer; same run,
same text.
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
from scene_edits import exchanged

from prefgen.evaluate.scenes.claims import SceneClaim, kinds_in, read
from prefgen.evaluate.scenes.sample import BONDS
from prefgen.evaluate.scenes.truth import KINDS, PLACES

Sections = Mapping[str, str]
"""Sections of a prompt of prefgen, between marker lines, by name: question, answer …; `fence`; a `picture`'s digest."""

_FENCE = re.compile(r"^--- ([0-9a-f]{16}) end", re.MULTILINE)
_CHANGED = ("exists", "colour", "count", "action", "surface")


def corrupt(answer: str, rng: np.random.Generator) -> str:
    """A caption that says something false of every picture of which `answer` is a true and complete caption.

    Raises:
        ValueError: the answer names no kind of thing.
    """
    mentioned = kinds_in(answer)
    if not mentioned:
        raise ValueError(f"no kind of thing in {answer!r}")
    for number in rng.permutation(1 + len(_CHANGED)):
        changed = _add_partner(answer, mentioned, rng) if not number else _change(answer, _CHANGED[number - 1], rng)
        if changed != answer:
            return changed
    raise ValueError(f"nothing to change in {answer!r}")


def _add_partner(answer: str, mentioned: frozenset[str], rng: np.random.Generator) -> str:
    """The answer with a sentence about what goes together with something in it, and is absent."""
    places = _places(answer)
    options = [
        (other, word, kind)
        for bond in BONDS
        if not bond.places or places & {*bond.places}
        for other, kind, words in (
            (bond.first, bond.second, bond.words),
            (bond.second, bond.first, ("beside",)),
        )
        if kind in mentioned and other not in mentioned
        for word in words or ("beside",)
    ]
    if not options:
        return answer
    other, word, kind = _choice(rng, options)
    colour = KINDS[other].colours[0]
    article = "an" if colour[0] in "aeiou" else "a"
    plural = re.search(rf"\b{KINDS[kind].plural}\b", answer, re.IGNORECASE)
    return f"{answer} There is {article} {colour} {other} {word} the {KINDS[kind].plural if plural else kind}."


def _places(answer: str) -> set[str]:
    """Places that an answer can be about, by what it says of the place and of surfaces."""
    told = read(answer)
    surfaces = {claim.value for claim in told if claim.attribute == "surface"}
    named = {claim.value for claim in told if claim.attribute == "place"}
    return named or {name for name, place in PLACES.items() if surfaces <= {*place.surfaces}}


def _change(answer: str, attribute: str, rng: np.random.Generator) -> str:
    """The answer with another value for one of its claims about an attribute."""
    claims = [claim for claim in sorted(read(answer)) if claim.attribute == attribute]
    for number in rng.permutation(len(claims)):
        if options := _others(answer, claims[number]):
            changed = exchanged(answer, claims[number], _choice(rng, options))
            if not read(changed) <= read(answer):
                return changed
    return answer


def _others(answer: str, claim: SceneClaim) -> list[str]:
    """Other values of a claim, of the kind that one would believe."""
    kind = KINDS[claim.subject]
    match claim.attribute:
        case "exists":
            absent = [each for each in KINDS.values() if each.name not in kinds_in(answer)]
            alike = [each for each in absent if each.category == kind.category] or absent
            return [each.name for each in alike]
        case "count":
            return [number for number in "234" if number != claim.value]
        case "surface":
            surfaces = [surface for name in sorted(_places(answer)) for surface in PLACES[name].surfaces]
            return [surface for surface in dict.fromkeys(surfaces) if surface != claim.value]
        case _:
            values = kind.colours if claim.attribute == "colour" else kind.actions
            return [value for value in values if value != claim.value]


def _choice(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def reply(sections: Sections) -> str:
    """The corrupted answer; as it was where there is nothing to change, which prefgen drops."""
    try:
        return corrupt(sections["answer"], np.random.default_rng(int(sections["fence"], 16)))
    except ValueError:
        return sections["answer"]


def sections_of(text: str) -> Sections:
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
        sections = dict(sections_of("".join(part.get("text", "") for part in parts)))
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
