"""From a row's columns to samples: which column holds what, and which assistant turns become samples.

Four shapes are known: LLaVA's ``conversations`` (from/value), ``messages`` (role/content, where content is a string
or a list of parts), FineVision's ``texts`` (a list of user/assistant pairs), and flat columns (image, question, answer
under their usual names; LLaMA-Factory's instruction, input, system and history among them). The rules:

    ``<image>`` in a user's turn   is an image slot; the line break between it and the text goes (the template adds its
                                   own). Where content comes as parts with image parts, text is only ever text.
    images, but no slot            all slots are put at the start of the first user turn
    every assistant turn           is an answer; its prompt is the conversation before it, with the images seen so far
    a bad turn                     ends the conversation: the answers before it stay, it is dropped with the reason
    a question without an answer   is a sample without one if the row has no answer at all, and else left out
    a greeting by the assistant    before the first question is left out, as LLaVA's loader does, and kept in `meta`
    numbered tags                  such as ``<image_2>`` take the image of that number
    an end token                   at an answer's end is cut off; another chat token in an answer drops it
    a row's own id                 is part of a sample's id, its place in the file is not
"""

from __future__ import annotations

import json
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

CONVERSATION_COLUMNS = ("conversations", "messages", "conversation", "texts", "contents")
QUESTION_COLUMNS = ("question", "prompt", "instruction", "query", "problem", "prefix", "input")
ANSWER_COLUMNS = ("answer", "response", "chosen", "output", "completion", "solution", "suffix")
SYSTEM_COLUMNS = ("system", "system_prompt")
ID_COLUMNS = ("id", "idx", "question_id", "uid")
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
    r"|<\|image\|>|<image_placeholder>|<\|?image_(\d{1,3})\|?>)(?:\r?\n)?"
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
_MEDIA = {"VIDEO": ("video", "videos"), "AUDIO": ("audio", "audios")}
_NO_ANSWERS = frozenset({"nan", "none", "null", "n/a"})  # what a table writes for a value that is not there
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class _Conversation:
    turns: tuple[Turn, ...]
    images: tuple[ImageRef, ...]
    used: frozenset[str]  # names of the columns it was made of
    meta: tuple[Mapping[str, Any], ...]  # what belongs to each answer, by its number; empty where nothing does


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
            if answer is not None and answer.strip().lower() in _NO_ANSWERS:
                yield dropped("TEXT_EMPTY", f"the answer is {answer.strip()!r}, which stands for none", number)
                continue
            key = sample_id(own_id, number, prompt, image_names(images), answer)
            own = conversation.meta[number] if number < len(conversation.meta) else {}
            yield Sample(key, prompt, images, answer, source, source_id, number, {**meta, **own})
        else:
            yield dropped("TEXT_ONLY", "no image before this answer", number)


def is_id(value: object) -> bool:
    """Whether a value can name a row."""
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(str(value).strip())


def _read(columns: Mapping[str, Any], allow_urls: bool) -> _Conversation:
    for reason, names in _MEDIA.items():
        if name := next((name for name in names if has_image(columns.get(name))), None):
            raise RowError(reason, f"the row has a {name.removesuffix('s')}, which prefgen cannot show to a model")
    raw, used, meta = _messages(columns)
    held = next((name for name in IMAGE_COLUMNS if has_image(columns.get(name))), None)
    if held == "image_id" and not isinstance(columns[held], (str, list)):  # COCO's number
        held = None
    value = {"bytes": columns[held]} if held == "image_bytes" else columns.get(held or "")
    if held == "images" and isinstance(value, str) and value.lstrip()[:1] == "[":
        value = _decoded(held, value)
    images = image_refs(value, allow_urls) if held else ()
    raw = [(role, known_parts(content)) for role, content in raw]
    typed = any(is_image_part(part) for _, content in raw if isinstance(content, list) for part in content)
    if typed and not images:
        carried = [part for _, content in raw if isinstance(content, list) for part in content if is_image_part(part)]
        images = tuple(ref for part in carried for ref in image_refs(carried_image(part), allow_urls))
    if not typed:
        images = _by_number(raw, images)
    turns = [Turn(role, content_parts(role, content, tags=not typed)) for role, content in raw]
    turns = [_without_end_token(turn) for turn in turns if turn.role != "system" or turn.text.strip()]
    first = next((place for place, turn in enumerate(turns) if turn.role != "system"), 0)
    if turns and turns[first].role == "assistant" and any(turn.role == "assistant" for turn in turns[first + 1 :]):
        meta = [{**(meta[0] if meta else {}), "greeting": turns.pop(first).text}, *meta[1:]]
    check_order(turns)
    return _Conversation(
        place_images(turns, len(images)), images, frozenset((*used, held) if held else used), tuple(meta)
    )


def _by_number(raw: Sequence[tuple[Role, Any]], images: tuple[ImageRef, ...]) -> tuple[ImageRef, ...]:
    """The images in the order in which numbered tags name them; as they are where no tag has a number.

    Raises:
        RowError: ``IMG_COUNT``.
    """
    texts = [text for role, text in raw if role == "user" and isinstance(text, str)]
    numbers = [match[1] for text in texts for match in _TAG.finditer(text)]
    if not any(numbers):
        return images
    if not all(number and 1 <= int(number) <= len(images) for number in numbers) or len({*numbers}) < len(images):
        raise RowError(
            "IMG_COUNT", f"{len(images)} images for the tags of images {', '.join(n or '?' for n in numbers)}"
        )
    return tuple(images[int(number) - 1] for number in numbers)


def _without_end_token(turn: Turn) -> Turn:
    """An assistant's turn without the end tokens at its end.

    Raises:
        RowError: ``TEXT_SPECIAL``, if a token of a chat template stands elsewhere in it.
    """
    if turn.role != "assistant" or not _CHAT_TOKEN.search(turn.text):
        return turn
    text = turn.text.rstrip()
    while token := next((token for token in _END_TOKENS if text.endswith(token)), None):
        text = text.removesuffix(token).rstrip()
    if found := _CHAT_TOKEN.search(text):
        raise RowError("TEXT_SPECIAL", f"the token {found[0]} of a chat template stands in an answer")
    return Turn(turn.role, (text,) if text else ())


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


def _messages(columns: Mapping[str, Any]) -> tuple[list[tuple[Role, Any]], tuple[str, ...], list[Mapping[str, Any]]]:
    """Role and content of each message, the columns they came from, and what belongs to each answer."""
    system = next((name for name in SYSTEM_COLUMNS if isinstance(columns.get(name), str) and columns[name].strip()), "")
    head: list[tuple[Role, Any]] = [("system", columns[system])] if system else []
    used = (system,) if system else ()
    for name in CONVERSATION_COLUMNS:
        value = columns.get(name)
        if isinstance(value, str) and value.strip():
            value = _decoded(name, value)
        if isinstance(value, dict):  # how older `datasets` stored a list of objects: an object of lists
            value = transposed(name, value)
        if isinstance(value, list) and value:
            said = _expanded(name, value)
            head = [] if said[0][0] == "system" and said[0][1] else head
            return [*head, *said], (*used, name), _of_answers(columns, value)
        if value is not None and value != []:
            raise RowError("ROW_SHAPE", f"{name} should be a list of messages, found {_type(value)}")
    there = [name for name in QUESTION_COLUMNS if columns.get(name) is not None]
    question = next((name for name in there if columns[name] != ""), there[0] if there else None)
    answer = next((name for name in ANSWER_COLUMNS if columns.get(name) is not None), None)
    if question is None:
        raise RowError(
            "ROW_SHAPE",
            f"expected one of {', '.join((*CONVERSATION_COLUMNS, *QUESTION_COLUMNS))}; "
            f"found {', '.join(map(str, columns))[:200] or 'nothing'}",
        )
    asked = columns[question]
    used = (*used, *(name for name in there if columns[name] == ""), question)
    if question in ("instruction", "prompt") and isinstance(columns.get("input"), str):
        asked, used = "\n".join(filter(None, (asked, columns["input"]))), (*used, "input")
    if "history" in columns:
        head, used = [*head, *_earlier(columns["history"])], (*used, "history")
    messages = [*head, *_said("user", question, asked)]
    if answer is not None:
        messages += _said("assistant", answer, columns[answer])
        used = (*used, answer)
    return messages, used, []


def _said(role: Role, column: str, value: object) -> list[tuple[Role, Any]]:
    """The messages of a flat column: a text, or a list of messages as TRL and verl write prompt and completion."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return _expanded(column, value)
    if not isinstance(value, str):
        raise RowError("ROW_SHAPE", f"{column} should be a string, found {_type(value)}")
    return [(role, value)]


def _earlier(history: object) -> list[tuple[Role, Any]]:
    """The turns of LLaMA-Factory's ``history``: pairs of a question and an answer."""
    pairs = history or []
    if not isinstance(pairs, list) or not all(isinstance(turn, (list, tuple)) and len(turn) == 2 for turn in pairs):
        raise RowError("ROW_SHAPE", "history should hold pairs of a question and an answer")
    roles: tuple[Role, Role] = ("user", "assistant")
    return [(role, text) for turn in pairs for role, text in zip(roles, turn, strict=True)]


def _decoded(column: str, text: str) -> Any:
    """A list or object that a table holds as JSON text.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError("ROW_SHAPE", f"{column} is a text, and no JSON: {str(error)[:80]}") from error
    if not isinstance(value, (list, dict)):
        raise RowError("ROW_SHAPE", f"{column} should be a list, found the text {text[:40]!r}")
    return value


def _expanded(column: str, items: Sequence[object]) -> list[tuple[Role, Any]]:
    """Role and content of the messages of a list, in which an object may also hold a question and its answer."""
    messages: list[tuple[Role, Any]] = []
    for item in items:
        pair = _question_and_answer(item)
        if pair is None:
            messages.append(message_parts(column, item))
        else:
            roles: tuple[Role, Role] = ("user", "assistant")
            messages += [(role, text) for role, text in zip(roles, pair, strict=True) if text is not None]
    return messages


def _question_and_answer(item: object) -> tuple[Any, Any] | None:
    """The two texts of FineVision's ``{"user": …, "assistant": …}`` or ms-swift's ``{"human": …, "assistant": …}``."""
    if not isinstance(item, dict) or "from" in item or "role" in item or "assistant" not in item:
        return None
    asked = next((item[name] for name in ("user", "human") if name in item), None)
    return asked, item["assistant"]


def _of_answers(columns: Mapping[str, Any], items: Sequence[object]) -> list[Mapping[str, Any]]:
    """What a list of question-answer pairs holds beside the texts, by answer; and FineVision's columns of ratings."""
    if not all(_question_and_answer(item) for item in items):
        return []
    ratings = {
        str(name).removesuffix("s"): values
        for name, values in columns.items()
        if str(name).endswith("_ratings") and isinstance(values, list) and len(values) == len(items)
    }
    return [
        {
            **{
                f"turn_{name}": json_value(value)
                for name, value in item.items()
                if name not in ("user", "human", "assistant")
            },
            **{name: json_value(values[number]) for name, values in ratings.items()},
        }
        for number, item in enumerate(items)
        if isinstance(item, dict)
    ]


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
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise RowError("ROW_SHAPE", f"the speaker {str(speaker)[:40]!r} is none of {', '.join(ROLES)}")
    content = next((message[name] for name in ("value", "content", "parts") if message.get(name) is not None), None)
    if content is not None and not isinstance(content, (str, list)):
        raise RowError("ROW_SHAPE", f"a message's content should be a string or parts, found {_type(content)}")
    return role, content or ""


def is_image_part(part: object) -> bool:
    """Whether a content part stands for an image."""
    return isinstance(part, dict) and part.get("type") in ("image", "image_url", "input_image")


def carried_image(part: dict[str, Any]) -> object:
    """The image that a content part holds or names, if it does."""
    return next((part[name] for name in ("image", "image_url", "url", "path", "bytes") if part.get(name)), None)


def known_parts(content: object) -> Any:
    """Content parts as OpenAI and `transformers` write them, made of Anthropic's, Gemini's and untyped ones."""
    return [_part_known(part) for part in content] if isinstance(content, list) else content


def _part_known(part: object) -> object:
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
    if part.get("type") == "input_text" or (part.get("type") is None and isinstance(part.get("text"), str)):
        return {"type": "text", "text": part.get("text")}
    if part.get("type") is None and carried_image(part) is not None:
        return {**part, "type": "image"}
    return part


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
            kind = piece.get("type") if isinstance(piece, dict) else _type(piece)
            if kind in ("video", "video_url", "audio", "input_audio"):
                raise RowError("VIDEO" if kind.startswith("video") else "AUDIO", f"a content part of type {kind!r}")
            raise RowError("ROW_SHAPE", f"a content part of type {str(kind)[:40]!r}; text and image are known")
        elif tags and role == "user":
            for place, words in enumerate(_TAG.split(text)[::2]):  # between them the numbers
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
