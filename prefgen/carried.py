"""What an exported row carries in one extra column, so that importing it again loses nothing but how it was generated.

Trainers ignore the column. Offsets into the texts and ids are left out on purpose: the texts may be edited on the way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from prefgen.errors import RowError

COLUMN = "prefgen"


@dataclass(frozen=True)
class Carried:
    """Fields of `prefgen.records.Pair` and its sample, under their names."""

    source: str
    source_id: str
    turn: int
    licence: str
    method: str
    variant: str
    flags: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Carried:
        """What a row of `prefgen.schema.SCHEMA` carries."""
        meta = json.loads(row["meta"])
        params = dict(meta["options"])
        if row["model"]:
            params.setdefault("rejected_model", row["model"])
        names = ("source", "source_id", "turn", "licence", "method", "variant", "flags")
        return cls(**{name: row[name] for name in names}, params=params, meta=meta["source"])

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
        shape = (str, str, int, str, str, str, list, dict, dict)
        typed = tuple(map(type, vars(carried).values())) == shape
        if not typed or not all(isinstance(flag, str) for flag in carried.flags):
            raise RowError("ROW_SHAPE", f"the column {COLUMN!r} holds values of other types than prefgen export writes")
        return carried
