"""CLIP's image preprocessing, without CLIP, to show noise on the encoder's input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps

PATCH = 14  # pixels; of the encoders that LLaVA uses
SIDE = 336  # pixels; of LLaVA's encoder
_MEAN, _STD = (np.array(values, dtype=np.float32) for values in ((0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)))


def encoder_input(picture: PIL.Image.Image, side: int = SIDE) -> npt.NDArray[np.float32]:
    """The central square at `side` pixels, normalized; float32 (3, side, side)."""
    square = np.asarray(PIL.ImageOps.fit(picture, (side, side), PIL.Image.Resampling.BICUBIC), dtype=np.float32) / 255
    return np.asarray(((square - _MEAN) / _STD).transpose(2, 0, 1), dtype=np.float32)


def as_picture(values: npt.NDArray[np.float32]) -> PIL.Image.Image:
    """An encoder's input as colors, (3, height, width), clipped to what a screen shows."""
    return PIL.Image.fromarray(((values.transpose(1, 2, 0) * _STD + _MEAN).clip(0, 1) * 255).astype(np.uint8))
