"""Requests and replies as they go over the wire: the OpenAI Chat Completions format, read strictly."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from prefgen import images
from prefgen.records import Image, Turn
from prefgen.requests import Chat, Message

_MIME = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}
Format = Literal["json_schema", "json_object", "text"]
_FORMATS: tuple[Format, ...] = ("json_schema", "json_object", "text")


class Malformed(Exception):
    """A reply that is not of the agreed form. Its message says why, without the reply's content."""


@dataclass(frozen=True)
class Dialect:
    """What a server understands of the format.

    Attributes:
        format: how a schema is imposed; ``text`` leaves it to the prompt.
        limit: what the limit of tokens is called. seed, sampling: whether those options are taken.
    """

    format: Format = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: bool = True
    sampling: bool = True

    def without(self, complaint: str) -> Dialect:
        """The dialect of a server that rejected this one with these words; the same if they are about nothing of it."""
        format_, limit, seed, sampling = self.format, self.limit, self.seed, self.sampling
        if "max_completion_tokens" in complaint:
            limit = "max_completion_tokens"
        elif any(word in complaint for word in ("response_format", "json_schema", "json_object")):
            format_ = _FORMATS[min(_FORMATS.index(format_) + 1, len(_FORMATS) - 1)]
        elif "temperature" in complaint or "top_p" in complaint:
            sampling = False
        elif "seed" in complaint:
            seed = False
        return Dialect(format_, limit, seed, sampling)


def key(request: Chat, model: str) -> str:
    """What a reply is kept under: a digest of the question and whom it was put to, whatever the dialect."""
    asked = {
        "model": model,
        "turns": [
            [turn.role, [part if isinstance(part, str) else None for part in turn.parts]] for turn in request.turns
        ],
        "images": [image.sha256 for image in request.images],
        "schema": request.schema,
        "sampling": vars(request.sampling),
        "seed": request.seed,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def body(request: Chat, model: str, dialect: Dialect) -> dict[str, Any]:
    """The body of a request."""
    pictures = iter(request.images)
    made: dict[str, Any] = {
        "model": model,
        "messages": [_message(turn, pictures) for turn in request.turns],
        dialect.limit: request.sampling.max_new_tokens,
    }
    if dialect.sampling:
        made |= {"temperature": request.sampling.temperature, "top_p": request.sampling.top_p}
    if dialect.seed:
        made["seed"] = request.seed % 2**31
    if request.schema and dialect.format == "json_schema":
        schema = {"name": "reply", "strict": True, "schema": json.loads(request.schema)}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif request.schema and dialect.format == "json_object":
        made["response_format"] = {"type": "json_object"}
    return made


def _message(turn: Turn, pictures: Iterator[Image]) -> dict[str, Any]:
    if not turn.image_count:
        return {"role": turn.role, "content": _utf8(turn.text)}
    parts = [
        {"type": "text", "text": _utf8(part)}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": _data_url(next(pictures))}}
        for part in turn.parts
    ]
    return {"role": turn.role, "content": parts}


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _data_url(image: Image) -> str:
    """The picture's own bytes where any server takes them as they are; else as an upright PNG."""
    data = image.data
    mime = next((mime for magic, mime in _MIME.items() if data.startswith(magic)), "")
    if not mime or b"Exif" in data[:4096]:
        sink = io.BytesIO()
        images.decode(image).save(sink, format="PNG")
        data, mime = sink.getvalue(), "image/png"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Usage:
    """Tokens that are charged."""

    prompt_tokens: int
    tokens: int


def read(content: bytes, bound: Usage) -> tuple[Message, Usage | None, str]:
    """What a server answered with status 200.

    Args:
        bound: what the request can have used at most.

    Returns:
        The message; the usage, or None if it states none that can be true; the name of the model that answered.

    Raises:
        Malformed: if there is no answer in it.
    """
    try:
        reply = json.loads(content, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{len(content):,} bytes that are no JSON") from error
    try:
        (choice, *_) = reply["choices"]
        message, finish = choice["message"], choice["finish_reason"]
        text, refusal = message.get("content"), message.get("refusal")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("JSON without a choice and its message") from error
    if not isinstance(text, str | None) or not isinstance(refusal, str | None) or not isinstance(finish, str | None):
        raise Malformed("a choice whose fields are of other types than agreed")
    usage = _usage(reply.get("usage"), bound)
    told = usage or Usage(0, 0)
    if refusal:
        made = Message(refusal, "refusal", told.tokens, told.prompt_tokens)
    else:
        made = Message(text or "", finish or "", told.tokens, told.prompt_tokens)
    return made, usage, "".join(filter(str.isprintable, str(reply.get("model") or "")))[:200]


def _usage(stated: object, bound: Usage) -> Usage | None:
    if not isinstance(stated, dict):
        return None
    read, generated = stated.get("prompt_tokens"), stated.get("completion_tokens")
    if not isinstance(read, int) or not isinstance(generated, int):
        return None
    if not 0 < read <= bound.prompt_tokens or not 0 <= generated <= bound.tokens:
        return None
    return Usage(read, generated)


def same_model(asked: str, answered: str) -> bool:
    """Whether a reply comes from the model that was asked for: by its name, or by the name of a snapshot of it."""
    return not answered or answered == asked or answered.startswith(f"{asked}-")


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
