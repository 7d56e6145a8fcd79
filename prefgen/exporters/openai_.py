"""OpenAI's preference fine-tuning format: ``train.jsonl``, pictures in it as ``data:`` URIs of their original bytes.

::

    client.files.create(file=open("OUT/train.jsonl", "rb"), purpose="fine-tune")

Rows have the keys of OpenAI's guide and no other; what prefgen's own import reads besides stands in a hidden file
beside them. OpenAI's limits for pictures hold: JPEG, PNG or WebP in RGB or RGBA, 10 MB each, 10 in a row. Rows beyond
them are left out. Its guide says that OpenAI's own models are tuned so on text alone; other services take pictures.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import PIL.Image

from prefgen.carried import Carried, beside, line_beside
from prefgen.errors import RowError
from prefgen.exporters.records import CARRIED_COLUMNS, Exported, Exporter, by_answer, rows
from prefgen.images import format_of
from prefgen.rundir.reader import Stored

MAX_PICTURES = 10
MAX_PICTURE_BYTES = 10_000_000
_FORMATS = ("JPEG", "PNG", "WEBP")
_MODES = ("RGB", "RGBA")


def write(stored: Stored, out: Path, name: str) -> Exported:
    """Write the rows of `stored` into `out`."""
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


EXPORTER = Exporter(write, place, ("images", "rejected_images"))


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
