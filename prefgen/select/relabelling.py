"""Replacement of chosen or rejected answers by another run's, as in tables 4 and 5 of arXiv 2407.02477."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from prefgen.rundir.licences import strictest
from prefgen.rundir.reader import Stored
from prefgen.rundir.schema import MEDIA_TAG_FLAG, SCHEMA
from prefgen.select.keys import COLUMNS, key
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection

Side = Literal["chosen", "rejected"]
UNMATCHED = "UNMATCHED"
# Columns that record how a rejected answer was made move with it.
_OF_REJECTED = (
    "method",
    "variant",
    "iteration",
    "seed",
    "image_tokens",
    "kept_image_tokens",
    "generated_tokens",
    "finish",
    "spans",
    "swaps",
    "model",
    "model_revision",
    "engine",
    "attention",
    "positions",
    "dtype",
    "device",
    "prefgen_version",
)


def relabel(stored: Stored, other: Stored, side: Side, exclude: Excluded = NOTHING) -> Selection:
    """The rows of `stored` whose prompt and pictures `other` has as well, with its chosen or rejected answers.

    Of several rows of `other` with the same prompt the first is taken. Rows without a counterpart are left out, and so
    are those whose two answers would be equal.
    """
    left_out: Counter[str] = Counter()
    text = f"{side}_response"
    partners: dict[bytes, tuple[int, bytes]] = {}
    for number, row in enumerate(other.scan(COLUMNS)):
        partners.setdefault(key(row, "prompt"), (number, _short(row[text])))
    kept = "rejected_response" if side == "chosen" else "chosen_response"
    pairs: list[tuple[int, int]] = []
    for number, row in exclude.kept(stored, COLUMNS, left_out):
        partner = partners.get(key(row, "prompt"))
        if partner is None:
            left_out[UNMATCHED] += 1
        elif partner[1] == _short(row[kept]):
            left_out["REJECTED_EQUALS_CHOSEN"] += 1
        else:
            pairs.append((number, partner[0]))
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    which = np.zeros(len(pairs), np.int64)
    merge = partial(_swapped, side=side)
    return Selection((stored, other), which, columns[:, 0], +left_out, columns[:, 1], merge)


def _swapped(rows: pa.Table, partners: pa.Table, side: Side) -> pa.Table:
    pairs = zip(rows.to_pylist(), partners.to_pylist(), strict=True)
    return pa.Table.from_pylist([_row(row, partner, side) for row, partner in pairs], schema=SCHEMA)


def _row(row: dict[str, Any], partner: dict[str, Any], side: Side) -> dict[str, Any]:
    names = [side, f"{side}_response", f"{side}_chars"]
    names += _OF_REJECTED if side == "rejected" else ()
    made = {**row, **{name: partner[name] for name in names}}
    flags = partner["flags"] if side == "rejected" else row["flags"]
    tagged = MEDIA_TAG_FLAG in row["flags"] or MEDIA_TAG_FLAG in partner["flags"]
    meta, other = json.loads(row["meta"]), json.loads(partner["meta"])
    if side == "rejected":
        meta |= {"options": other["options"], "versions": other["versions"]}
    meta["relabelled"] = {"side": side, "id": partner["id"], "source": partner["source"]}
    answer = {"role": "assistant", "content": made["chosen_response"]}
    licences = (row["licence"], partner["licence"])
    return made | {
        "id": hashlib.blake2b(f"{row['id']}\x1f{side}\x1f{partner['id']}".encode(), digest_size=8).hexdigest(),
        "conversations": [*row["conversations"][:-1], answer],
        "flags": sorted({*flags} - {MEDIA_TAG_FLAG}) + ([MEDIA_TAG_FLAG] if tagged else []),
        "licence": licences[0] if licences[0] == licences[1] else strictest(licences),
        # These relate the two answers to each other, and one of them is another now.
        "cuts": [],
        "similarity": None,
        "similarity_model": "",
        "similarity_revision": "",
        "meta": json.dumps(meta, sort_keys=True),
    }


def _short(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()
