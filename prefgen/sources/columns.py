"""From a row's columns to samples: finds the columns, and makes a sample of each selected assistant turn.

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
    one image, and a tag in        every question is one image: the tag of the first question counts
    ``<img>path</img>``            in a user's turn is the image of that path (Qwen-VL)
    ``<bbox>``, ``<ref-object>``   are filled from the column ``objects`` (ms-swift)
    several turns of one speaker   are one turn
    an end token                   at an answer's end is cut off; another chat token in an answer drops it
    an answer without a question   a caption, say, answers `SourceOptions.question`
    an answer that is a refusal    in the words of a chat service drops it, see `prefgen.text.BOILERPLATE`
    a row's own id                 is part of a sample's id, its place in the file is not
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefgen.errors import RowError
from prefgen.records import Dropped, ImageRef, Sample, Turn, sample_id
from prefgen.sources import grounding
from prefgen.sources.image_columns import IMAGE_COLUMNS, has_image, held_images, image_names, image_refs
from prefgen.sources.mapping import looks_like_image
from prefgen.sources.messages import read_messages
from prefgen.sources.options import SourceOptions
from prefgen.sources.questions import draw_question
from prefgen.sources.row import Row, json_value
from prefgen.sources.turns import (
    Message,
    by_number,
    carried_image,
    check_order,
    check_text,
    content_parts,
    is_image_part,
    joined,
    known_parts,
    one_image_tagged_once,
    paths_in_text,
    place_images,
    texts_of,
    with_texts,
    without_end_token,
)
from prefgen.text import BOILERPLATE

ID_COLUMNS = ("id", "idx", "question_id", "uid")
_MEDIA = {"VIDEO": ("video", "videos"), "AUDIO": ("audio", "audios")}
_NO_ANSWERS = frozenset({"nan", "none", "null", "n/a"})  # what a table writes for a value that is not there


@dataclass(frozen=True)
class _Conversation:
    turns: tuple[Turn, ...]
    images: tuple[ImageRef, ...]
    used: frozenset[str]  # names of the columns it was made of
    meta: tuple[Mapping[str, Any], ...]  # what belongs to each answer, by its number; empty where nothing does
    notes: Mapping[str, Any]  # what was changed or left out, for the row's meta


def outcomes(row: Row, source: str, options: SourceOptions) -> Iterator[Sample | Dropped]:
    """The samples of one row in the order of its answers, or a `Dropped` with the reason. At least one outcome."""
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
        yield dropped("TEXT_ONLY", _no_image(row.columns))
        return
    used = {*conversation.used, id_column}
    meta = {str(name): json_value(value) for name, value in row.columns.items() if name not in used}
    answers = [place for place, turn in enumerate(conversation.turns) if turn.role == "assistant"]
    answers = answers or [len(conversation.turns)]
    wanted = {"all": answers, "first": answers[:1], "last": answers[-1:]}[options.turns]
    checked = shown = 0
    for number, place in enumerate(answers[: answers.index(wanted[-1]) + 1]):
        try:
            for turn in conversation.turns[checked : place + 1]:
                check_text(turn)
                shown += turn.image_count  # none in an answer
        except RowError as error:
            yield dropped(error.reason, error.detail, number)
            return
        checked = place + 1
        if place not in wanted:
            continue
        prompt = conversation.turns[:place]
        images = conversation.images[:shown]
        if images:
            answer = conversation.turns[place].text if place < len(conversation.turns) else None
            if answer is not None and answer.strip().lower() in _NO_ANSWERS:
                yield dropped("TEXT_EMPTY", f"the answer is {answer.strip()!r}, which means none", number)
                continue
            if answer is not None and not options.keep_refusals and BOILERPLATE.search(answer):
                yield dropped("ANSWER_REFUSES", f"the answer is {answer.strip()[:120]!r}", number)
                continue
            key = sample_id(own_id, number, prompt, image_names(images), answer)
            own = conversation.meta[number] if number < len(conversation.meta) else {}
            yield Sample(key, prompt, images, answer, source, source_id, number, {**meta, **conversation.notes, **own})
        else:
            yield dropped("TEXT_ONLY", "no image before this answer", number)


def is_id(value: object) -> bool:
    """True if a value can be a row's id."""
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(str(value).strip())


def _read(columns: Mapping[str, Any], own_id: str, options: SourceOptions) -> _Conversation:
    refuse_other_media(columns)
    mapped = options.column_names
    holding, values = held_images(columns, mapped)
    images = image_refs(values, options.allow_urls)
    found = read_messages(columns, mapped, lambda answer: _drawn_question(options, own_id, images, answer))
    said: list[Message] = [(role, known_parts(content)) for role, content in found.said]
    said = with_objects(said, columns)
    carried = [part for _, content in said if isinstance(content, list) for part in content if is_image_part(part)]
    if carried and not images:
        images = tuple(ref for part in carried for ref in image_refs(carried_image(part), options.allow_urls))
    if not carried:
        said, images = _with_paths(said, images, options.allow_urls)
        images = by_number(said, images)
    turns = [Turn(role, content_parts(role, content, tags=not carried)) for role, content in said]
    turns = [without_end_token(turn) for turn in turns if turn.role != "system" or turn.text.strip()]
    notes: dict[str, Any] = {}
    if len(spoken := joined(turns)) < len(turns):
        notes["joined_turns"] = len(turns) - len(spoken)
    first = next((place for place, turn in enumerate(spoken) if turn.role != "system"), 0)
    if spoken and spoken[first].role == "assistant" and any(turn.role == "assistant" for turn in spoken[first + 1 :]):
        notes["greeting"] = spoken.pop(first).text
    check_order(spoken)
    if (tagged := one_image_tagged_once(spoken, len(images))) != spoken:
        notes["repeated_image_tags"] = sum(turn.image_count for turn in spoken) - 1
    used = frozenset((*found.used, *holding))
    return _Conversation(place_images(tagged, len(images)), images, used, found.meta, notes)


def refuse_other_media(columns: Mapping[str, Any]) -> None:
    """Refuse a row with video or sound.

    Raises:
        RowError: ``VIDEO``, ``AUDIO``.
    """
    for reason, names in _MEDIA.items():
        if name := next((name for name in names if has_image(columns.get(name))), None):
            raise RowError(reason, f"the row has {name}, which prefgen cannot show to a model")


def with_objects(said: list[Message], columns: Mapping[str, Any]) -> list[Message]:
    """The messages with ms-swift's placeholders filled; the column itself stays in `meta` for exports.

    Raises:
        RowError: ``TEXT_PLACEHOLDER``.
    """
    texts = [text for _, content in said for text in texts_of(content)]
    if not any(map(grounding.has_placeholder, texts)):
        return said
    filled = iter(grounding.fill(texts, columns.get(grounding.COLUMN)))
    return [(role, with_texts(content, filled)) for role, content in said]


def _with_paths(
    said: list[Message], images: tuple[ImageRef, ...], allow_urls: bool
) -> tuple[list[Message], tuple[ImageRef, ...]]:
    """Messages and images of prompts that contain image paths.

    Raises:
        RowError: ``IMG_COUNT``: they name others than the row does.
    """
    said, paths = paths_in_text(said)
    named = image_refs(list(paths), allow_urls)
    if named and images and set(named) != set(images):
        raise RowError("IMG_COUNT", f"the prompt names {', '.join(paths)[:200]}, and the row has other images beside")
    return said, named or images


def _no_image(columns: Mapping[str, Any]) -> str:
    """The error for a row without an image; names a column that may hold one."""
    names = (str(name) for name, value in columns.items() if name not in IMAGE_COLUMNS and looks_like_image(value))
    return f"no image; {name} looks like one: --columns image={name}" if (name := next(names, "")) else "no image"


def _drawn_question(options: SourceOptions, own_id: str, images: tuple[ImageRef, ...], answer: str) -> str | None:
    """The question for a row without one; None if no question was given."""
    if not options.question:
        return None
    return draw_question(options.question, options.seed, sample_id(own_id, 0, (), image_names(images), answer))
