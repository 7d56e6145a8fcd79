"""A pen that records polygons, and the sketch that they make.

Every shape is a polygon with a fill: ovals and curves are sampled, a line is a ribbon. A drawing is therefore a short
list of point arrays, recorded once for each colour, scaled into any box and mirrored by one multiplication.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from prefgen.evaluate.scenes.truth import Box

RGB = tuple[int, int, int]
# RGB; RGBA with alpha 255 for what gives light itself, with less for what darkens or lightens the shapes below it.
Fill = tuple[int, ...]
Points = str | Sequence[tuple[float, float]] | np.ndarray  # a string as in SVG: "0,10 12.5,30 40,10"

PAINT: dict[str, RGB] = {
    "red": (204, 46, 42),
    "orange": (236, 128, 36),
    "yellow": (247, 208, 52),
    "green": (64, 146, 72),
    "blue": (48, 104, 192),
    "purple": (128, 76, 164),
    "pink": (242, 146, 176),
    "brown": (134, 86, 50),
    "black": (44, 44, 50),
    "white": (244, 242, 236),
    "grey": (150, 154, 160),
}
INK, CHALK = (34, 32, 38), (250, 248, 242)
GLASS: RGB = (176, 212, 232)
STEEL: RGB = (176, 180, 188)
RUBBER: RGB = (46, 46, 52)
WOOD: RGB = (150, 104, 62)
GOLD: RGB = (222, 178, 72)
LEAF: RGB = (70, 140, 66)
SHADE, GLEAM = (10, 10, 40, 60), (255, 255, 255, 110)  # translucent
ARC_POINTS, CURVE_POINTS = 26, 6  # of an oval; between two points of a curve


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Colour between two: ``share`` of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def scaled(colour: RGB, shares: tuple[float, float, float]) -> RGB:
    """Colour of which only a share of each channel is left."""
    red, green, blue = (round(channel * share) for channel, share in zip(colour, shares, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Area:
    """A filled polygon; ``points`` is float (n, 2)."""

    points: np.ndarray
    fill: Fill


@dataclass(frozen=True)
class Sketch:
    """A drawing in the unit square.

    Attributes:
        shapes: From the back to the front.
        aspect: Width over height before it was fitted into the square.
        contour: Colour of its outline.
        front: Number of the first shapes that hide what is in the thing; 0 for a thing that nothing is in.
    """

    shapes: tuple[Area, ...]
    aspect: float
    contour: RGB
    front: int = 0

    def at(self, box: Box, flipped: bool = False) -> list[tuple[np.ndarray, Fill]]:
        """The polygons in a box, as flat arrays of coordinates."""
        left, top, right, bottom = box
        scale = np.array([right - left, bottom - top])
        offset = np.array([left, top])
        if flipped:
            scale, offset = np.array([left - right, bottom - top]), np.array([right, top])
        return [((shape.points * scale + offset).ravel(), shape.fill) for shape in self.shapes]


class Pen:
    """Recorder of shapes, in any unit: x to the right, y down.

    Attributes:
        body: Colour of the thing; ``light``, ``shade`` and ``dark`` are derived from it.
    """

    def __init__(self, colour: str) -> None:
        self.colour = colour
        self.body = PAINT[colour]
        self.light = mix(self.body, (255, 252, 240), 0.38)
        self.shade = mix(self.body, (20, 18, 50), 0.28)
        self.dark = mix(self.body, (20, 16, 30), 0.58)
        self.shapes: list[Area] = []
        self.front = 0

    def sketch(self) -> Sketch:
        """The shapes so far, fitted into the unit square."""
        points = np.concatenate([shape.points for shape in self.shapes])
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        fitted = tuple(Area((shape.points - low) / size, shape.fill) for shape in self.shapes)
        return Sketch(fitted, float(size[0] / size[1]), self.dark, self.front)

    def turn(self, degrees: float) -> None:
        """Turn everything so far, clockwise."""
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        self.shapes = [Area(shape.points @ np.array([[cos, sin], [-sin, cos]]), shape.fill) for shape in self.shapes]

    def opening(self) -> None:
        """End the front of a container: what follows is its rim and inside."""
        self.front = len(self.shapes)

    def polygon(self, points: Points, fill: Fill) -> None:
        """Fill a polygon."""
        self.shapes.append(Area(array(points), fill))

    def rect(self, x: float, y: float, width: float, height: float, fill: Fill, corner: float = 0.0) -> None:
        """Fill a rectangle with its top left corner at (x, y), with rounded corners."""
        if not corner:
            return self.polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], fill)
        right, bottom = x + width - corner, y + height - corner
        centres = ((right, bottom), (x + corner, bottom), (x + corner, y + corner), (right, y + corner))
        quarters = [
            arc(middle_x, middle_y, corner, corner, 90 * n, 90 * n + 90, steps=5)
            for n, (middle_x, middle_y) in enumerate(centres)
        ]
        return self.polygon(np.concatenate(quarters), fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Fill, turn: float = 0.0) -> None:
        """Fill an ellipse around (x, y), turned clockwise by ``turn`` degrees."""
        self.polygon(arc(x, y, rx, ry, 0, 360, turn), fill)

    def disc(self, x: float, y: float, radius: float, fill: Fill) -> None:
        """Fill a circle."""
        self.oval(x, y, radius, radius, fill)

    def pie(self, x: float, y: float, rx: float, ry: float, start: float, stop: float, fill: Fill) -> None:
        """Fill the part of an ellipse between two angles, in degrees clockwise from the right, cut by a chord."""
        self.polygon(arc(x, y, rx, ry, start, stop), fill)

    def blob(self, points: Points, fill: Fill) -> None:
        """Fill a closed smooth curve through the points."""
        self.polygon(smooth(points, closed=True), fill)

    def line(self, points: Points, width: float, fill: Fill) -> None:
        """Draw straight segments with round ends."""
        for (x0, y0), (x1, y1) in pairwise(array(points)):
            turn = np.degrees(np.arctan2(y1 - y0, x1 - x0))
            ends = (
                arc(x0, y0, width / 2, width / 2, turn + 90, turn + 270, steps=6),
                arc(x1, y1, width / 2, width / 2, turn - 90, turn + 90, steps=6),
            )
            self.polygon(np.concatenate(ends), fill)

    def curve(self, points: Points, width: float, fill: Fill, end: float | None = None) -> None:
        """Draw a smooth open curve through the points, whose width changes to ``end``."""
        path = smooth(points, closed=False)
        along = np.gradient(path, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.hypot(along[:, 0], along[:, 1])[:, None]
        half = np.linspace(width, width if end is None else end, len(path))[:, None] / 2
        self.polygon(np.concatenate([path + normal * half, (path - normal * half)[::-1]]), fill)


Painter = Callable[[Pen], None]


def array(points: Points) -> np.ndarray:
    """Points as float (n, 2)."""
    if isinstance(points, str):
        return np.array([pair.split(",") for pair in points.split()], dtype=np.float64)
    return np.asarray(points, dtype=np.float64)


def arc(
    x: float, y: float, rx: float, ry: float, start: float, stop: float, turn: float = 0.0, steps: int = ARC_POINTS
) -> np.ndarray:
    """Points of an ellipse between two angles in degrees, float (steps, 2)."""
    angles, tilt = np.radians(np.linspace(start, stop, steps)), np.radians(turn)
    across, down = rx * np.cos(angles), ry * np.sin(angles)
    return np.stack(
        [x + across * np.cos(tilt) - down * np.sin(tilt), y + across * np.sin(tilt) + down * np.cos(tilt)], axis=1
    )


def around(x: float, y: float, rx: float, degrees: float, ry: float | None = None) -> tuple[float, float]:
    """Point on a circle or ellipse, clockwise from the right."""
    angle = np.radians(degrees)
    return float(x + rx * np.cos(angle)), float(y + (rx if ry is None else ry) * np.sin(angle))


def smooth(points: Points, closed: bool) -> np.ndarray:
    """Catmull-Rom curve through the points, float (n, 2)."""
    knots = array(points)
    if closed:
        knots = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    before, start, stop, after = knots[:-3, None], knots[1:-2, None], knots[2:-1, None], knots[3:, None]
    t = (np.arange(CURVE_POINTS) / CURVE_POINTS)[None, :, None]
    path = 0.5 * (
        2 * start
        + (stop - before) * t
        + (2 * before - 5 * start + 4 * stop - after) * t**2
        + (3 * start - before - 3 * stop + after) * t**3
    ).reshape(-1, 2)
    return path if closed else np.concatenate([path, knots[-2:-1]])


PAINTERS: dict[tuple[str, str | None], list[Painter]] = {}  # drawings of a kind and action


def draws(kind: str, *actions: str) -> Callable[[Painter], Painter]:
    """Register a function as one more drawing of a kind, for every action named (for None without)."""

    def register(painter: Painter) -> Painter:
        for action in actions or (None,):
            PAINTERS.setdefault((kind, action), []).append(painter)
        return painter

    return register
