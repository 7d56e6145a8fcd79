"""The `prefgen` column of exported rows: what a later import needs to restore the pair.

Trainers ignore the column. Offsets into the texts and ids are left out on purpose: the texts may be edited on the way.
A format whose rows have a fixed set of keys has a hidden file beside it instead, with a line for each row, by digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefgen.errors import RowError, UsageError
from prefgen.records import ImageRecord

COLUMN = "prefgen"
PAIRED_WITH = "prefgen_chosen"  # of rows with one answer: the digest of the chosen one that a rejected one belongs to
_OF_IMAGES = ("sha256", "path", "found_by", "original_sha256")


@dataclass(frozen=True)
class Carried:
    """Fields of `prefgen.records.Pair` and its sample that formats have no place for.

    Attributes:
        images: of each picture, rejected ones behind the others, what ``meta`` says of it: ``sha256``, ``path`` ….
    """

    source: str
    source_id: str
    turn: int
    licence: str
    method: str
    variant: str
    flags: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    images: list[dict[str, str]] = field(default_factory=list)
    joined: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Carried:
        """The fields of a row of `prefgen.rundir.schema.SCHEMA`."""
        meta = json.loads(row["meta"])
        params = dict(meta["options"])
        if row["model"]:
            params.setdefault("rejected_model", row["model"])
        names = ("source", "source_id", "turn", "licence", "method", "variant", "flags")
        pictures = [*meta["images"], *meta["rejected_images"]]
        images = [{name: known[name] for name in _OF_IMAGES if known.get(name)} for known in pictures]
        joined = meta.get("joined", {})
        fixed = {name: row[name] for name in names}
        return cls(**fixed, params=params, meta=meta["source"], images=images, joined=joined)

    def recorded(self) -> list[ImageRecord]:
        """The record of each picture."""
        return [ImageRecord(*(image.get(name, "") for name in _OF_IMAGES)) for image in self.images]

    def to_json(self) -> str:
        """Inverse of `from_json`."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: object) -> Carried:
        """Inverse of `to_json`.

        Raises:
            RowError: ``ROW_SHAPE``.
        """
        try:
            carried = cls(**json.loads(text))  # type: ignore[arg-type]  # anything but text is refused here
        except (TypeError, ValueError) as error:
            raise RowError("ROW_SHAPE", f"the column {COLUMN!r} is not what prefgen export writes: {error}") from error
        shape = (str, str, int, str, str, str, list, dict, dict, list, dict)
        typed = tuple(map(type, vars(carried).values())) == shape
        typed = typed and all(isinstance(flag, str) for flag in carried.flags)
        if not typed or not all(map(_is_image, carried.images)):
            raise RowError("ROW_SHAPE", f"the column {COLUMN!r} holds values of other types than prefgen export writes")
        return carried


def _is_image(value: object) -> bool:
    return isinstance(value, dict) and "sha256" in value and all(isinstance(text, str) for text in value.values())


def text_digest(text: str) -> str:
    """A digest that identifies an answer among those of one prompt."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def beside(path: Path) -> Path:
    """The sidecar file with the round-trip data of the rows of `path`."""
    return path.with_name(f".{path.stem}.prefgen.jsonl")


def row_digest(row: Mapping[str, Any]) -> str:
    """A digest that identifies a row in the sidecar file, independent of its position."""
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def line_beside(row: Mapping[str, Any], carried: Carried) -> str:
    """A line of the sidecar file, with the round-trip data of `row`."""
    return json.dumps({"row": row_digest(row), COLUMN: carried.to_json()}) + "\n"


def read_beside(path: Path) -> dict[str, str]:
    """Round-trip data of the rows of `path`, by `row_digest`; empty without a sidecar file.

    Raises:
        UsageError: the file is none of prefgen's.
    """
    file = beside(path)
    if not file.is_file():
        return {}
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {line["row"]: line[COLUMN] for line in lines}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is not what prefgen export writes: {error!r}; remove it or export again") from error
