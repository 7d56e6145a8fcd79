"""Distortions of an image, for preferences between images: noise, downscale, crop, patches, blank.

A distorted picture is encoded once (JPEG at quality 95, colours not thinned out), so that every reader sees the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import PIL.Image

from prefgen import images, seeds, visibility
from prefgen.records import Image
from prefgen.visibility import NoiseSpace, Schedule

_GREY = (127, 127, 127)
_GRID = 24  # cells of a side, as LLaVA-1.5's encoder has patches
_ASPECT = (3 / 4, 4 / 3)  # of a crop


def distorted(image: Image, name: str, change: Callable[[PIL.Image.Image], PIL.Image.Image]) -> Image:
    """The image after `change`, with a file name that states the distortion."""
    picture = change(images.decode(image))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95, subsampling=0)
    stem = image.path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return Image(buffer.getvalue(), f"{stem}-{name}.jpg", picture.width, picture.height)


def noise(picture: PIL.Image.Image, steps: int, seed: int, space: NoiseSpace, schedule: Schedule) -> PIL.Image.Image:
    """Diffusion noise on the pixels (CHiP, arXiv:2501.16629)."""
    return PIL.Image.fromarray(visibility.add_pixel_noise(np.asarray(picture), steps, seed, space, schedule))


def downscale(picture: PIL.Image.Image, side: int) -> PIL.Image.Image:
    """The picture reduced to `side` pixels of its longer side and enlarged again: a blur (STIC, arXiv:2405.19716)."""
    small = picture.copy()
    small.thumbnail((side, side))
    return small.resize(picture.size, PIL.Image.Resampling.BICUBIC)


def crop(picture: PIL.Image.Image, area: tuple[float, float], seed: int) -> PIL.Image.Image:
    """A random cut-out of a share of the picture within `area` (mDPO, arXiv:2406.11839), at least one pixel."""
    share, aspect, left, top = seeds.generator(seed).random(4)
    pixels = (area[0] + share * (area[1] - area[0])) * picture.width * picture.height
    ratio = np.exp(np.log(_ASPECT[0]) + aspect * np.log(_ASPECT[1] / _ASPECT[0]))
    width = int(np.clip(round(np.sqrt(pixels * ratio)), 1, picture.width))
    height = int(np.clip(round(np.sqrt(pixels / ratio)), 1, picture.height))
    x, y = int(left * (picture.width - width + 1)), int(top * (picture.height - height + 1))
    return picture.crop((x, y, x + width, y + height))


def patches(picture: PIL.Image.Image, rho: float, seed: int) -> PIL.Image.Image:
    """Each cell of a 24 x 24 grid grey with probability `rho`: eq. 6 of arXiv:2407.02477 on pixels."""
    hidden = seeds.generator(seed).random((_GRID, _GRID)) < rho
    mask = PIL.Image.fromarray((hidden * 255).astype(np.uint8)).resize(picture.size, PIL.Image.Resampling.NEAREST)
    return PIL.Image.composite(PIL.Image.new("RGB", picture.size, _GREY), picture, mask)


def blank(picture: PIL.Image.Image) -> PIL.Image.Image:
    """A black picture of the same size."""
    return PIL.Image.new("RGB", picture.size)
