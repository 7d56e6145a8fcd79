"""Requests and replies in the OpenAI Chat Completions format, validated strictly."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from prefgen import images
from prefgen.engines.chat.config import JudgeConfig
from prefgen.records import Image, Turn
from prefgen.requests import Chat, Message

_MIME = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}
Format = Literal["json_schema", "json_object", "prompt", "plain"]
FORMATS: tuple[Format, ...] = ("json_schema", "json_object", "prompt", "plain")
_REMINDER = "Reply with one JSON object and nothing else, valid under this JSON schema: "
HIDDEN_MOST = 1_000_000  # tokens of reasoning; more is no true count
REMINDER_BYTES = len(_REMINDER) + 2
_STOPPED = {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed", "end", "finished"}
_CUT = {"length", "max_tokens", "max_output_tokens", "max_completion_tokens", "model_length"}
_FILTERED = {"content_filter", "safety", "blocked", "prohibited_content", "recitation"}


class Malformed(Exception):
    """A reply of another form. The message says why, without the reply's content."""


class Failed(Exception):
    """An error reported with status 200: the server's message, and the status it means, if known."""

    def __init__(self, words: str, status: int | None) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Dialect:
    """The parts of the format that a server supports.

    Attributes:
        format: how a schema is imposed; ``prompt`` asks for JSON in the prompt alone, ``plain`` for none.
        limit: what the limit of tokens is called.
        seed, sampling: whether those options are taken.
    """

    format: Format = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: bool = True
    sampling: bool = True

    def without(self, complaint: str) -> Dialect:
        """The dialect that a rejection with this message calls for; the same if the message is about something else."""
        format_, limit, seed, sampling = self.format, self.limit, self.seed, self.sampling
        if "reasoning_effort" in complaint:
            return self  # the user's choice: report the rejection
        if "max_completion_tokens" in complaint:
            limit = "max_completion_tokens"
        elif any(word in complaint for word in ("response_format", "json_schema", "json_object")):
            format_ = FORMATS[min(FORMATS.index(format_) + 1, FORMATS.index("prompt"))]
        elif "temperature" in complaint or "top_p" in complaint:
            sampling = False
        elif "seed" in complaint:
            seed = False
        return Dialect(format_, limit, seed, sampling)


def key(request: Chat, config: JudgeConfig) -> str:
    """The ledger key of a reply: a digest of the question and the judge, independent of the dialect."""
    asked = {
        "model": config.model,
        "turns": [
            [turn.role, [part if isinstance(part, str) else None for part in turn.parts]] for turn in request.turns
        ],
        "images": [image.sha256 for image in request.images],
        "schema": request.schema,
        "sampling": vars(request.sampling),
        "seed": request.seed,
        **({"reasoning_effort": config.reasoning_effort} if config.reasoning_effort else {}),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def body(request: Chat, config: JudgeConfig, dialect: Dialect) -> dict[str, Any]:
    """The body of a request."""
    pictures = iter(request.images)
    made: dict[str, Any] = {
        "model": config.model,
        "messages": [_message(turn, pictures) for turn in _turns(request, dialect.format)],
        dialect.limit: request.sampling.max_new_tokens + config.hidden_tokens,
    }
    if config.reasoning_effort:
        made["reasoning_effort"] = config.reasoning_effort
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


def _turns(request: Chat, format_: Format) -> tuple[Turn, ...]:
    """The messages of a request, for a server that takes the schema in this form."""
    if not request.schema or format_ == "json_schema":
        return request.turns
    if format_ == "plain":
        return request.plain or request.turns
    first, *rest = request.turns
    if first.role == "system":
        return (Turn("system", (*first.parts, f"\n\n{_REMINDER}{request.schema}")), *rest)
    return (Turn("system", (f"{_REMINDER}{request.schema}",)), *request.turns)


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
    """The picture as a data URL: its own bytes where any server accepts them, else an upright PNG."""
    data = image.data
    mime = next((mime for magic, mime in _MIME.items() if data.startswith(magic)), "")
    if not mime or b"Exif" in data[:4096]:
        sink = io.BytesIO()
        images.decode(image).save(sink, format="PNG")
        data, mime = sink.getvalue(), "image/png"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Usage:
    """Charged tokens. `reasoning_tokens` are those generated tokens that are not shown."""

    prompt_tokens: int
    tokens: int
    reasoning_tokens: int = 0


def read(content: bytes, bound: Usage) -> tuple[Message, Usage | None, str]:
    """Parse a reply with status 200.

    Args:
        bound: what the request can have used at most.

    Returns:
        The message; the usage, or None if it states none that can be true; the name of the model that answered.

    Raises:
        Malformed: if there is no answer in it. Failed: if it is an error's report.
    """
    try:
        reply = json.loads(content, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{len(content):,} bytes that are no JSON") from error
    if failed := _failure(reply):
        raise failed
    try:
        (choice, *_) = reply["choices"]
        message = choice["message"]
        content, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed("JSON without a choice and its message") from error
    text, how = _text(content)
    if not isinstance(refusal, str | None) or not isinstance(finish, str | None):
        raise Malformed("a choice whose fields are of other types than agreed")
    if message.get("reasoning_content") or message.get("reasoning") or "thinking-part" in how:
        how = (*how, "reasoning-field")
    usage = _usage(reply.get("usage"), bound)
    reported = usage or Usage(0, 0)
    if not finish and text:
        how = (*how, "no-finish")
        finish = "length" if reported.tokens >= bound.tokens else "stop"
    if refusal:
        made = Message(refusal, "refusal", reported.tokens, reported.prompt_tokens)
    else:
        made = Message(
            text, _finish(finish or ""), reported.tokens, reported.prompt_tokens, reported.reasoning_tokens, how
        )
    return made, usage, "".join(filter(str.isprintable, str(reply.get("model") or "")))[:200]


def _failure(reply: object) -> Failed | None:
    """The error that a body with status 200 reports instead of a reply."""
    if not isinstance(reply, dict):
        return None
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(choice, dict) and choice.get("message"):
        return None
    error = reply.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
    if error is None and choice is None:
        error = reply if reply.get("object") == "error" else reply.get("detail") or reply.get("errors")
        error = error or (reply if isinstance(reply.get("message"), str) else None)
    if not error:
        return None
    code = error.get("code", error.get("status")) if isinstance(error, dict) else None
    words = error.get("message") if isinstance(error, dict) else error
    message = words if isinstance(words, str) else json.dumps(error, ensure_ascii=False)
    message = " ".join("".join(one if one.isprintable() else " " for one in message).split())[:300]
    number = str(code)
    status = int(number) if len(number) == 3 and number.isascii() and number.isdecimal() else None
    return Failed(f"{message} (code {code})" if code is not None else message, status)


def _text(content: object) -> tuple[str, tuple[str, ...]]:
    """The text of a message's content, which is a string or a list of parts.

    Raises:
        Malformed: if it is neither.
    """
    if content is None or isinstance(content, str):
        return content or "", ()
    if not isinstance(content, list):
        raise Malformed("a choice whose fields are of other types than agreed")
    texts, how = list[str](), ["parts"]
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"):
            if not isinstance(part.get("text"), str):
                raise Malformed("a part of text without text")
            texts.append(part["text"])
        elif isinstance(part, dict) and str(part.get("type")).lower() in ("thinking", "reasoning", "redacted_thinking"):
            how.append("thinking-part")
        else:
            raise Malformed("a part of the content that is no text")
    return "".join(texts), tuple(dict.fromkeys(how))


def _finish(stated: str) -> str:
    """The reason that a reply ended, in the API's terms; a server's own term where it is unknown."""
    word = stated.lower()
    for known, words in (("stop", _STOPPED), ("length", _CUT), ("content_filter", _FILTERED)):
        if word in words:
            return known
    return stated


def _usage(stated: object, bound: Usage) -> Usage | None:
    if not isinstance(stated, dict):
        return None
    read, generated, total = (stated.get(f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if not isinstance(read, int) or not isinstance(generated, int):
        return None
    details = stated.get("completion_tokens_details")
    hidden = details.get("reasoning_tokens") if isinstance(details, dict) else stated.get("reasoning_tokens")
    hidden = hidden if isinstance(hidden, int) and 0 <= hidden <= HIDDEN_MOST else 0
    if hidden and isinstance(total, int) and total == read + generated + hidden:
        generated += hidden  # a server that counts them beside the completion
    shown = max(generated - hidden, 0)
    if not 0 < read <= bound.prompt_tokens or not 0 <= shown <= bound.tokens:
        return None
    return Usage(read, generated, min(hidden, generated))


def same_model(asked: str, answered: str) -> bool:
    """True if a reply comes from the asked model, by its name or by the name of a snapshot of it."""
    return not answered or answered == asked or answered.startswith(f"{asked}-")


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
