"""Rendering of scenes with Pillow: faint shapes on a noise background, stored as JPEG.

Perception has to be uncertain, or a small model simply sees and its language prior never gets a say. Two things make it
so: a coarse-grained noise background, and an opacity drawn per object that ranges from nearly invisible to clear.
Pictures always pass through JPEG, in training, in the committed files and in evaluation: there is no gap between them.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from prefgen.evaluate.scenes.world import CELLS, RENDER_STREAM, SHAPES, Scene

IMAGE_SIZE = 64  # pixels, both sides
JPEG_QUALITY = 90
RGB = {
    "red": (235, 45, 45),
    "green": (40, 200, 70),
    "blue": (60, 90, 250),
    "yellow": (245, 225, 40),
    "purple": (190, 50, 220),
    "white": (250, 250, 250),
}
SUPERSAMPLE = 4


@dataclass(frozen=True)
class Look:
    """Visibility settings of a picture."""

    opacity: tuple[float, float] = (0.11, 0.65)  # uniform, per object
    noise: float = 0.40  # background brightness is uniform in [0, noise], 1 is white
    grain: int = 2  # pixels per noise cell
    radius: tuple[float, float] = (6.5, 8.5)  # half an object's width in pixels at IMAGE_SIZE
    jitter: float = 1.5  # pixels at IMAGE_SIZE, either way from the middle of the cell


LOOK = Look()


def photo(scene: Scene, look: Look = LOOK, scale: int = 1) -> Image.Image:
    """The picture as a reader of the data set gets it: drawn, encoded as JPEG, decoded. RGB, 64*scale square."""
    return Image.open(io.BytesIO(jpeg(scene, look, scale))).convert("RGB")


def jpeg(scene: Scene, look: Look = LOOK, scale: int = 1) -> bytes:
    """The picture's JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(draw(scene, look, scale)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def draw(scene: Scene, look: Look = LOOK, scale: int = 1) -> np.ndarray:
    """The picture before JPEG, uint8 (64*scale, 64*scale, 3), determined by the scene's seed and index."""
    rng = scene.rng(RENDER_STREAM)
    side = IMAGE_SIZE * scale
    grains = IMAGE_SIZE // look.grain
    noise = rng.random((grains, grains, 3)) * look.noise
    canvas = noise.repeat(look.grain * scale, axis=0).repeat(look.grain * scale, axis=1)
    for shape, colour, cell in scene.objects:
        opacity = look.opacity[0] + rng.random() * (look.opacity[1] - look.opacity[0])
        radius = look.radius[0] + rng.random() * (look.radius[1] - look.radius[0])
        shift_x, shift_y = (rng.random(2) * 2 - 1) * look.jitter
        pitch = IMAGE_SIZE / CELLS**0.5
        x, y = (cell % 3 + 0.5) * pitch + shift_x, (cell // 3 + 0.5) * pitch + shift_y
        coverage = opacity * _mask(shape, x / IMAGE_SIZE, y / IMAGE_SIZE, radius / IMAGE_SIZE, side)[..., None]
        canvas = canvas * (1 - coverage) + np.asarray(RGB[colour]) / 255 * coverage
    return (canvas * 255).round().astype(np.uint8)


def _mask(shape: str, x: float, y: float, radius: float, side: int) -> np.ndarray:
    """Coverage in [0, 1], float (side, side). Centre and radius are fractions of the side; edges are antialiased."""
    big = side * SUPERSAMPLE
    image = Image.new("L", (big, big))
    pen = ImageDraw.Draw(image)
    cx, cy, r = x * big, y * big, radius * big

    def polygon(points: list[tuple[float, float]]) -> None:
        pen.polygon([(cx + r * px, cy + r * py) for px, py in points], fill=255)

    def box(half_width: float, half_height: float) -> None:
        pen.rectangle((cx - r * half_width, cy - r * half_height, cx + r * half_width, cy + r * half_height), fill=255)

    match shape:
        case "circle":
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), fill=255)
        case "ring":
            pen.ellipse((cx - r, cy - r, cx + r, cy + r), outline=255, width=round(0.38 * r))
        case "square":
            box(0.9, 0.9)
        case "bar":
            box(1.1, 0.38)
        case "cross":
            box(1.0, 0.33)
            box(0.33, 1.0)
        case "triangle":
            polygon([(0, -1), (1, 0.85), (-1, 0.85)])
        case "diamond":
            polygon([(0, -1.15), (0.75, 0), (0, 1.15), (-0.75, 0)])
        case "star":
            turns = np.arange(10) * np.pi / 5 - np.pi / 2
            lengths = np.where(np.arange(10) % 2 == 0, 1.15, 0.5)
            polygon(
                [(float(a), float(b)) for a, b in zip(lengths * np.cos(turns), lengths * np.sin(turns), strict=True)]
            )
        case _:
            raise ValueError(f"unknown shape {shape!r}; choose one of {', '.join(SHAPES)}")
    return np.asarray(image.reduce(SUPERSAMPLE), dtype=np.float64) / 255
