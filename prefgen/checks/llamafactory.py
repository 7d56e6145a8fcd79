"""LLaMA-Factory's rules for ranking data with pictures (``data/converter.py``, ``mm_plugin.py``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_ROLES = {"human": 0, "user": 0, "gpt": 1, "assistant": 1}
_MEDIA = {"<image>": "images", "<video>": "videos", "<audio>": "audios"}


def rules(names: Mapping[str, str]) -> Callable[[Mapping[str, Any]], Iterator[str]]:
    """The rules for data whose columns are called so; keys are those of ``dataset_info.json``."""

    def problems(columns: Mapping[str, Any]) -> Iterator[str]:
        values = {role: columns.get(column) for role, column in names.items()}
        sharegpt = values.get("messages") is not None
        yield from _answers(values, sharegpt)
        texts = list(_turns(values["messages"])) if sharegpt else _alpaca_texts(values)
        yield from (_order(values["messages"]) if sharegpt else ())
        yield from _media(values, texts)

    return problems


def _answers(values: Mapping[str, Any], sharegpt: bool) -> Iterator[str]:
    kind, article = (dict, "one message") if sharegpt else (str, "a string")
    for side in ("chosen", "rejected"):
        answer = values.get(side)
        if isinstance(answer, list):
            yield f"{side} is a list, which is silently read as no preference at all; it should be {article}"
        elif not isinstance(answer, kind):
            yield f"{side} should be {article}, found {type(answer).__name__}"
        elif not _text(answer).strip():
            yield f"{side} has no text"
    if values.get("chosen") is not None and values.get("chosen") == values.get("rejected"):
        yield "chosen and rejected are identical"


def _order(messages: object) -> Iterator[str]:
    roles = [_role(message) for message in messages] if isinstance(messages, list) else []
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if len(talk) % 2 == 0:
        yield f"{len(talk)} turns before the answer; with ranking their number must be odd"
    elif [_ROLES.get(role) for role in talk] != [place % 2 for place in range(len(talk))]:
        yield f"turns should alternate, the user first: {', '.join(talk)[:100]}"


def _media(values: Mapping[str, Any], texts: list[str]) -> Iterator[str]:
    images = values.get("images")
    if images is not None and not isinstance(images, list):
        yield f"images should be a list, found {type(images).__name__}"
        return
    for tag, column in _MEDIA.items():
        wanted = len(values.get(column) or [])
        for side in ("chosen", "rejected"):
            answer = values.get(side)
            found = sum(text.count(tag) for text in texts) + (_text(answer).count(tag) if answer else 0)
            if found != wanted:
                yield f"{found} {tag} tags in prompt and {side} for {wanted} {column}"


def _turns(messages: object) -> Iterator[str]:
    yield from (_text(message) for message in (messages if isinstance(messages, list) else []))


def _alpaca_texts(values: Mapping[str, Any]) -> list[str]:
    texts = [values.get(name) for name in ("prompt", "query", "system")]
    history = values.get("history") or []
    texts += [text for turn in history if isinstance(turn, list) for text in turn]
    return [text for text in texts if isinstance(text, str)]


def _role(message: object) -> str:
    return str(message.get("from", message.get("role"))) if isinstance(message, dict) else "?"


def _text(message: object) -> str:
    found = message.get("value", message.get("content")) if isinstance(message, dict) else message
    return found if isinstance(found, str) else ""
