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
    an answer without a question   a caption, say, answers `SourceOptions.question`
    an answer that is a refusal    in the words of a chat service drops it, see `prefgen.text.BOILERPLATE`
    a row's own id                 is part of a sample's id, its place in the file is not
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefgen.errors import RowError
from prefgen.records import Dropped, ImageRef, Role, Sample, Turn, sample_id
from prefgen.sources.image_columns import IMAGE_COLUMNS, has_image, image_names, image_refs
from prefgen.sources.options import SourceOptions
from prefgen.sources.questions import draw_question
from prefgen.sources.row import Row
from prefgen.sources.turns import (
    by_number,
    carried_image,
    check_order,
    check_text,
    content_parts,
    is_image_part,
    known_parts,
    message_parts,
    place_images,
    transposed,
    without_end_token,
)
from prefgen.text import BOILERPLATE

CONVERSATION_COLUMNS = ("conversations", "messages", "conversation", "texts", "contents")
QUESTION_COLUMNS = ("question", "prompt", "instruction", "query", "problem", "prefix", "input")
ANSWER_COLUMNS = ("answer", "response", "chosen", "output", "completion", "solution", "suffix")
CAPTION_COLUMNS = ("caption", "text", "txt", "description")
SYSTEM_COLUMNS = ("system", "system_prompt")
ID_COLUMNS = ("id", "idx", "question_id", "uid")
_MEDIA = {"VIDEO": ("video", "videos"), "AUDIO": ("audio", "audios")}
_NO_ANSWERS = frozenset({"nan", "none", "null", "n/a"})  # what a table writes for a value that is not there


@dataclass(frozen=True)
class _Conversation:
    turns: tuple[Turn, ...]
    images: tuple[ImageRef, ...]
    used: frozenset[str]  # names of the columns it was made of
    meta: tuple[Mapping[str, Any], ...]  # what belongs to each answer, by its number; empty where nothing does


def outcomes(row: Row, source: str, options: SourceOptions) -> Iterator[Sample | Dropped]:
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
        conversation = _read(row.columns, own_id, options)
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
    wanted = {"all": answers, "first": answers[:1], "last": answers[-1:]}[options.turns]
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
            if answer is not None and not options.keep_refusals and BOILERPLATE.search(answer):
                yield dropped("ANSWER_REFUSES", f"the answer is {answer.strip()[:120]!r}", number)
                continue
            key = sample_id(own_id, number, prompt, image_names(images), answer)
            own = conversation.meta[number] if number < len(conversation.meta) else {}
            yield Sample(key, prompt, images, answer, source, source_id, number, {**meta, **own})
        else:
            yield dropped("TEXT_ONLY", "no image before this answer", number)


def is_id(value: object) -> bool:
    """Whether a value can name a row."""
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(str(value).strip())


def _read(columns: Mapping[str, Any], own_id: str, options: SourceOptions) -> _Conversation:
    refuse_other_media(columns)
    held = next((name for name in IMAGE_COLUMNS if has_image(columns.get(name))), None)
    if held == "image_id" and not isinstance(columns[held], (str, list)):  # COCO's number
        held = None
    value = {"bytes": columns[held]} if held == "image_bytes" else columns.get(held or "")
    if held == "images" and isinstance(value, str) and value.lstrip()[:1] == "[":
        value = _decoded(held, value)
    images = image_refs(value, options.allow_urls) if held else ()
    raw, used, meta = _messages(columns, lambda answer: _drawn_question(options, own_id, images, answer))
    raw = [(role, known_parts(content)) for role, content in raw]
    typed = any(is_image_part(part) for _, content in raw if isinstance(content, list) for part in content)
    if typed and not images:
        carried = [part for _, content in raw if isinstance(content, list) for part in content if is_image_part(part)]
        images = tuple(ref for part in carried for ref in image_refs(carried_image(part), options.allow_urls))
    if not typed:
        images = by_number(raw, images)
    turns = [Turn(role, content_parts(role, content, tags=not typed)) for role, content in raw]
    turns = [without_end_token(turn) for turn in turns if turn.role != "system" or turn.text.strip()]
    first = next((place for place, turn in enumerate(turns) if turn.role != "system"), 0)
    if turns and turns[first].role == "assistant" and any(turn.role == "assistant" for turn in turns[first + 1 :]):
        meta = [{**(meta[0] if meta else {}), "greeting": turns.pop(first).text}, *meta[1:]]
    check_order(turns)
    return _Conversation(
        place_images(turns, len(images)), images, frozenset((*used, held) if held else used), tuple(meta)
    )


def refuse_other_media(columns: Mapping[str, Any]) -> None:
    """Refuse a row with video or sound.

    Raises:
        RowError: ``VIDEO``, ``AUDIO``.
    """
    for reason, names in _MEDIA.items():
        if name := next((name for name in names if has_image(columns.get(name))), None):
            raise RowError(reason, f"the row has a {name.removesuffix('s')}, which prefgen cannot show to a model")


def _drawn_question(options: SourceOptions, own_id: str, images: tuple[ImageRef, ...], answer: str) -> str | None:
    """What a row without a question is asked; None if no question was given."""
    if not options.question:
        return None
    return draw_question(options.question, options.seed, sample_id(own_id, 0, (), image_names(images), answer))


def _messages(
    columns: Mapping[str, Any], ask: Callable[[str], str | None]
) -> tuple[list[tuple[Role, Any]], tuple[str, ...], list[Mapping[str, Any]]]:
    """Role and content of each message, the columns they came from, and what belongs to each answer.

    Args:
        ask: the question of a row that has none, from its answer.
    """
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
        answer = answer or next((name for name in CAPTION_COLUMNS if isinstance(columns.get(name), str)), None)
        asked = ask(str(columns[answer]) if answer else "")
        if asked is None:
            raise RowError("ROW_SHAPE", _without_question(columns, answer))
    else:
        asked = columns[question]
        used = (*used, *(name for name in there if columns[name] == ""), question)
    if question in ("instruction", "prompt") and isinstance(columns.get("input"), str):
        asked, used = "\n".join(filter(None, (asked, columns["input"]))), (*used, "input")
    if "history" in columns:
        head, used = [*head, *_earlier(columns["history"])], (*used, "history")
    messages = [*head, *_said("user", question or "--question", asked)]
    if answer is not None:
        messages += _said("assistant", answer, columns[answer])
        used = (*used, answer)
    return messages, used, []


def _without_question(columns: Mapping[str, Any], answer: str | None) -> str:
    found = ", ".join(map(str, columns))[:200] or "nothing"
    told = f"expected one of {', '.join((*CONVERSATION_COLUMNS, *QUESTION_COLUMNS))}; found {found}"
    return f"{told}. To ask one question about every {answer}: --question 'Describe the image.'" if answer else told


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
