"""ms-swift's rules for RLHF data (its Custom-dataset page and ``template_inputs.py``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def problems(columns: Mapping[str, Any]) -> Iterator[str]:
    """What ms-swift would stumble over in a row."""
    name = "messages" if columns.get("messages") is not None else "conversations"
    messages = columns.get(name)
    if not isinstance(messages, list) or len(messages) < 2 or not all(isinstance(said, dict) for said in messages):
        yield f"{name} should be a list of at least two messages"
        return
    if messages[-1].get("role", messages[-1].get("from")) not in ("assistant", "gpt"):
        yield f"{name} should end with the chosen answer"
    images = columns.get("images") or []
    count = 1 if isinstance(images, str) else len(images)
    tags = sum(_text(message).count("<image>") for message in messages)
    if tags > count:
        yield f"{tags} <image> tags for {count} images"
    yield from _rejected(columns, _text(messages[-1]), count)
    yield from _placeholders(columns, messages)


def _placeholders(columns: Mapping[str, Any], messages: list[Any]) -> Iterator[str]:
    """Placeholders of a grounding row that nothing fills: they would be trained on as text."""
    given = columns.get("objects")
    objects = given if isinstance(given, Mapping) else {}
    for mark, key in (("<ref-object>", "ref"), ("<bbox>", "bbox")):
        asked = sum(_text(message).count(mark) for message in messages[:-1])
        rejected = columns.get("rejected_response")
        texts = [_text(messages[-1]), rejected if isinstance(rejected, str) else ""]
        wanted = asked + max(text.count(mark) for text in texts)
        there = len(objects.get(key) or [])
        if wanted > there:
            yield f"{wanted} {mark} for {there} {key} in objects"


def _rejected(columns: Mapping[str, Any], chosen: str, images: int) -> Iterator[str]:
    rejected, conversation = columns.get("rejected_response"), columns.get("rejected_messages")
    other_images = columns.get("rejected_images") not in (None, columns.get("images"))
    if "rejected_response" not in columns and conversation is None and other_images:
        return  # a preference between pictures
    if rejected is None and conversation is None:
        hint = "; a column rejected is ignored" if columns.get("rejected") is not None else ""
        yield f"neither rejected_response nor rejected_messages{hint}"
        return
    if conversation is not None:
        if images and columns.get("rejected_images") is None:
            yield "rejected_messages without rejected_images"
        rejected = conversation
    text = _text(rejected[-1]) if isinstance(rejected, list) and rejected else rejected
    if not isinstance(text, str) or not text.strip():
        yield "the rejected answer has no text"
    elif text == chosen and (conversation is None or not other_images):
        yield "the rejected answer is the chosen one, which raises"
    elif "<image>" in text and conversation is None:
        yield "the rejected answer holds <image>, which is taken for a picture"


def _text(message: object) -> str:
    found = message.get("content", message.get("value")) if isinstance(message, dict) else message
    return found if isinstance(found, str) else ""
