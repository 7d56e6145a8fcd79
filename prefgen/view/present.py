"""Rows and pictures in the form that the page shows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from prefgen.card import samples
from prefgen.view import diff, restriction
from prefgen.view.collection import Collection, shown_images

# (position of the row, of the image in it, with noise) -> address of the picture
Address = Callable[[int, int, bool], str]


def present(collection: Collection, position: int, address: Address) -> dict[str, Any]:
    """A row as JSON types; texts are not escaped, as the page inserts them as text."""
    row = collection.row(position)
    meta = json.loads(row["meta"])
    seen = restriction.view(row, meta.get("options", {}))
    mask = restriction.mask(row, seen, len(row["images"]))
    spans, swaps = ([(span["start"], span["end"]) for span in row[name]] for name in ("spans", "swaps"))
    chosen, rejected = diff.parts(row["chosen_response"], row["rejected_response"], spans, swaps)
    noised = seen is not None and seen.noise_steps > 0
    return {
        "position": position,
        **{name: row[name] for name in ("id", "method", "variant", "iteration", "similarity", "flags", "model")},
        **{name: row[name] for name in ("source", "source_id", "image_tokens", "kept_image_tokens", "licence")},
        "lengths": [row["chosen_chars"], row["rejected_chars"]],
        "edit": collection.index["edit"][position].as_py(),
        "prompt": [
            [
                turn["role"],
                "".join(part["text"] if part["type"] == "text" else " ▣ " for part in turn["content"]).strip(),
            ]
            for turn in row["prompt"]
        ],
        "chosen": chosen,
        "rejected": rejected,
        "claims": _claims(meta.get("verified")) or _claims(meta.get("record")),
        "mask": dataclasses.asdict(mask) if mask else None,
        "images": [
            {
                "name": image["path"],
                "plain": address(position, place, False),
                "noisy": address(position, place, True) if noised else None,
                "rejected": place >= len(row["images"]),
            }
            for place, image in enumerate(shown_images(row))
        ],
    }


def _claims(record: Any) -> dict[str, list[dict[str, Any]]]:
    """The checked claims of each answer, if `rank --by claims` or `verify-claims` has recorded them."""
    found = record.get("claims") if isinstance(record, dict) else None
    if not isinstance(found, dict):
        return {}
    types = {"text": str, "question": str, "p_yes": float, "holds": bool}
    return {
        side: [{name: claim[name] for name in types} for claim in claims]
        for side, claims in found.items()
        if isinstance(claims, list)
        and all(
            isinstance(claim, dict) and all(isinstance(claim.get(name), kind) for name, kind in types.items())
            for claim in claims
        )
    }


def picture(collection: Collection, position: int, place: int, *, noisy: bool, side: int) -> bytes:
    """A picture of a row as WebP of at most `side` pixels; a gray square if it cannot be decoded.

    Raises:
        IndexError: if the row has no such image.
    """
    stored = collection.images(position)[place]
    decoded = samples.decoded(stored["bytes"], stored["path"])
    if noisy:
        row = collection.row(position)
        seen = restriction.view(row, json.loads(row["meta"]).get("options", {}))
        if seen is not None and seen.noise_steps:
            decoded = restriction.noisy(decoded, seen, place, row["image_tokens"] // max(len(row["images"]), 1))
    return samples.webp(decoded, side)
