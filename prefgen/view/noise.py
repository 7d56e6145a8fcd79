"""A contact sheet of a picture under diffusion noise: N = 0 … 1000 in every noise space.

The same N is a mild blur of colour in one space and close to a blind image in another, which published step numbers do
not say. So every picture carries its correlation with the clean input of the vision encoder, measured on single values
and on the means of patches: an encoder averages over a patch, so the second is nearer to what it can still see.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import PIL.PngImagePlugin

from prefgen import visibility
from prefgen.view import clip
from prefgen.visibility import NOISE_SPACES, NoiseSpace, Schedule

MARK = b"prefgen noise"  # in the head of every file
STEPS = tuple(range(0, 1001, 100))
_CELL, _GAP, _CAPTION, _HEAD, _LABEL = 160, 6, 36, 28, 110  # pixels
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


@dataclass(frozen=True)
class Noised:
    """A noised picture and its measures.

    Attributes:
        values: what the vision encoder receives, float32 (3, side, side).
        correlation: with the clean input, over all values.
        patch_correlation: over the means of 14 x 14 patches.
    """

    space: NoiseSpace
    steps: int
    values: npt.NDArray[np.float32]
    correlation: float
    patch_correlation: float


def measure(
    picture: PIL.Image.Image, space: NoiseSpace, steps: int, seed: int = 0, schedule: Schedule = "paper"
) -> Noised:
    """Noise a picture and compare it with the clean one, both as encoder inputs."""
    clean = clip.encoder_input(picture)
    values = noised(picture, space, steps, seed, schedule)
    return Noised(space, steps, values, _correlation(values, clean), _correlation(_patches(values), _patches(clean)))


def noised(
    picture: PIL.Image.Image, space: NoiseSpace, steps: int, seed: int, schedule: Schedule = "paper"
) -> npt.NDArray[np.float32]:
    """The encoder's input for a noised picture, float32 (3, side, side)."""
    if space == "encoder":
        return visibility.add_noise(clip.encoder_input(picture), steps, seed, schedule)
    raw = (
        visibility.add_pixel_noise(np.asarray(picture), steps, seed, space, schedule) if steps else np.asarray(picture)
    )
    return clip.encoder_input(PIL.Image.fromarray(raw))


def png(cells: Sequence[Noised]) -> bytes:
    """The sheet as a PNG file."""
    text, file = PIL.PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text("Software", MARK.decode())
    sheet(cells).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def sheet(cells: Sequence[Noised]) -> PIL.Image.Image:
    """The cells as a table: one row per space, one column per N."""
    spaces = list(dict.fromkeys(cell.space for cell in cells))
    steps = list(dict.fromkeys(cell.steps for cell in cells))
    width, height = _CELL + _GAP, _CELL + _CAPTION + _GAP
    page = PIL.Image.new("RGB", (_LABEL + width * len(steps), _HEAD + height * len(spaces)), _PAPER)
    draw = PIL.ImageDraw.Draw(page)
    font = PIL.ImageFont.load_default(size=14)
    for column, step in enumerate(steps):
        draw.text((_LABEL + width * column, 6), f"N = {step}", _INK, font)
    for row, space in enumerate(spaces):
        draw.text((6, _HEAD + height * row + _CELL // 2), space, _INK, font)
    for cell in cells:
        left = _LABEL + width * steps.index(cell.steps)
        top = _HEAD + height * spaces.index(cell.space)
        page.paste(clip.as_picture(cell.values).resize((_CELL, _CELL), PIL.Image.Resampling.NEAREST), (left, top))
        caption = f"pixels {cell.correlation:+.2f}\npatches {cell.patch_correlation:+.2f}"
        draw.multiline_text((left, top + _CELL + 2), caption, _INK, font, spacing=1)
    return page


def measure_all(picture: PIL.Image.Image, seed: int = 0, schedule: Schedule = "paper") -> list[Noised]:
    """Every space at every step of `STEPS` that the schedule has; a later one becomes its last step."""
    last = visibility.last_step(schedule)
    return [measure(picture, space, min(step, last), seed, schedule) for space in NOISE_SPACES for step in STEPS]


def _patches(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over patches, (3, tokens, tokens)."""
    tokens = values.shape[-1] // clip.PATCH
    split = values.reshape(3, tokens, clip.PATCH, tokens, clip.PATCH)
    return np.asarray(split.mean(axis=(2, 4)), dtype=np.float32)


def _correlation(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Pearson's correlation coefficient."""
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
