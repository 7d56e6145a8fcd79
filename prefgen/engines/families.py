"""Which architectures the transformers engine knows, and how each hands over its image features.

One generic path serves all; an entry here is a measured fact, shown by tests/engines/test_equivalence.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """How a model type departs from the generic path.

    Attributes:
        tiles: an image becomes several tiles (AnyRes), so its size must be told to the vision side.
    """

    tiles: bool


FAMILIES: dict[str, Family] = {
    "llava": Family(tiles=False),
    "llava_next": Family(tiles=True),
}
"""`config.model_type` to family."""
