"""Drawings of things, and the lookup of a drawing by kind, action and number. ``living.py`` has people and animals."""

from functools import cache

from prefgen.evaluate.world import living
from prefgen.evaluate.world.pen import CHALK, GLEAM, INK, PAINTERS, RGB, SHADE, Pen, Sketch, draws, mix

GLASS, STEEL, RUBBER, WOOD, GOLD = (176, 212, 232), (176, 180, 188), (46, 46, 52), (150, 104, 62), (222, 178, 72)
LEAF = living.LEAF
HEADLIGHT = (255, 240, 170, 255)


@cache
def sketch(kind: str, action: str | None, drawing: int, colour: str) -> Sketch:
    """The drawing of a kind doing something.

    Args:
        kind: Key of ``KINDS``.
        action: One of its actions, "holding" for a person who holds something, or None.
        drawing: Number of the drawing; numbers start again after the last one.
        colour: One of the kind's colours.
    """
    painters = PAINTERS[kind, action]
    pen = Pen(colour)
    painters[drawing % len(painters)](pen)
    return pen.sketch()


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.disc(x, y, radius, RUBBER)
    pen.disc(x, y, radius * 0.55, STEEL)
    pen.disc(x, y, radius * 0.2, RUBBER)


@draws("car")
def _car(pen: Pen) -> None:
    pen.polygon([(0.5, 0.4), (0.72, 0.04), (1.42, 0.04), (1.72, 0.4)], pen.body)
    pen.polygon([(0.6, 0.38), (0.77, 0.11), (1.04, 0.11), (1.04, 0.38)], GLASS)
    pen.polygon([(1.12, 0.38), (1.12, 0.11), (1.38, 0.11), (1.6, 0.38)], GLASS)
    pen.polygon([(0.66, 0.38), (0.83, 0.11), (0.9, 0.11), (0.74, 0.38)], GLEAM)
    pen.blob(
        [(0.04, 0.5), (0.2, 0.38), (0.6, 0.36), (1.7, 0.36), (2.1, 0.46), (2.2, 0.62), (2.12, 0.8), (0.1, 0.8)],
        pen.body,
    )
    pen.rect(0.08, 0.64, 2.08, 0.14, pen.shade, 0.05)
    pen.line([(0.3, 0.44), (1.7, 0.43)], 0.03, pen.light)
    pen.line([(1.1, 0.42), (1.1, 0.74)], 0.02, pen.dark)
    pen.line([(1.2, 0.5), (1.3, 0.5)], 0.03, pen.dark)
    pen.oval(2.12, 0.53, 0.06, 0.08, HEADLIGHT)
    pen.oval(0.08, 0.54, 0.05, 0.08, (210, 40, 40))
    for x in (0.5, 1.7):
        _wheel(pen, x, 0.78, 0.22)


@draws("car")
def _car_small(pen: Pen) -> None:
    pen.blob(
        [
            (0.06, 0.62),
            (0.14, 0.4),
            (0.34, 0.08),
            (0.8, 0.02),
            (1.14, 0.1),
            (1.36, 0.42),
            (1.62, 0.5),
            (1.7, 0.74),
            (1.56, 0.86),
            (0.12, 0.86),
        ],
        pen.body,
    )
    pen.polygon([(0.34, 0.4), (0.46, 0.14), (0.74, 0.11), (0.74, 0.4)], GLASS)
    pen.polygon([(0.82, 0.4), (0.82, 0.11), (1.06, 0.16), (1.24, 0.4)], GLASS)
    pen.polygon([(0.42, 0.38), (0.52, 0.14), (0.6, 0.13), (0.52, 0.38)], GLEAM)
    pen.rect(0.1, 0.68, 1.56, 0.16, pen.shade, 0.06)
    pen.line([(0.78, 0.44), (0.78, 0.8)], 0.02, pen.dark)
    pen.disc(1.6, 0.58, 0.07, HEADLIGHT)
    for x in (0.42, 1.3):
        _wheel(pen, x, 0.82, 0.2)


@draws("bus")
def _bus(pen: Pen) -> None:
    pen.rect(0.0, 0.0, 2.2, 0.9, pen.body, 0.1)
    pen.rect(0.02, 0.02, 2.16, 0.07, pen.light, 0.03)
    pen.rect(0.0, 0.66, 2.2, 0.2, pen.shade, 0.06)
    for x in (0.1, 0.46, 0.82, 1.18):
        pen.rect(x, 0.17, 0.3, 0.3, GLASS, 0.04)
        pen.polygon([(x + 0.05, 0.45), (x + 0.14, 0.19), (x + 0.2, 0.19), (x + 0.11, 0.45)], GLEAM)
    pen.rect(1.56, 0.17, 0.26, 0.66, mix(GLASS, INK, 0.12), 0.03)
    pen.line([(1.69, 0.18), (1.69, 0.82)], 0.02, INK)
    pen.rect(1.9, 0.16, 0.27, 0.34, GLASS, 0.04)
    pen.oval(2.15, 0.68, 0.04, 0.07, HEADLIGHT)
    for x in (0.46, 1.76):
        _wheel(pen, x, 0.88, 0.17)


@draws("bus")
def _double_decker(pen: Pen) -> None:
    pen.rect(0.0, 0.0, 1.5, 1.0, pen.body, 0.09)
    pen.rect(0.0, 0.48, 1.5, 0.07, pen.light)
    pen.rect(0.0, 0.84, 1.5, 0.14, pen.shade, 0.05)
    for x in (0.08, 0.36, 0.64, 0.92, 1.2):
        pen.rect(x, 0.14, 0.23, 0.24, GLASS, 0.03)
    for x in (0.08, 0.36, 0.64, 1.2):
        pen.rect(x, 0.58, 0.23, 0.22, GLASS, 0.03)
    pen.rect(0.92, 0.58, 0.22, 0.38, mix(GLASS, INK, 0.12), 0.03)
    pen.oval(1.47, 0.86, 0.03, 0.06, HEADLIGHT)
    for x in (0.32, 1.2):
        _wheel(pen, x, 0.98, 0.13)


@draws("bicycle")
def _bicycle(pen: Pen) -> None:
    for x in (0.26, 1.2):
        for turn in range(0, 360, 18):
            start, stop = living.around(x, 0.66, 0.28, turn), living.around(x, 0.66, 0.28, turn + 18)
            pen.line([start, stop], 0.055, RUBBER)
        pen.line([(x - 0.26, 0.66), (x + 0.26, 0.66)], 0.012, STEEL)
        pen.line([(x, 0.4), (x, 0.92)], 0.012, STEEL)
        pen.disc(x, 0.66, 0.04, RUBBER)
    pen.line([(0.26, 0.66), (0.5, 0.26), (1.06, 0.26), (0.68, 0.66), (0.26, 0.66)], 0.06, pen.body)
    pen.line([(0.46, 0.16), (0.68, 0.66)], 0.06, pen.body)
    pen.line([(1.2, 0.66), (1.04, 0.1)], 0.06, pen.body)
    pen.line([(1.04, 0.1), (1.02, 0.04), (1.18, 0.04)], 0.05, RUBBER)
    pen.oval(0.45, 0.13, 0.14, 0.045, RUBBER)
    pen.disc(0.68, 0.66, 0.07, RUBBER)
    pen.line([(0.68, 0.66), (0.76, 0.8)], 0.03, RUBBER)


@draws("boat", "sailing")
def _sailing_boat(pen: Pen) -> None:
    pen.rect(0.5, 0.0, 0.035, 0.76, WOOD)
    pen.polygon([(0.56, 0.02), (0.56, 0.64), (1.04, 0.64)], CHALK)
    pen.polygon([(0.62, 0.4), (0.56, 0.64), (1.04, 0.64), (0.84, 0.4)], (226, 226, 226))
    pen.polygon([(0.48, 0.1), (0.48, 0.64), (0.14, 0.64)], pen.light)
    pen.polygon([(0.0, 0.72), (1.14, 0.7), (0.96, 0.98), (0.18, 0.98)], pen.body)
    pen.polygon([(0.1, 0.88), (1.03, 0.87), (0.96, 0.98), (0.18, 0.98)], pen.shade)
    pen.line([(0.03, 0.73), (1.1, 0.71)], 0.035, pen.light)


@draws("boat", "sailing")
def _boat_one_sail(pen: Pen) -> None:
    pen.rect(0.4, 0.0, 0.035, 0.8, WOOD)
    pen.polygon([(0.45, 0.02), (0.66, 0.2), (0.78, 0.45), (0.8, 0.68), (0.45, 0.68)], CHALK)
    pen.polygon([(0.45, 0.44), (0.78, 0.44), (0.8, 0.54), (0.45, 0.54)], pen.body)
    pen.polygon([(0.44, 0.0), (0.44, 0.08), (0.26, 0.04)], (210, 50, 50))
    pen.blob([(0.0, 0.76), (0.5, 0.8), (0.98, 0.74), (0.84, 0.98), (0.5, 1.0), (0.14, 0.98)], pen.body)
    pen.blob([(0.1, 0.9), (0.5, 0.9), (0.9, 0.88), (0.82, 0.98), (0.5, 1.0), (0.16, 0.98)], pen.shade)


@draws("boat", "floating")
def _motor_boat(pen: Pen) -> None:
    pen.polygon([(0.34, 0.48), (0.42, 0.14), (0.86, 0.14), (1.0, 0.48)], CHALK)
    pen.rect(0.36, 0.06, 0.56, 0.08, pen.shade, 0.03)
    pen.rect(0.48, 0.22, 0.16, 0.18, GLASS)
    pen.rect(0.7, 0.22, 0.18, 0.18, GLASS)
    pen.line([(0.5, 0.06), (0.5, -0.12)], 0.025, INK)
    pen.blob([(0.02, 0.48), (0.6, 0.48), (1.2, 0.46), (1.52, 0.36), (1.3, 0.76), (1.1, 0.84), (0.14, 0.84)], pen.body)
    pen.blob([(0.08, 0.7), (0.6, 0.7), (1.34, 0.66), (1.16, 0.83), (0.14, 0.84)], pen.shade)
    pen.line([(0.08, 0.53), (1.24, 0.5)], 0.04, pen.light)


@draws("boat", "floating")
def _rowing_boat(pen: Pen) -> None:
    pen.oval(0.7, 0.3, 0.66, 0.1, WOOD)
    pen.rect(0.45, 0.24, 0.08, 0.12, mix(WOOD, CHALK, 0.4))
    pen.rect(0.85, 0.24, 0.08, 0.12, mix(WOOD, CHALK, 0.4))
    pen.blob(
        [
            (-0.02, 0.18),
            (0.16, 0.32),
            (0.7, 0.37),
            (1.24, 0.32),
            (1.42, 0.18),
            (1.3, 0.5),
            (1.1, 0.64),
            (0.3, 0.64),
            (0.1, 0.5),
        ],
        pen.body,
    )
    pen.blob([(0.1, 0.46), (0.7, 0.54), (1.3, 0.46), (1.1, 0.64), (0.3, 0.64)], pen.shade)
    pen.line([(0.72, 0.3), (0.36, 0.72)], 0.04, mix(WOOD, CHALK, 0.5))


@draws("airplane")
def _airplane(pen: Pen) -> None:
    pen.polygon([(0.7, 0.34), (0.5, 0.04), (0.62, 0.04), (1.02, 0.34)], pen.shade)
    pen.polygon([(0.06, 0.36), (0.0, 0.06), (0.14, 0.06), (0.32, 0.34)], pen.body)
    pen.blob(
        [(0.04, 0.38), (0.3, 0.3), (1.2, 0.26), (1.46, 0.32), (1.54, 0.42), (1.4, 0.5), (0.9, 0.53), (0.3, 0.5)], CHALK
    )
    pen.blob([(0.06, 0.42), (0.6, 0.45), (1.5, 0.43), (1.4, 0.5), (0.9, 0.53), (0.3, 0.5)], pen.body)
    pen.polygon([(0.62, 0.44), (0.9, 0.44), (0.56, 0.8), (0.44, 0.8)], pen.shade)
    pen.polygon([(0.14, 0.42), (0.28, 0.42), (0.1, 0.56), (0.02, 0.56)], pen.shade)
    for x in (0.4, 0.52, 0.64, 0.76, 0.88, 1.0, 1.12):
        pen.disc(x, 0.37, 0.028, (80, 120, 160))
    pen.polygon([(1.3, 0.33), (1.42, 0.33), (1.47, 0.38), (1.32, 0.38)], (70, 100, 140))


@draws("bench")
def _bench(pen: Pen) -> None:
    for x in (0.14, 1.26):
        pen.line([(x, 0.14), (x, 0.94)], 0.07, RUBBER)
        pen.line([(x, 0.6), (x + 0.04, 0.96)], 0.06, RUBBER)
        pen.line([(x - 0.03, 0.42), (x + 0.1, 0.42)], 0.05, RUBBER)
    for y in (0.06, 0.22):
        pen.rect(0.0, y, 1.42, 0.12, pen.body, 0.03)
        pen.rect(0.02, y + 0.08, 1.38, 0.04, pen.shade)
    pen.polygon([(0.06, 0.54), (1.36, 0.54), (1.44, 0.64), (-0.02, 0.64)], pen.light)
    pen.rect(-0.02, 0.63, 1.46, 0.08, pen.body)
    pen.rect(-0.02, 0.68, 1.46, 0.04, pen.shade)


@draws("umbrella")
def _umbrella(pen: Pen) -> None:
    pen.line([(0.5, 0.02), (0.5, 0.9)], 0.035, STEEL)
    pen.curve([(0.5, 0.84), (0.5, 0.94), (0.56, 0.98), (0.62, 0.93)], 0.05, WOOD)
    pen.polygon(
        [
            *_dome(0.5, 0.48, 0.5, 0.42),
            (0.84, 0.44),
            (0.67, 0.48),
            (0.5, 0.44),
            (0.33, 0.48),
            (0.16, 0.44),
        ],
        pen.body,
    )
    pen.polygon([(0.5, 0.06), (0.78, 0.16), (0.98, 0.47), (0.84, 0.44), (0.67, 0.48)], pen.shade)
    pen.polygon([(0.5, 0.06), (0.33, 0.48), (0.16, 0.44), (0.24, 0.18)], pen.light)


@draws("umbrella")
def _parasol(pen: Pen) -> None:
    pen.line([(0.6, 0.02), (0.6, 1.0)], 0.03, CHALK)
    pen.polygon(_dome(0.6, 0.4, 0.6, 0.34), pen.body)
    for left, right in ((-0.42, -0.16), (0.16, 0.42)):
        pen.polygon([(0.6, 0.06), (0.6 + left, 0.4), (0.6 + right, 0.4)], CHALK if pen.colour != "white" else pen.shade)
    for x in (0.12, 0.36, 0.6, 0.84, 1.08):
        pen.pie(x, 0.4, 0.12, 0.06, 0, 180, pen.shade)


def _dome(x: float, y: float, rx: float, ry: float) -> list[tuple[float, float]]:
    """Upper half of an ellipse, from the left to the right."""
    return [living.around(x, y, rx, turn, ry) for turn in range(180, 361, 12)]


@draws("kite")
def _kite(pen: Pen) -> None:
    pen.curve([(0.36, 0.66), (0.26, 0.76), (0.36, 0.84), (0.26, 0.92), (0.3, 1.0)], 0.025, INK)
    for x, y in ((0.28, 0.76), (0.34, 0.86), (0.27, 0.95)):
        pen.polygon(
            [(x - 0.07, y - 0.035), (x + 0.07, y + 0.035), (x + 0.07, y - 0.035), (x - 0.07, y + 0.035)], pen.dark
        )
    pen.polygon([(0.4, 0.0), (0.72, 0.28), (0.36, 0.7), (0.06, 0.22)], pen.body)
    pen.polygon([(0.4, 0.0), (0.72, 0.28), (0.38, 0.26)], pen.light)
    pen.polygon([(0.38, 0.26), (0.36, 0.7), (0.06, 0.22)], pen.shade)
    pen.line([(0.4, 0.0), (0.36, 0.7)], 0.018, CHALK)
    pen.line([(0.72, 0.28), (0.06, 0.22)], 0.018, CHALK)


@draws("ball")
def _beach_ball(pen: Pen) -> None:
    pen.disc(0.5, 0.5, 0.5, pen.body)
    other = CHALK if pen.colour != "white" else (214, 60, 60)
    pen.blob([(0.5, 0.0), (0.64, 0.3), (0.64, 0.7), (0.5, 1.0), (0.36, 0.7), (0.36, 0.3)], other)
    pen.blob([(0.1, 0.2), (0.2, 0.5), (0.12, 0.82), (0.03, 0.6), (0.03, 0.4)], other)
    pen.blob([(0.9, 0.2), (0.8, 0.5), (0.88, 0.82), (0.97, 0.6), (0.97, 0.4)], other)
    pen.oval(0.32, 0.24, 0.14, 0.09, GLEAM, turn=-35)


@draws("ball")
def _plain_ball(pen: Pen) -> None:
    pen.disc(0.5, 0.5, 0.5, pen.shade)
    pen.disc(0.45, 0.45, 0.43, pen.body)
    pen.curve([(0.03, 0.42), (0.4, 0.6), (0.97, 0.44)], 0.06, CHALK if pen.colour != "white" else pen.dark)
    pen.curve([(0.5, 0.0), (0.6, 0.4), (0.46, 1.0)], 0.06, CHALK if pen.colour != "white" else pen.dark)
    pen.oval(0.3, 0.24, 0.14, 0.09, GLEAM, turn=-35)


@draws("traffic light")
def _traffic_light(pen: Pen) -> None:
    pen.rect(0.19, 0.5, 0.05, 0.5, (88, 90, 96))
    pen.rect(0.1, 0.97, 0.23, 0.03, (70, 72, 78))
    pen.rect(0.04, 0.0, 0.35, 0.58, (52, 54, 58), 0.05)
    for name, y in (("red", 0.12), ("yellow", 0.29), ("green", 0.46)):
        lit = {"red": (255, 60, 44), "yellow": (255, 214, 50), "green": (60, 224, 100)}[name]
        pen.disc(0.215, y, 0.078, (*lit, 255) if name == pen.colour else mix(lit, (40, 40, 44), 0.82))
        if name == pen.colour:
            pen.disc(0.19, y - 0.025, 0.03, GLEAM)


@draws("bucket")
def _bucket(pen: Pen) -> None:
    for turn in range(180, 360, 15):
        pen.line(
            [living.around(0.42, 0.3, 0.38, turn, 0.3), living.around(0.42, 0.3, 0.38, turn + 15, 0.3)], 0.035, STEEL
        )
    pen.polygon([(0.0, 0.3), (0.84, 0.3), (0.7, 1.0), (0.14, 1.0)], pen.body)
    pen.polygon([(0.56, 0.3), (0.84, 0.3), (0.7, 1.0), (0.52, 1.0)], pen.shade)
    pen.opening()
    pen.oval(0.42, 0.3, 0.43, 0.1, pen.light)
    pen.oval(0.42, 0.31, 0.35, 0.065, pen.dark)
    pen.line([(0.05, 0.52), (0.8, 0.52)], 0.035, pen.shade)


@draws("surfboard")
def _surfboard(pen: Pen) -> None:
    pen.blob(
        [(0.2, 0.0), (0.36, 0.25), (0.38, 0.6), (0.3, 0.94), (0.2, 1.0), (0.1, 0.94), (0.02, 0.6), (0.04, 0.25)],
        pen.body,
    )
    stripe = {"white": "blue", "yellow": "red", "orange": "white"}.get(pen.colour, "white")
    band = Pen(stripe).body
    pen.polygon([(0.035, 0.34), (0.365, 0.26), (0.37, 0.36), (0.025, 0.44)], band)
    pen.line([(0.2, 0.05), (0.2, 0.96)], 0.025, pen.dark)
    pen.blob([(0.3, 0.2), (0.35, 0.4), (0.34, 0.7), (0.28, 0.92), (0.31, 0.6)], SHADE)


@draws("suitcase")
def _suitcase(pen: Pen) -> None:
    pen.line([(0.38, 0.22), (0.38, 0.04), (0.66, 0.04), (0.66, 0.22)], 0.06, RUBBER)
    pen.rect(0.0, 0.2, 1.04, 0.78, pen.body, 0.1)
    pen.rect(0.02, 0.78, 1.0, 0.18, pen.shade, 0.08)
    for x in (0.2, 0.76):
        pen.rect(x, 0.2, 0.09, 0.78, pen.dark)
        pen.rect(x - 0.02, 0.44, 0.13, 0.09, GOLD)
    pen.line([(0.1, 0.27), (0.94, 0.27)], 0.03, pen.light)


@draws("suitcase")
def _trolley(pen: Pen) -> None:
    pen.line([(0.2, 0.3), (0.2, 0.02), (0.42, 0.02), (0.42, 0.3)], 0.035, STEEL)
    pen.rect(0.0, 0.26, 0.62, 0.7, pen.body, 0.08)
    for x in (0.14, 0.31, 0.48):
        pen.line([(x, 0.33), (x, 0.88)], 0.03, pen.shade)
    pen.line([(0.06, 0.34), (0.06, 0.84)], 0.025, pen.light)
    for x in (0.1, 0.52):
        pen.disc(x, 0.97, 0.05, RUBBER)


@draws("chair")
def _chair(pen: Pen) -> None:
    pen.line([(0.62, 0.58), (0.66, 0.94)], 0.055, pen.shade)
    pen.line([(0.2, 0.58), (0.2, 0.94)], 0.055, pen.shade)
    pen.polygon([(0.02, 0.04), (0.1, 0.0), (0.2, 0.5), (0.12, 0.56)], pen.body)
    pen.line([(0.06, 0.04), (0.1, 0.56), (0.06, 0.98)], 0.065, pen.body)
    pen.polygon([(0.08, 0.52), (0.6, 0.5), (0.7, 0.58), (0.06, 0.6)], pen.light)
    pen.rect(0.06, 0.585, 0.64, 0.07, pen.body)
    pen.line([(0.66, 0.62), (0.66, 0.98)], 0.065, pen.body)


@draws("chair")
def _chair_front(pen: Pen) -> None:
    for x in (0.12, 0.54):
        pen.line([(x, 0.6), (x, 0.9)], 0.05, pen.shade)
        pen.line([(x, 0.03), (x, 0.55)], 0.06, pen.body)
    for y in (0.02, 0.17, 0.32):
        pen.rect(0.1, y, 0.46, 0.08, pen.body, 0.02)
        pen.rect(0.14, y + 0.055, 0.38, 0.025, pen.shade)
    pen.polygon([(0.1, 0.52), (0.56, 0.52), (0.64, 0.64), (0.02, 0.64)], pen.light)
    pen.rect(0.02, 0.63, 0.62, 0.07, pen.body)
    for x in (0.06, 0.6):
        pen.line([(x, 0.66), (x, 0.98)], 0.065, pen.body)


@draws("sofa")
def _sofa(pen: Pen) -> None:
    for x in (0.16, 1.66):
        pen.rect(x, 0.86, 0.1, 0.12, WOOD)
    pen.rect(0.12, 0.0, 1.68, 0.7, pen.body, 0.12)
    for x in (0.22, 0.98):
        pen.rect(x, 0.08, 0.72, 0.42, pen.light, 0.1)
        pen.rect(x - 0.02, 0.46, 0.76, 0.2, pen.light, 0.08)
    pen.rect(0.14, 0.62, 1.64, 0.28, pen.shade, 0.05)
    pen.line([(0.96, 0.1), (0.96, 0.88)], 0.02, pen.dark)
    for x in (0.0, 1.68):
        pen.rect(x, 0.32, 0.24, 0.6, pen.body, 0.11)
        pen.rect(x + 0.03, 0.34, 0.18, 0.1, pen.light, 0.05)


@draws("sofa")
def _sofa_round(pen: Pen) -> None:
    for x in (0.3, 1.3):
        pen.line([(x, 0.84), (x - 0.02, 0.98)], 0.06, WOOD)
    pen.blob(
        [
            (0.1, 0.5),
            (0.18, 0.12),
            (0.5, 0.02),
            (0.82, 0.06),
            (1.16, 0.02),
            (1.48, 0.12),
            (1.56, 0.5),
            (1.4, 0.8),
            (0.26, 0.8),
        ],
        pen.body,
    )
    for x in (0.52, 0.82, 1.12):
        pen.disc(x, 0.26, 0.028, pen.dark)
    pen.rect(0.2, 0.5, 1.26, 0.18, pen.light, 0.08)
    pen.rect(0.18, 0.64, 1.3, 0.22, pen.shade, 0.06)
    for x in (0.0, 1.4):
        pen.rect(x, 0.36, 0.26, 0.5, pen.body, 0.12)
    pen.polygon([(0.3, 0.28), (0.5, 0.24), (0.54, 0.52), (0.32, 0.52)], mix(CHALK, pen.body, 0.25))


@draws("lamp")
def _table_lamp(pen: Pen) -> None:
    pen.oval(0.35, 0.96, 0.2, 0.045, WOOD)
    pen.blob(
        [(0.33, 0.44), (0.37, 0.44), (0.42, 0.6), (0.46, 0.76), (0.38, 0.94), (0.32, 0.94), (0.24, 0.76), (0.28, 0.6)],
        GOLD,
    )
    pen.polygon([(0.18, 0.0), (0.52, 0.0), (0.7, 0.46), (0.0, 0.46)], pen.body)
    pen.polygon([(0.24, 0.02), (0.36, 0.02), (0.36, 0.44), (0.14, 0.44)], GLEAM)
    pen.rect(0.0, 0.42, 0.7, 0.05, pen.shade)


@draws("lamp")
def _desk_lamp(pen: Pen) -> None:
    pen.oval(0.26, 0.96, 0.24, 0.045, pen.body)
    pen.line([(0.26, 0.94), (0.1, 0.52), (0.46, 0.2)], 0.05, STEEL)
    pen.disc(0.1, 0.52, 0.045, RUBBER)
    pen.polygon([(0.38, 0.18), (0.5, 0.04), (0.8, 0.26), (0.58, 0.5)], pen.body)
    pen.polygon([(0.5, 0.04), (0.8, 0.26), (0.76, 0.3), (0.46, 0.09)], pen.light)
    pen.blob([(0.6, 0.48), (0.78, 0.28), (0.82, 0.36), (0.7, 0.5)], HEADLIGHT)


@draws("lamp")
def _floor_lamp(pen: Pen) -> None:
    pen.oval(0.24, 0.97, 0.16, 0.03, RUBBER)
    pen.rect(0.22, 0.26, 0.04, 0.7, mix(WOOD, INK, 0.3))
    pen.polygon([(0.12, 0.0), (0.36, 0.0), (0.48, 0.3), (0.0, 0.3)], pen.body)
    pen.polygon([(0.15, 0.01), (0.24, 0.01), (0.24, 0.29), (0.08, 0.29)], GLEAM)
    pen.rect(0.0, 0.28, 0.48, 0.03, pen.shade)


@draws("clock")
def _round_clock(pen: Pen) -> None:
    pen.disc(0.5, 0.5, 0.5, pen.body if pen.colour != "white" else (120, 124, 132))
    pen.disc(0.5, 0.5, 0.41, CHALK)
    for turn in range(0, 360, 30):
        pen.line(
            [living.around(0.5, 0.5, 0.37, turn), living.around(0.5, 0.5, 0.3 if turn % 90 else 0.26, turn)], 0.035, INK
        )
    pen.line([(0.5, 0.5), (0.5, 0.2)], 0.045, INK)
    pen.line([(0.5, 0.5), (0.7, 0.6)], 0.06, INK)
    pen.disc(0.5, 0.5, 0.05, (200, 50, 44))


@draws("clock")
def _alarm_clock(pen: Pen) -> None:
    for x in (0.24, 0.76):
        pen.line([(x, 0.86), (x + (x - 0.5) * 0.35, 1.04)], 0.07, RUBBER)
        pen.pie(x, 0.16, 0.19, 0.17, 180, 360, pen.shade)
    pen.line([(0.5, 0.0), (0.5, 0.14)], 0.06, RUBBER)
    pen.disc(0.5, 0.55, 0.44, pen.body if pen.colour != "white" else (120, 124, 132))
    pen.disc(0.5, 0.55, 0.35, CHALK)
    for turn in range(0, 360, 90):
        pen.line([living.around(0.5, 0.55, 0.31, turn), living.around(0.5, 0.55, 0.23, turn)], 0.04, INK)
    pen.line([(0.5, 0.55), (0.4, 0.32)], 0.05, INK)
    pen.line([(0.5, 0.55), (0.66, 0.5)], 0.06, INK)


@draws("television")
def _television(pen: Pen) -> None:
    pen.rect(0.66, 0.84, 0.16, 0.12, pen.shade)
    pen.rect(0.4, 0.94, 0.68, 0.06, pen.body, 0.02)
    pen.rect(0.0, 0.0, 1.48, 0.88, pen.body, 0.05)
    pen.rect(0.06, 0.06, 1.36, 0.74, (110, 176, 214, 255))
    pen.polygon(
        [(0.06, 0.8), (0.06, 0.56), (0.42, 0.34), (0.72, 0.6), (0.98, 0.46), (1.42, 0.66), (1.42, 0.8)], (84, 150, 92)
    )
    pen.disc(1.14, 0.24, 0.1, (250, 226, 120))
    pen.polygon([(0.12, 0.06), (0.4, 0.06), (0.14, 0.6), (0.06, 0.6), (0.06, 0.2)], GLEAM)


@draws("television")
def _old_television(pen: Pen) -> None:
    pen.line([(0.36, -0.2), (0.56, 0.04), (0.84, -0.22)], 0.03, INK)
    for x in (0.2, 0.94):
        pen.line([(x, 0.84), (x, 0.96)], 0.07, WOOD)
    pen.rect(0.0, 0.02, 1.16, 0.86, pen.body, 0.1)
    pen.rect(0.08, 0.1, 0.76, 0.68, (120, 186, 200, 255), 0.14)
    pen.polygon([(0.2, 0.12), (0.4, 0.12), (0.2, 0.6), (0.1, 0.56), (0.1, 0.3)], GLEAM)
    for y in (0.24, 0.42):
        pen.disc(1.0, y, 0.06, STEEL)
    for y in (0.6, 0.67, 0.74):
        pen.line([(0.92, y), (1.08, y)], 0.025, pen.dark if pen.colour != "black" else STEEL)


@draws("vase")
def _vase(pen: Pen) -> None:
    pen.blob(
        [
            (0.14, 0.04),
            (0.18, 0.22),
            (0.02, 0.48),
            (0.06, 0.8),
            (0.18, 0.98),
            (0.42, 0.98),
            (0.54, 0.8),
            (0.58, 0.48),
            (0.42, 0.22),
            (0.46, 0.04),
            (0.3, 0.1),
        ],
        pen.body,
    )
    pen.blob([(0.44, 0.28), (0.57, 0.5), (0.53, 0.8), (0.4, 0.97), (0.44, 0.66)], pen.shade)
    pen.line([(0.05, 0.52), (0.55, 0.52)], 0.045, CHALK if pen.colour != "white" else (60, 104, 180))
    pen.line([(0.05, 0.62), (0.55, 0.62)], 0.025, CHALK if pen.colour != "white" else (60, 104, 180))
    pen.oval(0.16, 0.42, 0.045, 0.1, GLEAM, turn=20)
    pen.opening()
    pen.oval(0.3, 0.05, 0.16, 0.04, pen.dark)


@draws("vase")
def _vase_tall(pen: Pen) -> None:
    pen.polygon(
        [(0.02, 0.04), (0.42, 0.04), (0.33, 0.3), (0.38, 0.95), (0.3, 1.0), (0.14, 1.0), (0.06, 0.95), (0.11, 0.3)],
        pen.body,
    )
    pen.polygon([(0.26, 0.06), (0.42, 0.04), (0.33, 0.3), (0.38, 0.95), (0.3, 1.0), (0.26, 1.0)], pen.shade)
    for y in (0.44, 0.6, 0.76):
        pen.polygon(
            [(0.1, y), (0.22, y - 0.06), (0.34, y), (0.22, y + 0.06)],
            CHALK if pen.colour != "white" else (60, 104, 180),
        )
    pen.opening()
    pen.oval(0.22, 0.04, 0.2, 0.04, pen.dark)


@draws("book")
def _closed_book(pen: Pen) -> None:
    pen.polygon([(0.1, 0.3), (1.06, 0.3), (1.24, 0.0), (0.34, 0.0)], pen.body)
    pen.polygon([(0.38, 0.21), (0.86, 0.21), (0.92, 0.1), (0.46, 0.1)], pen.light)
    pen.polygon([(0.1, 0.32), (1.06, 0.32), (1.06, 0.5), (0.1, 0.5)], CHALK)
    pen.polygon([(1.06, 0.3), (1.24, 0.02), (1.24, 0.2), (1.06, 0.5)], (222, 216, 200))
    for y in (0.37, 0.43):
        pen.line([(0.12, y), (1.05, y)], 0.014, (190, 184, 170))
    pen.rect(0.05, 0.29, 0.09, 0.24, pen.shade, 0.03)
    pen.line([(0.1, 0.51), (1.06, 0.51), (1.24, 0.21)], 0.045, pen.shade)
    pen.line([(0.1, 0.3), (1.06, 0.3)], 0.035, pen.light)


@draws("book")
def _open_book(pen: Pen) -> None:
    pen.polygon([(0.0, 0.56), (0.2, 0.06), (1.2, 0.06), (1.4, 0.56)], pen.body)
    pen.blob([(0.08, 0.5), (0.24, 0.06), (0.46, 0.0), (0.7, 0.06), (0.7, 0.5), (0.4, 0.44)], CHALK)
    pen.blob([(1.32, 0.5), (1.16, 0.06), (0.94, 0.0), (0.7, 0.06), (0.7, 0.5), (1.0, 0.44)], (236, 230, 216))
    for y in (0.14, 0.22, 0.3, 0.38):
        pen.line([(0.32 - y * 0.3, y), (0.62, y)], 0.018, (120, 116, 112))
        pen.line([(0.78, y), (1.08 + y * 0.3, y)], 0.018, (120, 116, 112))
    pen.line([(0.7, 0.05), (0.7, 0.52)], 0.025, pen.dark)


@draws("book")
def _upright_books(pen: Pen) -> None:
    pen.rect(0.06, 0.0, 0.66, 1.0, pen.body, 0.03)
    pen.rect(0.0, 0.0, 0.12, 1.0, pen.shade, 0.03)
    pen.rect(0.22, 0.16, 0.4, 0.16, CHALK)
    pen.line([(0.27, 0.24), (0.57, 0.24)], 0.03, INK)
    pen.disc(0.42, 0.62, 0.12, pen.light)
    pen.rect(0.7, 0.03, 0.05, 0.94, CHALK)


@draws("laptop")
def _laptop(pen: Pen) -> None:
    pen.rect(0.14, 0.0, 1.12, 0.68, pen.body, 0.04)
    pen.rect(0.2, 0.06, 1.0, 0.54, (96, 156, 214, 255))
    pen.polygon([(0.24, 0.06), (0.56, 0.06), (0.3, 0.6), (0.2, 0.6), (0.2, 0.16)], GLEAM)
    pen.rect(0.62, 0.2, 0.46, 0.05, CHALK)
    pen.rect(0.62, 0.31, 0.34, 0.05, CHALK)
    pen.polygon([(0.14, 0.7), (1.26, 0.7), (1.42, 0.93), (-0.02, 0.93)], pen.light)
    pen.polygon([(0.22, 0.73), (1.18, 0.73), (1.26, 0.83), (0.14, 0.83)], mix(pen.dark, INK, 0.3))
    pen.polygon([(0.54, 0.86), (0.86, 0.86), (0.88, 0.92), (0.52, 0.92)], pen.shade)
    pen.rect(-0.02, 0.92, 1.44, 0.06, pen.shade, 0.02)


@draws("cup")
def _cup(pen: Pen) -> None:
    pen.line([(0.74, 0.3), (0.94, 0.34), (0.94, 0.56), (0.7, 0.66)], 0.08, pen.body)
    pen.polygon([(0.02, 0.14), (0.78, 0.14), (0.7, 0.9), (0.6, 0.98), (0.2, 0.98), (0.1, 0.9)], pen.body)
    pen.polygon([(0.54, 0.16), (0.78, 0.14), (0.7, 0.9), (0.6, 0.98), (0.46, 0.98)], pen.shade)
    pen.opening()
    pen.oval(0.4, 0.14, 0.39, 0.12, pen.light)
    pen.oval(0.4, 0.15, 0.32, 0.085, (92, 56, 34))
    pen.line([(0.15, 0.34), (0.2, 0.76)], 0.05, GLEAM)


@draws("cup")
def _teacup(pen: Pen) -> None:
    pen.oval(0.56, 0.86, 0.56, 0.1, pen.light)
    pen.oval(0.56, 0.85, 0.4, 0.06, pen.shade)
    pen.line([(0.92, 0.28), (1.12, 0.3), (1.08, 0.48), (0.88, 0.56)], 0.06, pen.body)
    pen.blob([(0.14, 0.14), (0.56, 0.1), (0.98, 0.14), (0.9, 0.52), (0.7, 0.8), (0.42, 0.8), (0.22, 0.52)], pen.body)
    pen.blob([(0.74, 0.16), (0.97, 0.15), (0.89, 0.52), (0.7, 0.79), (0.6, 0.78), (0.72, 0.5)], pen.shade)
    pen.opening()
    pen.oval(0.56, 0.14, 0.42, 0.1, pen.light)
    pen.oval(0.56, 0.15, 0.35, 0.07, (150, 84, 40))


@draws("spoon")
def _spoon(pen: Pen) -> None:
    pen.line([(0.34, 0.13), (1.3, 0.13)], 0.075, pen.body)
    pen.line([(1.1, 0.13), (1.34, 0.13)], 0.1, pen.body)
    pen.oval(0.22, 0.13, 0.24, 0.14, pen.body)
    pen.oval(0.23, 0.13, 0.18, 0.095, pen.shade)
    pen.oval(0.16, 0.1, 0.07, 0.03, GLEAM)
    pen.line([(0.46, 0.115), (1.2, 0.115)], 0.02, pen.light)


@draws("spoon")
def _spoon_slanting(pen: Pen) -> None:
    _spoon(pen)
    pen.turn(-24)


@draws("spoon")
def _spoon_upright(pen: Pen) -> None:
    pen.line([(0.15, 0.4), (0.15, 1.0)], 0.06, pen.body)
    pen.oval(0.15, 0.2, 0.15, 0.21, pen.body)
    pen.oval(0.15, 0.2, 0.1, 0.155, pen.shade)
    pen.oval(0.12, 0.13, 0.035, 0.06, GLEAM)


@draws("fork")
def _fork(pen: Pen) -> None:
    pen.line([(0.4, 0.14), (1.36, 0.14)], 0.075, pen.body)
    pen.line([(1.1, 0.14), (1.36, 0.14)], 0.1, pen.body)
    pen.blob([(0.52, 0.14), (0.42, 0.28), (0.28, 0.29), (0.28, -0.01), (0.42, 0.0)], pen.body)
    for y in (0.01, 0.097, 0.183, 0.27):
        pen.line([(0.0, y), (0.34, y)], 0.042, pen.body)
    pen.line([(0.5, 0.125), (1.24, 0.125)], 0.02, pen.light)


@draws("fork")
def _fork_slanting(pen: Pen) -> None:
    _fork(pen)
    pen.turn(20)


@draws("fork")
def _fork_upright(pen: Pen) -> None:
    pen.line([(0.16, 0.4), (0.16, 1.0)], 0.06, pen.body)
    pen.blob([(0.16, 0.46), (0.0, 0.34), (0.0, 0.22), (0.32, 0.22), (0.32, 0.34)], pen.body)
    for x in (0.01, 0.11, 0.21, 0.31):
        pen.line([(x, 0.0), (x, 0.28)], 0.042, pen.body)


@draws("bowl")
def _bowl(pen: Pen) -> None:
    pen.rect(0.42, 0.64, 0.4, 0.1, pen.shade, 0.03)
    pen.pie(0.62, 0.14, 0.62, 0.56, 0, 180, pen.body)
    pen.polygon([(0.8, 0.16), (1.23, 0.16), (1.16, 0.4), (0.96, 0.6), (0.76, 0.69)], pen.shade)
    pen.opening()
    pen.oval(0.62, 0.14, 0.62, 0.13, pen.light)
    pen.oval(0.62, 0.15, 0.54, 0.09, pen.dark)
    pen.curve([(0.14, 0.34), (0.22, 0.5), (0.36, 0.62)], 0.05, GLEAM)


@draws("bowl")
def _bowl_deep(pen: Pen) -> None:
    pen.polygon([(0.0, 0.12), (0.96, 0.12), (0.84, 0.52), (0.66, 0.72), (0.3, 0.72), (0.12, 0.52)], pen.body)
    pen.line([(0.08, 0.4), (0.88, 0.4)], 0.09, CHALK if pen.colour != "white" else (70, 120, 190))
    pen.polygon([(0.68, 0.14), (0.96, 0.12), (0.84, 0.52), (0.66, 0.72), (0.54, 0.72)], SHADE)
    pen.opening()
    pen.oval(0.48, 0.12, 0.48, 0.11, pen.light)
    pen.oval(0.48, 0.13, 0.41, 0.075, pen.shade)


@draws("bottle")
def _wine_bottle(pen: Pen) -> None:
    pen.rect(0.11, 0.0, 0.12, 0.08, (150, 40, 50), 0.02)
    pen.polygon(
        [
            (0.12, 0.07),
            (0.22, 0.07),
            (0.22, 0.26),
            (0.34, 0.42),
            (0.34, 0.97),
            (0.31, 1.0),
            (0.03, 1.0),
            (0.0, 0.97),
            (0.0, 0.42),
            (0.12, 0.26),
        ],
        pen.body,
    )
    pen.polygon(
        [(0.2, 0.1), (0.22, 0.1), (0.22, 0.26), (0.34, 0.42), (0.34, 0.97), (0.31, 1.0), (0.26, 1.0)], pen.shade
    )
    pen.rect(0.01, 0.56, 0.32, 0.26, CHALK if pen.colour != "white" else (120, 170, 210))
    pen.line([(0.08, 0.66), (0.26, 0.66)], 0.03, (160, 60, 60))
    pen.line([(0.05, 0.44), (0.05, 0.52)], 0.03, GLEAM)


@draws("bottle")
def _water_bottle(pen: Pen) -> None:
    pen.rect(0.12, 0.0, 0.16, 0.1, INK, 0.02)
    pen.blob(
        [
            (0.13, 0.1),
            (0.27, 0.1),
            (0.3, 0.2),
            (0.39, 0.32),
            (0.39, 0.94),
            (0.3, 1.0),
            (0.1, 1.0),
            (0.01, 0.94),
            (0.01, 0.32),
            (0.1, 0.2),
        ],
        pen.body,
    )
    pen.polygon([(0.28, 0.3), (0.38, 0.34), (0.38, 0.94), (0.28, 0.99)], pen.shade)
    for y in (0.5, 0.62, 0.74):
        pen.line([(0.03, y), (0.37, y)], 0.02, pen.light)
    pen.line([(0.08, 0.34), (0.08, 0.9)], 0.035, GLEAM)


@draws("teapot")
def _teapot(pen: Pen) -> None:
    pen.line([(0.24, 0.38), (0.02, 0.36), (0.02, 0.68), (0.26, 0.76)], 0.08, pen.shade)
    pen.polygon(
        [(0.86, 0.74), (1.06, 0.56), (1.14, 0.3), (1.28, 0.26), (1.24, 0.36), (1.16, 0.7), (0.9, 0.9)], pen.body
    )
    pen.rect(0.36, 0.92, 0.46, 0.08, pen.shade, 0.03)
    pen.oval(0.58, 0.62, 0.44, 0.36, pen.body)
    pen.blob([(0.8, 0.34), (1.0, 0.6), (0.82, 0.9), (0.6, 0.97), (0.78, 0.7)], pen.shade)
    pen.pie(0.58, 0.3, 0.27, 0.14, 180, 360, pen.light)
    pen.oval(0.58, 0.3, 0.27, 0.045, pen.shade)
    pen.disc(0.58, 0.11, 0.065, pen.dark)
    pen.oval(0.34, 0.5, 0.07, 0.12, GLEAM, turn=25)


@draws("apple")
def _apple(pen: Pen) -> None:
    pen.blob(
        [
            (0.5, 0.26),
            (0.7, 0.16),
            (0.94, 0.3),
            (0.96, 0.6),
            (0.76, 0.94),
            (0.5, 0.92),
            (0.24, 0.94),
            (0.04, 0.6),
            (0.06, 0.3),
            (0.3, 0.16),
        ],
        pen.body,
    )
    pen.blob([(0.8, 0.26), (0.95, 0.45), (0.92, 0.68), (0.74, 0.93), (0.56, 0.9), (0.78, 0.62)], pen.shade)
    pen.curve([(0.5, 0.28), (0.5, 0.12), (0.58, 0.0)], 0.06, (96, 62, 34))
    pen.blob([(0.54, 0.14), (0.7, 0.0), (0.88, 0.04), (0.74, 0.16)], LEAF)
    pen.oval(0.26, 0.4, 0.08, 0.13, GLEAM, turn=25)


@draws("apple")
def _apple_tilted(pen: Pen) -> None:
    pen.disc(0.48, 0.58, 0.42, pen.shade)
    pen.oval(0.44, 0.56, 0.38, 0.39, pen.body)
    pen.oval(0.52, 0.24, 0.16, 0.06, pen.dark, turn=10)
    pen.line([(0.52, 0.24), (0.62, 0.04)], 0.06, (96, 62, 34))
    pen.oval(0.28, 0.42, 0.08, 0.12, GLEAM, turn=30)


@draws("banana")
def _banana(pen: Pen) -> None:
    pen.blob(
        [
            (0.0, 0.14),
            (0.1, 0.1),
            (0.24, 0.34),
            (0.5, 0.48),
            (0.86, 0.46),
            (1.14, 0.22),
            (1.22, 0.26),
            (1.16, 0.5),
            (0.92, 0.76),
            (0.56, 0.82),
            (0.24, 0.66),
            (0.06, 0.4),
        ],
        pen.body,
    )
    pen.blob(
        [
            (0.04, 0.24),
            (0.2, 0.52),
            (0.54, 0.68),
            (0.92, 0.62),
            (1.18, 0.36),
            (1.12, 0.56),
            (0.9, 0.76),
            (0.56, 0.82),
            (0.24, 0.66),
            (0.08, 0.44),
        ],
        pen.shade,
    )
    pen.line([(1.16, 0.24), (1.2, 0.06)], 0.07, (120, 90, 40))
    pen.disc(0.04, 0.14, 0.045, (80, 60, 30))


@draws("banana")
def _bananas(pen: Pen) -> None:
    pen.curve([(0.9, 0.1), (0.86, 0.5), (0.5, 0.78), (0.1, 0.74)], 0.22, pen.shade, end=0.08)
    pen.curve([(0.9, 0.1), (0.8, 0.38), (0.48, 0.58), (0.06, 0.54)], 0.22, pen.body, end=0.08)
    pen.curve([(0.9, 0.1), (0.72, 0.28), (0.44, 0.38), (0.08, 0.32)], 0.2, pen.light, end=0.07)
    pen.line([(0.9, 0.14), (0.96, 0.0)], 0.1, (120, 90, 40))
    for x, y in ((0.1, 0.74), (0.06, 0.54), (0.08, 0.32)):
        pen.disc(x, y, 0.045, (80, 60, 30))


SPONGE: RGB = (232, 190, 120)


@draws("cake")
def _cake(pen: Pen) -> None:
    pen.oval(0.6, 0.92, 0.62, 0.09, CHALK)
    pen.rect(0.1, 0.36, 1.0, 0.5, SPONGE)
    pen.oval(0.6, 0.86, 0.5, 0.09, SPONGE)
    pen.rect(0.1, 0.58, 1.0, 0.07, pen.shade)
    pen.rect(0.1, 0.34, 1.0, 0.14, pen.body)
    for x in (0.18, 0.36, 0.54, 0.72, 0.9, 1.04):
        pen.oval(x, 0.48, 0.08, 0.09 if round(x * 100) % 4 else 0.05, pen.body)
    pen.oval(0.6, 0.34, 0.5, 0.1, pen.light)
    for x in (0.36, 0.6, 0.84):
        pen.line([(x, 0.32), (x, 0.14)], 0.05, (90, 150, 210))
        pen.oval(x, 0.06, 0.03, 0.06, (255, 190, 50))


@draws("cake")
def _cake_slice(pen: Pen) -> None:
    pen.oval(0.62, 0.86, 0.64, 0.1, CHALK)
    pen.polygon([(0.1, 0.42), (1.08, 0.3), (1.08, 0.74), (0.1, 0.86)], SPONGE)
    pen.polygon([(0.1, 0.6), (1.08, 0.48), (1.08, 0.56), (0.1, 0.68)], pen.body)
    pen.polygon([(0.1, 0.38), (0.8, 0.12), (1.08, 0.22), (1.08, 0.36), (0.1, 0.5)], pen.body)
    pen.polygon([(0.1, 0.38), (0.8, 0.12), (1.08, 0.22)], pen.light)
    pen.disc(0.76, 0.12, 0.1, (206, 40, 50))
