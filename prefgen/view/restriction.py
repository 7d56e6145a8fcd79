"""The restricted view of a row's pictures, recomputed from the row's record.

Masks and noise are seeded by (run seed, sample id, iteration), so nothing but the method's options is needed. A mask
can be laid over the picture where there is one picture in one square grid of tokens, as LLaVA-1.5 makes it; its image
processor cuts the central square out, and that is where the grid is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from prefgen import seeds, visibility
from prefgen.errors import UsageError
from prefgen.methods import METHODS
from prefgen.methods.base import Restricting
from prefgen.view import clip
from prefgen.visibility import View


@dataclass(frozen=True)
class Mask:
    """A square grid of image tokens. `kept` are the visible ones, row by row."""

    side: int
    kept: tuple[int, ...]


def view(row: Mapping[str, Any], options: Mapping[str, Any]) -> View | None:
    """The view of the accepted answer; None for methods without one, or unknown options."""
    kind = METHODS.get(row["method"])
    if kind is None or not issubclass(kind, Restricting):
        return None
    try:
        return kind(**options).view(row["id"], row["iteration"])
    except (TypeError, UsageError):
        return None


def mask(row: Mapping[str, Any], seen: View | None, images: int) -> Mask | None:
    """The mask as a grid; None if there is none, it is not square, or it contradicts the row's counts."""
    side = math.isqrt(row["image_tokens"])
    if seen is None or not seen.masks or images != 1 or not side or side**2 != row["image_tokens"]:
        return None
    kept = np.flatnonzero(seen.mask(side**2))
    return Mask(side, tuple(kept.tolist())) if len(kept) == row["kept_image_tokens"] else None


def noisy(picture: PIL.Image.Image, seen: View, index: int, image_tokens: int) -> PIL.Image.Image:
    """The picture under the row's noise.

    Exact for noise on pixels. For noise on the encoder's input it is what CLIP's image processor makes of the picture:
    the central square at the size that the number of tokens gives, normalised, noised, and turned back into colours.

    Args:
        index: position of the picture in its prompt.
        image_tokens: of all pictures together.
    """
    seed = seeds.derive(seen.noise_seed, "", index, "image")
    if seen.noise_space != "encoder":
        pixels = visibility.add_pixel_noise(
            np.asarray(picture), seen.noise_steps, seed, seen.noise_space, seen.schedule
        )
        return PIL.Image.fromarray(pixels)
    tokens = math.isqrt(image_tokens)
    side = tokens * clip.PATCH if tokens and tokens**2 == image_tokens else clip.SIDE
    return clip.as_picture(
        visibility.add_noise(clip.encoder_input(picture, side), seen.noise_steps, seed, seen.schedule)
    )
