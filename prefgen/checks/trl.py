"""TRL's rules for vision preferences (``dpo_trainer.py``, ``DataCollatorForVisionPreference``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_ANY_IMAGE_TOKEN = re.compile(r"<\|?[^<>|]*(?:image|img|vision)[^<>|]*\|?>", re.IGNORECASE)


def problems(columns: Mapping[str, Any]) -> Iterator[str]:
    """What TRL would stumble over in a row."""
    images = columns.get("images")
    if images is not None and not isinstance(images, list):
        yield f"images should be a list, found {type(images).__name__}"
        return
    count = len(images) if images is not None else int(columns.get("image") is not None)
    if not count and "images" not in columns:
        yield "neither images nor image; a row of text alone needs images: []"
    prompt, chosen, rejected = (columns.get(name) for name in ("prompt", "chosen", "rejected"))
    if prompt is None:
        yield "no prompt; TRL does not take it out of the answers for vision data"
        return
    if isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str):
        yield from _standard(prompt, count)
    elif all(isinstance(side, list) and side for side in (prompt, chosen, rejected)):
        yield from _conversational(prompt, chosen or [], rejected or [], count)
    else:
        kinds = ", ".join(type(side).__name__ for side in (prompt, chosen, rejected))
        yield f"prompt, chosen and rejected should all be strings or all lists of messages, found {kinds}"
    if chosen == rejected:
        yield "chosen and rejected are identical"


def _standard(prompt: str, count: int) -> Iterator[str]:
    found = len(_ANY_IMAGE_TOKEN.findall(prompt))
    if found < count:
        yield f"a prompt of plain text must hold the model's own image token: {found} for {count} images"


def _conversational(prompt: list[Any], chosen: list[Any], rejected: list[Any], count: int) -> Iterator[str]:
    messages = [*prompt, *chosen, *rejected]
    if not all(isinstance(message, dict) and {"role", "content"} <= message.keys() for message in messages):
        yield "a message should have role and content"
        return
    if prompt[-1]["role"] != "user":
        yield f"the prompt ends with the {prompt[-1]['role']}'s turn"
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if side[0]["role"] != "assistant":
            yield f"{name} starts with the {side[0]['role']}'s turn"
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    texts = [message["content"] for message in messages if isinstance(message["content"], str)]
    texts += [part.get("text") or "" for part in parts]
    if any("image" in part or "image_url" in part for part in parts):
        yield "a content part has a key 'image', even if null: TRL then counts no placeholder"
        return
    if any("<image>" in text for text in texts):
        yield "a text holds <image>, which the processor takes for a picture"
    placeholders = sum(part.get("type") == "image" for part in parts)
    if placeholders != count and (placeholders or parts):  # with plain strings TRL puts the pictures in itself
        yield f"{placeholders} image parts for {count} images"
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if not _text(side).strip():
            yield f"{name} has no text"


def _text(messages: list[Any]) -> str:
    contents = (message["content"] for message in messages)
    return "".join(
        content if isinstance(content, str) else "".join(part.get("text") or "" for part in content or [])
        for content in contents
    )
