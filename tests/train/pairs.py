"""Pairs as stored rows, and items made of them."""

from __future__ import annotations

import json
from typing import Any

from prefgen.engines.hf.loading import LoadedModel
from prefgen.records import Image, Pair, Sample, Slot, Turn
from prefgen.rundir.reader import rejected_images
from prefgen.rundir.schema import Provenance, to_table
from prefgen.training.config import LossMask
from prefgen.training.rows import Item, Reader
from tests.engines import tiny

CHOSEN = "There is a red circle. A blue square is next to it."
REJECTED = ("There is a red star. A blue square is next to it.", "There is a green circle!")


def row(
    chosen: str = CHOSEN,
    rejected: str = REJECTED[0],
    pictures: tuple[Image, ...] = (tiny.picture(0),),
    question: str = "What is there?",
    **settings: Any,
) -> dict[str, Any]:
    """One stored row; the picture stands before the question."""
    prompt = (Turn("user", (*(Slot.IMAGE for _ in pictures), question)),)
    sample = Sample("0" * 16, prompt, pictures, chosen, "test", "0")
    pair = Pair(sample, "test", "", chosen, rejected, 1, None, 0, **settings)
    (found,) = to_table([pair], Provenance("", "", "")).to_pylist()
    return dict(found)


def joined(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows as `prefgen join` marks them."""
    group = {"joined": {"group": "g", "size": len(rows)}}
    return [{**one, "meta": json.dumps({**json.loads(one["meta"]), **group})} for one in rows]


def item(loaded: LoadedModel, *rows: dict[str, Any], loss_mask: LossMask = "all", picture: int = 0) -> Item:
    """The rows as one sample, which shows the picture with this seed."""
    reader = Reader(loaded, loss_mask, 10_000)
    others = reader.pixels(rejected_images(rows[0])) if rows[0]["rejected_images"] else None
    pixels = reader.pixels((tiny.picture(picture),) if rows[0]["images"] else ())
    return Item(reader.sample(rows), pixels, rejected_pixels=others)
