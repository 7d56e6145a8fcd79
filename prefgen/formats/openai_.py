"""OpenAI's preference fine-tuning (DPO): https://developers.openai.com/api/docs/guides/direct-preference-optimization.

JSON Lines; Together and Fireworks take the same rows, and ``prefgen export --to openai`` writes them::

    {"input": {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/..."}}]}],
      "tools": [], "parallel_tool_calls": true},
     "preferred_output": [{"role": "assistant", "content": "A cat."}],
     "non_preferred_output": [{"role": "assistant", "content": "A dog."}]}

A picture's address may be a ``data:`` URI, a path or ``file:`` address under ``--image-root``, or with ``--allow-urls``
one of http. ``input`` may be the list of messages itself. ``tools`` that are not empty are kept in ``meta``.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image

from prefgen.errors import RowError
from prefgen.formats.base import Exported, Exporter, Format, by_answer
from prefgen.formats.reading import PairDraft, decoded, import_set, messages, needed
from prefgen.formats.roundtrip_column import Carried, beside, line_beside, read_beside, row_digest
from prefgen.formats.writing import CARRIED_COLUMNS, rows
from prefgen.images import format_of
from prefgen.records import Dropped, Pair
from prefgen.rundir.reader import Stored
from prefgen.sources import SourceOptions

TRAIN = "train.jsonl"
_USED = ("input", "preferred_output", "non_preferred_output")


@dataclass(frozen=True)
class OpenAi:
    """Reader of preference rows for fine-tuning."""

    name: ClassVar[str] = "openai"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        path = Path(src).expanduser()
        path = path / TRAIN if (path / TRAIN).is_file() else path
        kept = read_beside(path)

        def read(columns: Mapping[str, Any]) -> Iterator[PairDraft]:
            return _read(columns, kept.get(row_digest(columns)) if kept else None)

        return import_set(str(path) if path.exists() else src, self.name, self.licence, self.source, read)


def _read(columns: Mapping[str, Any], kept: str | None) -> Iterator[PairDraft]:
    given, preferred, other = needed(columns, *_USED)
    given = decoded("input", given)
    if isinstance(given, Mapping):
        (said,) = needed(given, "messages")
        rest = {name: value for name, value in given.items() if name == "tools" and value}
    else:
        said, rest = given, {}
    prompt = messages("input.messages", said)
    meta = {"input": rest} if rest else {}
    yield PairDraft(prompt, None, preferred, other, _USED, meta=meta, carried=kept)


MAX_PICTURES = 10
MAX_PICTURE_BYTES = 10_000_000
_FORMATS = ("JPEG", "PNG", "WEBP")
_MODES = ("RGB", "RGBA")


def write(stored: Stored, out: Path, name: str) -> Exported:
    """OpenAI's preference fine-tuning format: ``train.jsonl`` with pictures as ``data:`` URIs of their bytes.

    ::

        client.files.create(file=open("OUT/train.jsonl", "rb"), purpose="fine-tune")

    Rows have the keys of OpenAI's guide and no other; what prefgen's own import also reads is in a hidden file
    beside them. OpenAI's limits for pictures hold: JPEG, PNG or WebP in RGB or RGBA, 10 MB each, 10 in a row. Rows
    beyond them are left out. Its guide says that OpenAI's own models are tuned so on text alone; other services take
    pictures.
    """
    left_out: Counter[str] = Counter()
    written = 0
    path = out / "train.jsonl"
    with path.open("w", encoding="utf-8") as file, beside(path).open("w", encoding="utf-8") as kept:
        for row in rows(stored, (*CARRIED_COLUMNS, "prompt")):
            try:
                place(row)
            except RowError as error:
                left_out[error.reason] += 1
                continue
            value = _record(row)
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
            kept.write(line_beside(value, Carried.of_row(row)))
            written += 1
    return Exported(written, dict(left_out))


def place(row: Mapping[str, Any]) -> None:
    """Refuse rows beyond OpenAI's limits for pictures.

    Raises:
        RowError: ``REJECTED_BY_IMAGE``, ``IMG_COUNT``, ``IMG_FORMAT``, ``IMG_SIZE``.
    """
    by_answer(row)
    if len(row["images"]) > MAX_PICTURES:
        raise RowError("IMG_COUNT", f"{len(row['images'])} pictures")
    for image in row["images"]:
        kind = format_of(image["bytes"])
        if kind not in _FORMATS:
            raise RowError("IMG_FORMAT", f"OpenAI takes no {kind}")
        with PIL.Image.open(io.BytesIO(image["bytes"])) as picture:  # reads the header alone
            mode = picture.mode
        if mode not in _MODES:
            raise RowError("IMG_FORMAT", f"OpenAI takes no {kind} of mode {mode}")
        if len(image["bytes"]) > MAX_PICTURE_BYTES:
            raise RowError("IMG_SIZE", f"{len(image['bytes']):,} bytes")


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    pictures = iter([_data_uri(image["bytes"]) for image in row["images"]])
    said = []
    for turn in row["prompt"]:
        parts = [
            {"type": "text", "text": part["text"]}
            if part["type"] == "text"
            else {"type": "image_url", "image_url": {"url": next(pictures)}}
            for part in turn["content"]
        ]
        texts = [part["text"] for part in parts if part["type"] == "text"]
        said.append({"role": turn["role"], "content": parts if len(texts) < len(parts) else "".join(map(str, texts))})
    preferred, other = ({"role": "assistant", "content": row[f"{side}_response"]} for side in ("chosen", "rejected"))
    return {
        "input": {"messages": said, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [preferred],
        "non_preferred_output": [other],
    }


def _data_uri(data: bytes) -> str:
    return f"data:image/{str(format_of(data)).lower()};base64,{base64.b64encode(data).decode()}"


FORMAT = Format("openai", reader=OpenAi, writer=Exporter(write, place, ("images", "rejected_images")))
