"""ms-swift's RLHF format: https://swift.readthedocs.io, Custom-dataset, no licence of its own.

JSON Lines; what ``prefgen export --to ms-swift`` writes::

    {"messages": [{"role": "user", "content": "<image>What is this?"}, {"role": "assistant", "content": "A cat."}],
     "images": ["kitten.png"], "rejected_response": "A dog."}

``rejected_response`` may be a list of answers, all of which are kept, or of one message. ``conversations`` stands for
``messages``, and instead of ``rejected_response`` there may be ``rejected_messages``, the
whole conversation again, with its ``rejected_images``. A column ``rejected`` means nothing to ms-swift, nor here.
Missing ``<image>`` tags are tolerated: all pictures then go in front of the first user turn. Other ``rejected_images``
to the same answer are a preference between *pictures*; rows that reject both an answer and pictures are dropped.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefgen.errors import RowError
from prefgen.formats.base import Attempt, Exported, Exporter, Format, Loader
from prefgen.formats.reading import PairDraft, import_set, messages
from prefgen.formats.writing import asked, write_lines
from prefgen.records import Dropped, Pair
from prefgen.rundir.reader import REJECTED_PATHS, Stored
from prefgen.sources import SourceOptions
from prefgen.sources.image_columns import has_image


@dataclass(frozen=True)
class MsSwift:
    """Reader of ms-swift's forms of rejected answers, and of rejected pictures."""

    name: ClassVar[str] = "ms-swift"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        images = columns.get("images")
        name = "messages" if columns.get("messages") is not None else "conversations"
        *prompt, (role, chosen) = messages(name, columns.get(name))
        if role != "assistant":
            raise RowError("ROW_SHAPE", f"{name} should end with the chosen answer")
        rejected = columns.get("rejected_response")
        if columns.get("rejected_messages") is not None:
            *repeated, (_, rejected) = messages("rejected_messages", columns["rejected_messages"])
            if repeated != prompt:
                raise RowError("ROW_SHAPE", "messages and rejected_messages have different prompts")
        others = columns.get("rejected_images")
        if rejected is None and not has_image(others):
            raise RowError("ROW_SHAPE", "neither rejected_response nor rejected_messages nor rejected_images")
        rejected = chosen if rejected is None else rejected
        used = (name, "images", "rejected_response", "rejected_messages", "rejected_images")
        yield PairDraft(prompt, images, chosen, rejected, used, rejected_images=others)


def write(stored: Stored, out: Path, name: str) -> Exported:
    """ms-swift's RLHF format: ``train.jsonl`` and ``images/``.

    A set with preferences between pictures has ``rejected_messages`` and ``rejected_images`` in all its rows, in place
    of ``rejected_response``: ms-swift takes what only some rows have for a mistake in the others. Paths are relative to
    the folder, and ms-swift takes them as relative to where it runs; ``objects``, the boxes of grounding rows, are
    kept::

        cd OUT && swift rlhf --rlhf_type dpo --dataset train.jsonl --model MODEL
    """
    by_image = any(row["rejected_images"] for row in stored.scan((REJECTED_PATHS,)))
    return write_lines(stored, out / "train.jsonl", functools.partial(_record, by_image=by_image), place)


def place(row: Mapping[str, Any]) -> None:
    """Accept every row."""


def _record(row: Mapping[str, Any], images: list[str], *, by_image: bool) -> dict[str, Any]:
    prompt, count = asked(row), len(row["images"])
    chosen, rejected = ({"role": "assistant", "content": row[f"{side}_response"]} for side in ("chosen", "rejected"))
    return {
        "messages": [*prompt, chosen],
        "images": images[:count],
        **(
            {"rejected_messages": [*prompt, rejected], "rejected_images": images[count:] or images}
            if by_image
            else {"rejected_response": rejected["content"]}
        ),
        "id": row["source_id"],
        **_objects(row),
    }


def _objects(row: Mapping[str, Any]) -> dict[str, Any]:
    """The boxes of a grounding row, whose placeholders are already filled."""
    objects = json.loads(row["meta"])["source"].get("objects")
    return {"objects": {"ref": [], "bbox": [], **objects}} if isinstance(objects, dict) else {}


def problems(columns: Mapping[str, Any]) -> Iterator[str]:
    """ms-swift's rules for RLHF data (its Custom-dataset page and ``template_inputs.py``)."""
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
    """Unfilled placeholders of a grounding row, which would be trained on as text."""
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


def load(folder: Path, names: Mapping[str, str], processor: str | None) -> Attempt:
    """ms-swift's `AutoPreprocessor` and `TemplateInputs`."""
    from swift.dataset import AutoPreprocessor
    from swift.template.template_inputs import TemplateInputs

    def attempt(rows: Any) -> None:
        prepared = AutoPreprocessor()(rows, strict=True, load_from_cache_file=False, enable_auto_mapping=True)
        for row in prepared:
            TemplateInputs.from_dict(row)

    return attempt


FORMAT = Format(
    "ms-swift",
    reader=MsSwift,
    writer=Exporter(write, place, ("id",)),
    loader=Loader(problems, "swift", "ms-swift", load, max_length=None, turns_pictures=False),
)
