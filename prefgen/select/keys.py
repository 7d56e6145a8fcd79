"""Keys for comparing rows by the content of their pictures and texts, not by ids or sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

By = Literal["pair", "answer", "prompt", "image"]
_NO_PICTURES = '"rejected_images": []'  # as `prefgen.rundir.schema` writes it
COLUMNS = ("prompt", "chosen_response", "rejected_response", "meta")


def digests(row: Mapping[str, Any]) -> list[str]:
    """SHA-256 of each picture's encoded bytes, as recorded in the row."""
    return [image["sha256"] for image in json.loads(row["meta"])["images"]]


def key(row: Mapping[str, Any], by: By) -> bytes:
    """A digest that is equal for rows that agree in `by`.

    ``image`` compares the pictures, ``prompt`` the conversation too, ``answer`` also the chosen answer, ``pair`` all.
    The place of the pictures within a turn and white space around its text are ignored.
    """
    return _digest([*digests(row), *texts(row, by)])


def rejected(row: Mapping[str, Any]) -> str:
    """The rejected answer and rejected pictures of a row, from `rejected_response` and `meta`."""
    if _NO_PICTURES in row["meta"]:  # nearly every row
        return str(row["rejected_response"])
    pictures = [image["sha256"] for image in json.loads(row["meta"]).get("rejected_images", [])]
    return "\x1d".join([row["rejected_response"], *pictures])


def texts(row: Mapping[str, Any], by: By) -> list[str]:
    """The compared texts of a row: its turns, then its answers."""
    found: list[str] = []
    if by != "image":
        found += [f"{turn['role']}\x1e{_text(turn)}" for turn in row["prompt"]]
    if by in ("answer", "pair"):
        found.append(row["chosen_response"])
    if by == "pair":
        found.append(rejected(row))
    return found


def _text(turn: Mapping[str, Any]) -> str:
    return "".join(part["text"] for part in turn["content"] if part["type"] == "text").strip()


def _digest(texts: Iterable[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=12)
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()
