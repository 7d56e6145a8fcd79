"""From rows of a published set to pairs: the code shared by all importers.

An importer reads its set's columns into a `PairDraft`. Here its prompt becomes turns with image slots, its answers
are checked, and whatever column it did not use is kept in ``meta``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import Any

from prefgen import sources
from prefgen.errors import RowError, UsageError
from prefgen.formats.roundtrip_column import COLUMN, Carried
from prefgen.records import Dropped, ImageRef, Pair, Role, Sample, Span, Turn, sample_id
from prefgen.sources import SourceOptions
from prefgen.sources.columns import ID_COLUMNS, is_id, refuse_other_media, with_objects
from prefgen.sources.image_columns import IMAGE_COLUMNS, has_image, image_names, image_refs
from prefgen.sources.messages import QUESTION_COLUMNS, is_nothing
from prefgen.sources.row import Row, json_value
from prefgen.sources.turns import (
    carried_image,
    check_order,
    check_speakers,
    check_text,
    content_parts,
    is_image_part,
    known_parts,
    message_parts,
    place_images,
)

UNUSABLE_ROWS = 50
Message = tuple[Role, Any]


@dataclass(frozen=True)
class PairDraft:
    """A pair in the terms of its source row.

    Attributes:
        prompt: role and content of each message before the answer.
        images: value of the image column, in any spelling that `prefgen.sources` knows; empty where the images stand in
            the messages' content parts.
        rejected_images: likewise, where the preference is between pictures and both answers are the same.
        used: names of the columns that all this was made of; the others go to ``meta``.
        params: how the pair was chosen or made, as far as the set says, e.g. the names of the two models.
        meta: replaces columns of the same name in ``meta``, e.g. by what a JSON string holds.
        row_id: the row's own id, if it is in none of the usual columns.
        grouped: whether several rejected answers of its row are paired with its chosen one, as `prefgen join` puts
        them.
        carried: what `prefgen export` kept of the row outside of it; None where the row has a column for that, or
            nothing was kept.
    """

    prompt: Sequence[Message]
    images: object
    chosen: object
    rejected: object
    used: tuple[str, ...]
    variant: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    row_id: str = ""
    rejected_images: object = None
    grouped: bool = False
    carried: object = None


@dataclass(frozen=True)
class Origin:
    """Values that are the same for all rows of an import.

    Attributes:
        name: of the importer; the pairs' method.
        source: name of the file, folder or Hub set.
    """

    name: str
    source: str
    licence: str
    allow_urls: bool
    seed: int = 0


Read = Callable[[Mapping[str, Any]], Iterable[PairDraft]]


def import_set(
    src: str, name: str, licence: str, options: SourceOptions, read: Read, seed: int = 0
) -> Iterator[Pair | Dropped]:
    """The pairs of a set that `prefgen.sources` can open, images not loaded.

    Args:
        read: the drafts of one row; a `RowError` drops the row.

    Raises:
        UsageError: the input as a whole cannot be used.
    """
    return import_rows(sources.rows(src, options), origin(src, name, licence, options, seed), read)


def origin(src: str, name: str, licence: str, options: SourceOptions, seed: int = 0) -> Origin:
    """The origin of rows of `src`."""
    return Origin(name, sources.name_of(src), licence, options.allow_urls, seed)


def import_rows(rows: Iterable[Row], origin: Origin, read: Read) -> Iterator[Pair | Dropped]:
    """The pairs of `rows` in order, with a `Dropped` for every row without one.

    Raises:
        UsageError: if none of the first rows has the shape of the set.
    """
    seen: set[int] = set()
    unusable: str | None = None  # what is wrong with the first row, as long as no row had the right shape
    number = 0
    for number, row in enumerate(rows, 1):
        for outcome in _outcomes(row, origin, read, seen):
            if isinstance(outcome, Dropped) and outcome.reason in ("ROW_SHAPE", "JSON_SYNTAX"):
                unusable = outcome.detail if number == 1 else unusable
            else:
                unusable = None
            yield outcome
        if unusable and number == UNUSABLE_ROWS:
            break
    if number == 0:
        raise UsageError(f"INPUT_EMPTY: {origin.source} has no rows")
    if unusable:
        raise UsageError(
            f"SCHEMA: none of the first {number} rows of {origin.source} has the shape of {origin.name}. {unusable}. "
            "Is it another set? `prefgen formats` shows the rows of those that can be imported"
        )


def _outcomes(row: Row, origin: Origin, read: Read, seen: set[int]) -> Iterator[Pair | Dropped]:
    if isinstance(row.columns, RowError):
        yield Dropped(row.columns.reason, f"{row.where}: {row.columns.detail}", origin.source, row.where)
        return
    columns = row.columns
    id_column = next((name for name in ID_COLUMNS if is_id(columns.get(name))), "")
    own_id = str(columns[id_column]) if id_column else ""
    grouped: list[Pair | Dropped] = []
    try:
        for draft in chain.from_iterable(map(_singles, read(columns))):
            used = draft.used if draft.row_id else (*draft.used, id_column)
            named = replace(draft, row_id=draft.row_id or own_id, used=used)
            outcome = _outcome(named, row.where, columns, origin, seen)
            if named.grouped:
                grouped.append(outcome)
            else:
                yield outcome
    except RowError as error:
        yield Dropped(error.reason, f"{row.where}: {error.detail}", origin.source, own_id or row.where)
    yield from _joined(grouped)


def _singles(draft: PairDraft) -> Iterator[PairDraft]:
    """One draft for each chosen and rejected answer, where a draft has lists of answers."""
    chosen, rejected = alternatives(draft.chosen), alternatives(draft.rejected)
    if len(chosen) == len(rejected) == 1:
        yield replace(draft, chosen=chosen[0], rejected=rejected[0])
        return
    for better, worse in product(chosen, rejected):
        yield replace(draft, chosen=better, rejected=worse, grouped=True)


def alternatives(value: object) -> list[object]:
    """The answers in a column: a list of texts or of message lists holds several."""
    if not isinstance(value, list) or not value or all(isinstance(item, dict) for item in value):
        return [value]
    return list(value)


def _joined(outcomes: Sequence[Pair | Dropped]) -> Iterator[Pair | Dropped]:
    """The outcomes with groups: pairs of one chosen answer, adjacent to each other."""
    yield from (outcome for outcome in outcomes if isinstance(outcome, Dropped))
    groups: dict[str, list[Pair]] = {}
    for pair in outcomes:
        if isinstance(pair, Pair):
            groups.setdefault(pair.chosen, []).append(pair)
    for pairs in groups.values():
        group = {"group": pairs[0].sample.id, "size": len(pairs)}
        yield from (replace(pair, joined=pair.joined or group) if len(pairs) > 1 else pair for pair in pairs)


def _outcome(
    draft: PairDraft, where: str, columns: Mapping[str, Any], origin: Origin, seen: set[int]
) -> Pair | Dropped:
    try:
        pair = _pair(draft, where, columns, origin)
    except RowError as error:
        return Dropped(error.reason, f"{where}: {error.detail}", origin.source, draft.row_id or where)
    key = int(pair.sample.id, 16)
    if key in seen:
        return Dropped.of(pair.sample, "DUPLICATE", f"{where}: the same pair is in an earlier row")
    seen.add(key)
    return pair


def _pair(draft: PairDraft, where: str, columns: Mapping[str, Any], origin: Origin) -> Pair:
    prompt_said: list[Message] = [(role, known_parts(content)) for role, content in draft.prompt]
    given = answer_text("chosen", draft.chosen), answer_text("rejected", draft.rejected)
    said, chosen, rejected = _filled(prompt_said, *given, columns)
    images = image_refs(draft.images if has_image(draft.images) else _carried_images(said), origin.allow_urls)
    refuse_other_media(columns)
    if not images:
        raise RowError("TEXT_ONLY", "no image")
    prompt = place_images(prompt_turns(said), len(images))
    others = image_refs(draft.rejected_images, origin.allow_urls) if has_image(draft.rejected_images) else ()
    others = () if others == images else others
    if others and len(others) != len(images):
        raise RowError("ROW_SHAPE", f"{len(others)} rejected images for {len(images)} images")
    _check_answers(chosen, rejected, by_image=bool(others))
    used = {*draft.used, COLUMN}
    meta = {str(name): json_value(value) for name, value in columns.items() if name not in used} | dict(draft.meta)
    carried = Carried(origin.source, draft.row_id or where, 0, origin.licence, origin.name, draft.variant, meta=meta)
    kept = columns.get(COLUMN) if draft.carried is None else draft.carried
    saved = _saved(columns) if kept is None else None
    if kept is not None or saved is not None:
        carried = Carried.from_json(kept) if saved is None else saved
        images, others = _recorded(images, others, carried)
    answers = f"{chosen}\x1d{rejected}"  # several pairs of one prompt are several samples
    sample = Sample(
        id=sample_id(draft.row_id, carried.turn, prompt, image_names(images + others), answers),
        prompt=prompt,
        images=images,
        answer=chosen,
        source=carried.source,
        source_id=carried.source_id,
        turn=carried.turn,
        meta=carried.meta,
        licence=carried.licence,
    )
    pair = Pair(
        sample=sample,
        method=carried.method,
        variant=carried.variant,
        chosen=chosen,
        rejected=rejected,
        iteration=0,
        similarity=None,
        seed=origin.seed,
        rejected_images=others,
        flags=tuple(carried.flags),
        params={**draft.params, **carried.params},
        joined=carried.joined,
    )
    return pair if saved is None else _as_generated(pair, columns)


def _saved(columns: Mapping[str, Any]) -> Carried | None:
    """The round-trip data of a row of a saved run; None for any other row."""
    if not columns.keys() >= {"id", "method", "source_id", "prefgen_version", "meta"}:
        return None
    try:
        return Carried.of_row(columns)
    except (KeyError, TypeError, ValueError):  # columns of these names with another meaning
        return None


def _as_generated(pair: Pair, columns: Mapping[str, Any]) -> Pair:
    """The pair with its id and recorded spans, if its texts are unchanged."""
    if (pair.chosen, pair.rejected) != (columns["chosen_response"], columns["rejected_response"]):
        return pair
    if re.fullmatch("[0-9a-f]{16}", str(columns["id"])) is None:
        return pair
    spans, swaps = (
        tuple(Span(span["start"], span["end"]) for span in columns[name] or ()) for name in ("spans", "swaps")
    )
    return replace(
        pair,
        sample=replace(pair.sample, id=columns["id"]),
        iteration=columns["iteration"],
        similarity=columns["similarity"],
        seed=columns["seed"],
        spans=spans,
        swaps=swaps,
        cuts=tuple(columns["cuts"] or ()),
        finish=tuple(columns["finish"] or ()),
        image_tokens=columns["image_tokens"],
        kept_tokens=columns["kept_image_tokens"],
        tokens=columns["generated_tokens"],
        record=json.loads(columns["meta"])["record"],
    )


def _filled(
    said: list[Message], chosen: str, rejected: str, columns: Mapping[str, Any]
) -> tuple[list[Message], str, str]:
    """Prompt and answers with the placeholders of a grounding row filled.

    The rejected answer goes on behind the chosen one where there are objects enough for both, and else, as ms-swift has
    it, starts where the prompt ended.

    Raises:
        RowError: ``TEXT_PLACEHOLDER``.
    """
    answers: list[Message] = [("assistant", chosen), ("assistant", rejected)]
    try:
        *asked, better, worse = with_objects([*said, *answers], columns)
    except RowError:
        *asked, better = with_objects([*said, answers[0]], columns)
        worse = with_objects([*said, answers[1]], columns)[-1]
    return asked, better[1], worse[1]


def _recorded(
    images: tuple[ImageRef, ...], others: tuple[ImageRef, ...], carried: Carried
) -> tuple[tuple[ImageRef, ...], tuple[ImageRef, ...]]:
    """The images with what an earlier run recorded about them."""
    known = carried.recorded()
    if len(known) != len(images) + len(others):  # of an export by an earlier version, or edited
        return images, others
    found = [replace(image, recorded=record) for image, record in zip((*images, *others), known, strict=True)]
    return tuple(found[: len(images)]), tuple(found[len(images) :])


def prompt_turns(messages: Sequence[Message]) -> tuple[Turn, ...]:
    """Messages as turns, the last one the user's; ``<image>`` in a user's text is a slot unless content is in parts.

    Raises:
        RowError: ``ROW_SHAPE``, ``TEXT_EMPTY``, ``TEXT_CONTROL``.
    """
    typed = bool(_image_parts(messages))
    turns = tuple(Turn(role, content_parts(role, content, tags=not typed)) for role, content in messages)
    turns = tuple(turn for turn in turns if turn.role != "system" or turn.text.strip())
    check_order(turns)
    if turns[-1].role != "user":
        raise RowError("ROW_SHAPE", "the prompt should end with the user's turn")
    for turn in turns:
        check_text(turn)
    return turns


def _image_parts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    parts = (part for _, content in messages if isinstance(content, list) for part in content)
    return [part for part in parts if is_image_part(part)]


def _carried_images(messages: Sequence[Message]) -> list[object]:
    """The images inside content parts."""
    return [image for part in _image_parts(messages) if (image := carried_image(part)) is not None]


def messages(name: str, value: object) -> list[Message]:
    """A column of messages.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    if not isinstance(value, list) or not value:
        raise RowError("ROW_SHAPE", f"{name} should be a list of messages, found {type(value).__name__}")
    check_speakers(value)
    return [message_parts(name, message) for message in value]


def answer_text(name: str, value: object) -> str:
    """An answer: a string, one message, or a list of one message.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        role, content = message_parts(name, value)
        if role != "assistant":
            raise RowError("ROW_SHAPE", f"{name} is a message of the {role}")
        return Turn(role, content_parts(role, content, tags=False)).text
    if not isinstance(value, str):
        raise RowError("ROW_SHAPE", f"{name} should be a string or one message, found {type(value).__name__}")
    return value


def question(text: object, name: str = "question") -> list[Message]:
    """A prompt of one user turn.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    if not isinstance(text, str):
        raise RowError("ROW_SHAPE", f"{name} should be a string, found {type(text).__name__}")
    return [("user", text)]


def prompt(value: object, name: str = "prompt") -> list[Message]:
    """A prompt that is a text or a list of messages.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    return messages(name, value) if isinstance(value, list) else question(value, name)


def known_prompt(columns: Mapping[str, Any]) -> tuple[list[Message], str]:
    """The prompt in one of the usual columns, and the column's name.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    name = next((name for name in QUESTION_COLUMNS if columns.get(name) is not None), " or ".join(QUESTION_COLUMNS))
    (value,) = needed(columns, name)
    return prompt(value, name), name


def known_images(columns: Mapping[str, Any]) -> tuple[object, str]:
    """The images in one of the usual columns, and the column's name; None and "" without one."""
    name = next((name for name in IMAGE_COLUMNS if has_image(columns.get(name))), "")
    return columns.get(name), name


def needed(columns: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    """The values of required columns.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    lacking = [name for name in names if is_nothing(columns.get(name))]
    if lacking:
        line = ",".join(f"{name}=…" for name in lacking)
        found = ", ".join(map(str, columns))[:200] or "nothing"
        raise RowError(
            "ROW_SHAPE", f"no {', '.join(lacking)}; found {found}. Where they have other names: --columns {line}"
        )
    return tuple(columns[name] for name in names)


def decoded(name: str, value: object) -> Any:
    """The content of a JSON string; anything else unchanged.

    Raises:
        RowError: ``ROW_SHAPE``.
    """
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise RowError("ROW_SHAPE", f"{name} should be a JSON string: {error}") from error


def _check_answers(chosen: str, rejected: str, *, by_image: bool) -> None:
    if not chosen.strip():
        raise RowError("ANSWER_EMPTY", "chosen has no text")
    if not rejected.strip():
        raise RowError("REJECTED_EMPTY", "rejected has no text")
    if by_image and chosen != rejected:
        raise RowError("ROW_SHAPE", "both answer and images are rejected; only one of them can be")
    if chosen == rejected and not by_image:
        raise RowError("REJECTED_EQUALS_CHOSEN", "chosen and rejected are equal")
    for text in (chosen, rejected):
        check_text(Turn("assistant", (text,)))
