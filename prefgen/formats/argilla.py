"""Argilla's dataset folder (export only)."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefgen.errors import RowError
from prefgen.formats.base import Exported, Exporter, Format
from prefgen.formats.writing import asked, rows
from prefgen.images import format_of
from prefgen.rundir.reader import PATHS, Stored

MAX_DATA_URI_CHARS = 5_000_000
MAX_TURN_CHARS = 20_000
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_TERMS = ("method", "variant", "model", "source", "licence", "flags")
_NUMBERS = {"similarity": "float", "iteration": "integer", "chosen_chars": "integer", "rejected_chars": "integer"}
_COLUMNS = ("id", "images", "conversations", "chosen_response", "rejected_response", "source_id", "turn")
_GUIDELINES = "Which answer is better, given the picture? Suggested is what the data set says."
_LABELS = {
    "chosen": "the chosen one",
    "rejected": "the rejected one",
    "tie": "both are as good",
    "neither": "both are wrong",
}


def write(stored: Stored, out: Path, name: str) -> Exported:
    r"""Argilla's folder, for judging or correcting pairs by hand.

    ``records.json``, ``.argilla/settings.json`` and ``.argilla/dataset.json``, as `rg.Dataset.to_disk` writes them::

        dataset = rg.Dataset.from_disk("OUT", workspace="argilla", client=rg.Argilla(api_url=..., api_key=...))

    ::

        {"id": "0f1e...", "fields": {"image": "data:image/jpeg;base64,/9j/...",
           "prompt": [{"role": "user", "content": "<image>\nWhat?"}],
           "chosen": "A cat.", "rejected": "A dog."},
         "suggestions": {"preference": {"value": "chosen", "score": null, "agent": "prefgen"}}}

    A record shows the pictures, the conversation and both answers, and asks which answer is better; what the set says
    is suggested. Pictures are in it as data URIs of their original bytes. Argilla's server takes pictures of five
    million characters in four of our formats, and turns of 20,000 characters; rows beyond that have no place.
    """
    left_out: Counter[str] = Counter()
    written = 0
    with (out / "records.json").open("w", encoding="utf-8") as file:
        for row in rows(stored, (*_COLUMNS, *_TERMS, *_NUMBERS)):
            try:
                place(row)
                record = json.dumps(_record(row), ensure_ascii=False)
            except RowError as error:
                left_out[error.reason] += 1
                continue
            file.write((",\n" if written else "[\n") + record)
            written += 1
        file.write("\n]\n")
    pictures = max((len(row["images"]) for row in stored.scan([PATHS])), default=0)
    state = out / ".argilla"
    state.mkdir()
    for path, value in (("settings.json", _settings(pictures)), ("dataset.json", {"name": name, "status": "draft"})):
        (state / path).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return Exported(written, dict(left_out))


def place(row: Mapping[str, Any]) -> None:
    """Refuse rows beyond the limits of Argilla's server.

    Raises:
        RowError: ``ROW_SHAPE``, ``IMG_FORMAT``, ``IMG_SIZE``.
    """
    if any(len(turn["content"]) > MAX_TURN_CHARS for turn in asked(row)):
        raise RowError("ROW_SHAPE", f"a turn of more than {MAX_TURN_CHARS:,} characters")
    for image in row["images"]:
        kind = format_of(image["bytes"])
        if kind not in _FORMATS:
            raise RowError("IMG_FORMAT", f"Argilla takes no {kind}")
        characters = len(_data_uri_head(kind)) + -(-len(image["bytes"]) // 3) * 4
        if characters > MAX_DATA_URI_CHARS:
            raise RowError("IMG_SIZE", f"{characters:,} characters")


def _settings(pictures: int) -> dict[str, Any]:
    """Fields and questions of a record, named as in `_record`."""
    plain = {"use_markdown": False}
    return {
        "guidelines": _GUIDELINES,
        "fields": [
            *(_field(name, "image", required=False) for name in _picture_fields(pictures)),
            _field("prompt", "chat", **plain),
            _field("chosen", "text", **plain),
            _field("rejected", "text", **plain),
        ],
        "questions": [
            {
                "name": "preference",
                "title": "Which answer is better?",
                "required": True,
                "settings": {
                    "type": "label_selection",
                    "options": [{"value": value, "text": text} for value, text in _LABELS.items()],
                    "visible_options": len(_LABELS),
                },
            },
            {
                "name": "correction",
                "title": "A right answer, where neither is",
                "required": False,
                "settings": {"type": "text", **plain},
            },
        ],
        "metadata": [
            {"name": name, "title": name, "settings": {"type": kind}, "visible_for_annotators": True}
            for name, kind in (dict.fromkeys(_TERMS, "terms") | _NUMBERS).items()
        ],
        "vectors": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def _field(name: str, kind: str, *, required: bool = True, **settings: bool) -> dict[str, Any]:
    return {"name": name, "title": name, "required": required, "settings": {"type": kind, **settings}}


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    prompt = asked(row)
    images = row["images"]
    fields: dict[str, Any] = dict(zip(_picture_fields(len(images)), map(_data_uri, images), strict=True))
    metadata = {name: row[name] for name in (*_TERMS, *_NUMBERS) if row[name] not in (None, "", [])}
    return {
        "id": row["id"],
        "fields": {**fields, "prompt": prompt, "chosen": row["chosen_response"], "rejected": row["rejected_response"]},
        "metadata": {**metadata, "source_id": row["source_id"], "turn": row["turn"]},
        "suggestions": {"preference": {"value": "chosen", "score": None, "agent": "prefgen"}},
        "responses": {},
        "vectors": {},
        "status": "pending",
        "_server_id": None,
    }


def _picture_fields(pictures: int) -> list[str]:
    return [f"image_{number}" if number > 1 else "image" for number in range(1, pictures + 1)]


def _data_uri(image: Mapping[str, Any]) -> str:
    return _data_uri_head(str(format_of(image["bytes"]))) + base64.b64encode(image["bytes"]).decode()


def _data_uri_head(kind: str) -> str:
    return f"data:image/{kind.lower()};base64,"


FORMAT = Format("argilla", writer=Exporter(write, place, ("images", "conversations")))
