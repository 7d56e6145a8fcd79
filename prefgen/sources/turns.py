"""From messages to turns: speakers, content parts, image tags, and checks of each turn."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from prefgen.errors import RowError
from prefgen.records import ImageRef, Part, Role, Slot, Turn
from prefgen.sources.mapping import suggest_roles

Message = tuple[Role, Any]
ROLES: dict[str, Role] = {  # in lower case: speakers are compared so
    "human": "user",
    "user": "user",
    "用户": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "助手": "assistant",
    "system": "system",
    "developer": "system",
}
# How model families write an image into a text: LLaVA; InternLM-XComposer; Qwen-VL; Gemma 3; Llama 3.2; DeepSeek-VL.
_TAG = re.compile(
    r"(?:\r?\n)?(?:<image>|<ImageHere>|<\|vision_start\|>(?:<\|image_pad\|>)*<\|vision_end\|>|<start_of_image>"
    r"|<\|image\|>|<image_placeholder>|<\|?image[_ ]?(\d{1,3})\|?>)(?:\r?\n)?"
)
_END_TOKENS = (
    "</s>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end|>",
    "<eos>",
)
_CHAT_TOKEN = re.compile(
    "|".join(
        map(re.escape, (*_END_TOKENS, "<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|begin_of_text|>"))
    )
)
_PATH_TAG = re.compile(r"<img>([^<>\n]{1,1000})</img>")  # Qwen-VL's
_MEDIA_TAG = re.compile(r"<(video|audio)>")
_CONTENTS = ("value", "content", "parts", "text")
_NO_PERSONS = ("tool", "tool_call", "function", "function_call", "observation", "environment", "ipython")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def message_parts(column: str, message: object) -> tuple[Role, Any]:
    """Role and content of a message in any of the known spellings.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    if not isinstance(message, dict):
        raise RowError("ROW_SHAPE", f"{column} should hold objects, found {type(message).__name__}")
    speaker = speaker_of(message)
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise RowError("ROW_SHAPE", f"the speaker {str(speaker)[:40]!r} is none of {', '.join(ROLES)}")
    content = None
    for name in _CONTENTS:  # no generator: every message of an input comes through here
        if (content := message.get(name)) is not None:
            break
    if content is None and not any(name in message for name in _CONTENTS):
        raise RowError(
            "ROW_SHAPE", f"a message has {', '.join(map(str, message))[:100]}, and none of {', '.join(_CONTENTS)}"
        )
    if isinstance(content, float) and not math.isfinite(content):
        raise RowError("JSON_NONFINITE", f"the content of a message is {content}")
    if content is not None and not isinstance(content, (str, list)):
        raise RowError("ROW_SHAPE", f"a message's content should be a string or parts, found {type(content).__name__}")
    return role, content or ""


def speaker_of(message: object) -> object:
    """The speaker of a message; None if it names none."""
    if not isinstance(message, dict):
        return None
    return message.get("from") or message.get("role") or message.get("speaker") or None


def check_speakers(messages: Sequence[object]) -> None:
    """Raise if a speaker has no role.

    Raises:
        RowError: ``ROW_SHAPE``, with the option that gives them one.
    """
    speakers = [speaker for one in messages if isinstance(speaker := speaker_of(one), str)]
    unknown = next((speaker for speaker in speakers if speaker.strip().lower() not in ROLES), None)
    if unknown is not None and unknown.strip().lower() in _NO_PERSONS:
        raise RowError("ROW_SHAPE", f"a turn of the speaker {unknown!r}: conversations with tools cannot be used")
    if unknown is not None:
        line = suggest_roles(speakers, ROLES)
        raise RowError(
            "ROW_SHAPE", f"the speaker {unknown[:40]!r} is none of {', '.join(ROLES)}; say who that is: {line}"
        )


def transposed(name: str, lists: dict[str, Any]) -> list[dict[str, Any]]:
    """An object of lists as a list of objects; older `datasets` stored the latter as the former.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    if not all(isinstance(values, list) for values in lists.values()) or len({len(v) for v in lists.values()}) != 1:
        raise RowError("ROW_SHAPE", f"{name} should be a list of messages, found an object")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


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
        if is_image_part(piece):
            if role != "user":
                raise RowError("ROW_SHAPE", f"an image in a turn of the {role}")
            parts.append(Slot.IMAGE)
        elif not isinstance(text, str):
            kind = piece.get("type") if isinstance(piece, dict) else type(piece).__name__
            if kind in ("video", "video_url", "audio", "input_audio"):
                raise RowError("VIDEO" if kind.startswith("video") else "AUDIO", f"a content part of type {kind!r}")
            raise RowError("ROW_SHAPE", f"a content part of type {str(kind)[:40]!r}; text and image are known")
        elif role == "user" and "<" in text and (media := _MEDIA_TAG.search(text)):
            raise RowError(media[1].upper(), f"{media[0]} in a prompt, which prefgen cannot show to a model")
        elif tags and role == "user" and "<" in text:
            for place, words in enumerate(_TAG.split(text)[::2]):  # between them the numbers
                parts += ([Slot.IMAGE] if place else []) + ([words] if words else [])
        elif text:
            parts.append(text)
    return tuple(parts)


def known_parts(content: object) -> Any:
    """Content parts in the form of OpenAI and `transformers`, from those of Anthropic, Gemini and others."""
    return [_known_part(part) for part in content] if isinstance(content, list) else content


def _known_part(part: object) -> object:
    if not isinstance(part, dict):
        return part
    source = part.get("source")
    if part.get("type") == "image" and isinstance(source, dict):  # Anthropic
        return {"type": "image", "image": {"bytes": source.get("data"), "path": source.get("url")}}
    inline = part.get("inline_data", part.get("inlineData"))
    if isinstance(inline, dict):  # Gemini
        return {"type": "image", "image": {"bytes": inline.get("data")}}
    file = part.get("file_data", part.get("fileData"))
    if isinstance(file, dict):
        return {"type": "image", "image": file.get("file_uri", file.get("fileUri"))}
    if part.get("type") in ("input_text", "output_text") or (
        part.get("type") is None and isinstance(part.get("text"), str)
    ):
        return {"type": "text", "text": part.get("text")}
    if part.get("type") is None and carried_image(part) is not None:
        return {**part, "type": "image"}
    return part


def is_image_part(part: object) -> bool:
    """True if a content part is an image."""
    return isinstance(part, dict) and part.get("type") in ("image", "image_url", "input_image")


def carried_image(part: dict[str, Any]) -> object:
    """The image in a content part, or its name; None if it has none."""
    return next((part[name] for name in ("image", "image_url", "url", "path", "bytes") if part.get(name)), None)


def texts_of(content: Any) -> list[str]:
    """The texts of a message's content, a string or parts."""
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]


def with_texts(content: Any, texts: Iterable[str]) -> Any:
    """The content with its texts replaced, in order."""
    given = iter(texts)
    if isinstance(content, str):
        return next(given)
    return [{**part, "text": next(given)} if texts_of([part]) else part for part in content]


def by_number(raw: Sequence[Message], images: tuple[ImageRef, ...]) -> tuple[ImageRef, ...]:
    """The images in the order of numbered tags; unchanged if no tag has a number.

    Raises:
        RowError: ``IMG_COUNT``.
    """
    texts = [text for role, content in raw if role == "user" for text in texts_of(content) if "<" in text]
    numbers = [match[1] for text in texts for match in _TAG.finditer(text)]
    if not any(numbers):
        return images
    if not all(number and 1 <= int(number) <= len(images) for number in numbers) or len({*numbers}) < len(images):
        raise RowError(
            "IMG_COUNT", f"{len(images)} images for the tags of images {', '.join(n or '?' for n in numbers)}"
        )
    return tuple(images[int(number) - 1] for number in numbers)


def paths_in_text(said: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """Messages with ``<image>`` for every ``<img>path</img>`` of a user, and the paths in order."""
    paths: list[str] = []
    replaced: list[Message] = []
    for role, content in said:
        if role == "user" and any("<img>" in text for text in texts_of(content)):
            paths += [path.strip() for text in texts_of(content) for path in _PATH_TAG.findall(text)]
            content = with_texts(content, (_PATH_TAG.sub("<image>", text) for text in texts_of(content)))
        replaced.append((role, content))
    return replaced, paths


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with consecutive messages of one speaker joined by line breaks."""
    found: list[Turn] = []
    for turn in turns:
        before = found[-1] if found else None
        if before is None or before.role != turn.role or turn.role == "system" or _is_bare(before) or _is_bare(turn):
            found.append(turn)
            continue
        between = ("\n",) if isinstance(before.parts[-1], str) and isinstance(turn.parts[0], str) else ()
        found[-1] = Turn(turn.role, (*before.parts, *between, *turn.parts))
    return found


def _is_bare(turn: Turn) -> bool:
    return not turn.image_count and not turn.text.strip()


def one_image_tagged_once(turns: Sequence[Turn], images: int) -> list[Turn]:
    """The turns with only the first question's tag, where every question repeats the tag of one image."""
    asked = [turn for turn in turns if turn.role == "user"]
    if images != 1 or len(asked) < 2 or any(turn.image_count != 1 for turn in asked):
        return list(turns)
    first = next(place for place, turn in enumerate(turns) if turn.role == "user")
    return [
        turn if place <= first else Turn(turn.role, tuple(part for part in turn.parts if part is not Slot.IMAGE))
        for place, turn in enumerate(turns)
    ]


def place_images(turns: Sequence[Turn], images: int) -> tuple[Turn, ...]:
    """The turns with a slot for every image; if there is no slot, before the first user turn's text.

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


def without_end_token(turn: Turn) -> Turn:
    """An assistant's turn without trailing end tokens.

    Raises:
        RowError: ``TEXT_SPECIAL``, if a token of a chat template is elsewhere in it.
    """
    if turn.role != "assistant" or "<" not in turn.text or not _CHAT_TOKEN.search(turn.text):
        return turn
    text = turn.text.rstrip()
    while token := next((token for token in _END_TOKENS if text.endswith(token)), None):
        text = text.removesuffix(token).rstrip()
    if found := _CHAT_TOKEN.search(text):
        raise RowError("TEXT_SPECIAL", f"the token {found[0]} of a chat template is in an answer")
    return Turn(turn.role, (text,) if text else ())


def check_order(turns: Sequence[Turn]) -> None:
    """Raise unless user and assistant alternate, the user first.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    roles = [turn.role for turn in turns]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or spoken != [("user", "assistant")[place % 2] for place in range(len(spoken))]:
        raise RowError("ROW_SHAPE", f"turns should alternate, the user first; found {', '.join(roles)[:100]}")


def check_text(turn: Turn) -> None:
    """Raise if a turn is empty or holds control characters.

    Raises:
        RowError: ``TEXT_CONTROL``, ``TEXT_EMPTY``.
    """
    control = _CONTROL.search(turn.text)
    if control:
        raise RowError("TEXT_CONTROL", f"control character {control[0]!a} in a turn of the {turn.role}")
    if not turn.text.strip():
        raise RowError("TEXT_EMPTY", f"a turn of the {turn.role} has no text")
