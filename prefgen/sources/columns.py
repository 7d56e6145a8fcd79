"""From a row's columns to samples: which column holds what, and which assistant turns become samples.

Three shapes are known: LLaVA's ``conversations`` (from/value), ``messages`` (role/content, where content is a string
or a list of parts), and flat columns (image, question, answer under their usual names). The rules:

    ``<image>`` in a user's turn   is an image slot; the line break between it and the text goes (the template adds its
                                   own). Where content comes as parts with image parts, text is only ever text.
    images, but no slot            all slots are put at the start of the first user turn
    every assistant turn           is an answer; its prompt is the conversation before it, with the images seen so far
    a bad turn                     ends the conversation: the answers before it stay, it is dropped with the reason
    a question without an answer   is a sample without one if the row has no answer at all, and else left out
    a row's own id                 is part of a sample's id, its place in the file is not
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefgen.errors import RowError
from prefgen.records import Dropped, ImageRef, Part, Role, Sample, Slot, Turn, sample_id
from prefgen.sources.image_columns import IMAGE_COLUMNS, has_image, image_names, image_refs
from prefgen.sources.options import Turns
from prefgen.sources.row import Row

CONVERSATION_COLUMNS = ("conversations", "messages", "conversation")
QUESTION_COLUMNS = ("question", "prompt", "instruction")
ANSWER_COLUMNS = ("answer", "response", "chosen", "output")
ID_COLUMNS = ("id", "idx", "question_id", "uid")
ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
}
_TAG = re.compile(r"(?:\r?\n)?<image>(?:\r?\n)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class _Conversation:
    turns: tuple[Turn, ...]
    images: tuple[ImageRef, ...]
    used: frozenset[str]  # names of the columns it was made of


def outcomes(row: Row, source: str, turns: Turns, allow_urls: bool) -> Iterator[Sample | Dropped]:
    """The samples of one row in the order of its answers, or why there are none. At least one outcome."""
    if isinstance(row.columns, RowError):
        yield Dropped(row.columns.reason, f"{row.where}: {row.columns.detail}", source, row.where)
        return
    id_column = next((name for name in ID_COLUMNS if is_id(row.columns.get(name))), None)
    own_id = str(row.columns[id_column]) if id_column else ""
    source_id = own_id or row.where

    def dropped(reason: str, detail: str, number: int = 0) -> Dropped:
        return Dropped(reason, f"{row.where}: {detail}", source, source_id, turn=number)

    try:
        conversation = _read(row.columns, allow_urls)
    except RowError as error:
        yield dropped(error.reason, error.detail)
        return
    if not conversation.images:
        yield dropped("TEXT_ONLY", "no image")
        return
    used = {*conversation.used, id_column}
    meta = {str(name): json_value(value) for name, value in row.columns.items() if name not in used}
    answers = [place for place, turn in enumerate(conversation.turns) if turn.role == "assistant"]
    answers = answers or [len(conversation.turns)]
    wanted = {"all": answers, "first": answers[:1], "last": answers[-1:]}[turns]
    checked = 0
    for number, place in enumerate(answers[: answers.index(wanted[-1]) + 1]):
        try:
            for turn in conversation.turns[checked : place + 1]:
                check_text(turn)
        except RowError as error:
            yield dropped(error.reason, error.detail, number)
            return
        checked = place + 1
        if place not in wanted:
            continue
        prompt = conversation.turns[:place]
        images = conversation.images[: sum(turn.image_count for turn in prompt)]
        if images:
            answer = conversation.turns[place].text if place < len(conversation.turns) else None
            key = sample_id(own_id, number, prompt, image_names(images), answer)
            yield Sample(key, prompt, images, answer, source, source_id, number, meta)
        else:
            yield dropped("TEXT_ONLY", "no image before this answer", number)


def is_id(value: object) -> bool:
    """Whether a value can name a row."""
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(str(value).strip())


def _read(columns: Mapping[str, Any], allow_urls: bool) -> _Conversation:
    raw, used = _messages(columns)
    held = next((name for name in IMAGE_COLUMNS if has_image(columns.get(name))), None)
    value = {"bytes": columns[held]} if held == "image_bytes" else columns.get(held or "")
    images = image_refs(value, allow_urls) if held else ()
    typed = any(_is_image(part) for _, content in raw if isinstance(content, list) for part in content)
    if typed and not images:
        carried = [part for _, content in raw if isinstance(content, list) for part in content if _is_image(part)]
        images = tuple(ref for part in carried for ref in image_refs(_carried(part), allow_urls))
    turns = [Turn(role, content_parts(role, content, tags=not typed)) for role, content in raw]
    turns = [turn for turn in turns if turn.role != "system" or turn.text.strip()]
    check_order(turns)
    return _Conversation(place_images(turns, len(images)), images, frozenset((*used, held) if held else used))


def place_images(turns: Sequence[Turn], images: int) -> tuple[Turn, ...]:
    """The turns with a slot for every image: where there is no slot at all, in front of the first user turn.

    Raises:
        RowError: ``IMG_COUNT``.
    """
    slots = sum(turn.image_count for turn in turns)
    if images and not slots:
        first = next(place for place, turn in enumerate(turns) if turn.role == "user")
        placed = Turn("user", (*[Slot.IMAGE] * images, *turns[first].parts))
        return (*turns[:first], placed, *turns[first + 1 :])
    if slots != images:
        raise RowError("IMG_COUNT", f"{images} images for {slots} <image> tags")
    return tuple(turns)


def _messages(columns: Mapping[str, Any]) -> tuple[list[tuple[Role, Any]], tuple[str, ...]]:
    """Role and content of each message, and the columns they came from."""
    for name in CONVERSATION_COLUMNS:
        value = columns.get(name)
        if isinstance(value, dict):  # how older `datasets` stored a list of objects: an object of lists
            value = transposed(name, value)
        if isinstance(value, list) and value:
            return [message_parts(name, message) for message in value], (name,)
        if value is not None:
            raise RowError("ROW_SHAPE", f"{name} should be a list of messages, found {_type(value)}")
    question = next((name for name in QUESTION_COLUMNS if columns.get(name) is not None), None)
    answer = next((name for name in ANSWER_COLUMNS if columns.get(name) is not None), None)
    if question is None:
        raise RowError(
            "ROW_SHAPE",
            f"expected one of {', '.join((*CONVERSATION_COLUMNS, *QUESTION_COLUMNS))}; "
            f"found {', '.join(map(str, columns))[:200] or 'nothing'}",
        )
    messages: list[tuple[Role, Any]] = [("user", columns[question])]
    if answer is not None:
        messages.append(("assistant", columns[answer]))
    for column, (_, text) in zip((question, answer), messages, strict=False):
        if not isinstance(text, str):
            raise RowError("ROW_SHAPE", f"{column} should be a string, found {_type(text)}")
    return messages, (question, answer) if answer else (question,)


def transposed(name: str, lists: dict[str, Any]) -> list[dict[str, Any]]:
    """An object of lists as a list of objects, which older `datasets` made of the latter.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    if not all(isinstance(values, list) for values in lists.values()) or len({len(v) for v in lists.values()}) != 1:
        raise RowError("ROW_SHAPE", f"{name} should be a list of messages, found an object")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def message_parts(column: str, message: object) -> tuple[Role, Any]:
    """Role and content of a message in any of the known spellings.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    if not isinstance(message, dict):
        raise RowError("ROW_SHAPE", f"{column} should hold objects, found {_type(message)}")
    speaker = message.get("from", message.get("role"))
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise RowError("ROW_SHAPE", f"the speaker {str(speaker)[:40]!r} is none of {', '.join(ROLES)}")
    content = message["value"] if message.get("value") is not None else message.get("content")
    if content is not None and not isinstance(content, (str, list)):
        raise RowError("ROW_SHAPE", f"a message's content should be a string or parts, found {_type(content)}")
    return role, content or ""


def _is_image(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in ("image", "image_url")


def _carried(part: dict[str, Any]) -> object:
    return next((part[name] for name in ("image", "image_url", "url", "path") if part.get(name)), None)


def content_parts(role: Role, content: str | list[Any], tags: bool) -> tuple[Part, ...]:
    """A message's content as texts and image slots.

    Args:
        tags: whether ``<image>`` in a user's text is a slot.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    parts: list[Part] = []
    for piece in [content] if isinstance(content, str) else content:
        text = piece.get("text") if isinstance(piece, dict) and piece.get("type") == "text" else piece
        if _is_image(piece):
            if role != "user":
                raise RowError("ROW_SHAPE", f"an image in a turn of the {role}")
            parts.append(Slot.IMAGE)
        elif not isinstance(text, str):
            kind = piece.get("type") if isinstance(piece, dict) else _type(piece)
            raise RowError("ROW_SHAPE", f"a content part of type {str(kind)[:40]!r}; text and image are known")
        elif tags and role == "user":
            for place, words in enumerate(_TAG.split(text)):
                parts += ([Slot.IMAGE] if place else []) + ([words] if words else [])
        elif text:
            parts.append(text)
    return tuple(parts)


def check_order(turns: Sequence[Turn]) -> None:
    """User and assistant must take turns, the user first.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    roles = [turn.role for turn in turns]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk or talk != [("user", "assistant")[place % 2] for place in range(len(talk))]:
        raise RowError("ROW_SHAPE", f"turns should alternate, the user first; found {', '.join(roles)[:100]}")


def check_text(turn: Turn) -> None:
    """A turn must say something, and hold no control characters.

    Raises:
        RowError: ``TEXT_CONTROL``, ``TEXT_EMPTY``.
    """
    control = _CONTROL.search(turn.text)
    if control:
        raise RowError("TEXT_CONTROL", f"control character {control[0]!a} in a turn of the {turn.role}")
    if not turn.text.strip():
        raise RowError("TEXT_EMPTY", f"a turn of the {turn.role} has no text")


def _type(value: object) -> str:
    return type(value).__name__


def json_value(value: object) -> Any:
    """`value` in JSON types; None in place of what has none, such as bytes, dates and NaN."""
    if isinstance(value, dict):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool)) else None
