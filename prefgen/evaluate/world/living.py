"""Drawings of people, animals and plants. All look to the right; y grows downwards and the height is about 1."""

from functools import partial

import numpy as np

from prefgen.evaluate.world.pen import CHALK, INK, RGB, SHADE, Pen, Points, draws, mix

SKIN: tuple[RGB, ...] = ((244, 200, 164), (198, 142, 100), (122, 80, 56))
HAIR: tuple[RGB, ...] = ((92, 58, 34), (34, 28, 28), (214, 168, 82), (150, 70, 34))
TROUSERS: tuple[RGB, ...] = ((52, 62, 96), (92, 84, 76), (60, 60, 66))
BEAK, LEAF, BARK = (240, 150, 40), (70, 140, 66), (112, 78, 50)


def _person(pen: Pen, pose: str, look: int) -> None:
    """A person of one of several looks: hair, skin, trousers or a skirt."""
    skin, hair, cloth = SKIN[look % 3], HAIR[look % 4], TROUSERS[look % 3]
    skirt, long_hair = look % 2 == 1, look in (1, 3)
    if pose == "sitting":
        pen.line([(0.0, 0.60), (0.24, 0.60), (0.26, 0.92)], 0.12, mix(cloth, INK, 0.3))
        pen.line([(0.0, 0.62), (0.28, 0.62), (0.30, 0.94)], 0.13, cloth)
        pen.line([(0.31, 0.97), (0.38, 0.97)], 0.07, INK)
    else:
        stride = {"walking": 0.15}.get(pose, 0.06)
        knee = 0.04 if pose == "walking" else 0.0
        pen.line([(-0.03, 0.56), (-stride / 2 - knee / 2, 0.76), (-stride - knee, 0.95)], 0.10, mix(cloth, INK, 0.3))
        pen.line([(0.03, 0.56), (stride / 2 + knee, 0.76), (stride, 0.95)], 0.11, cloth)
        for x in (-stride - knee, stride):
            pen.line([(x, 0.97), (x + 0.06, 0.97)], 0.06, INK)
    far, near = {
        "walking": ([(0.05, 0.27), (0.13, 0.42), (0.2, 0.5)], [(-0.06, 0.27), (-0.14, 0.42), (-0.17, 0.54)]),
        "waving": ([(-0.09, 0.27), (-0.15, 0.42), (-0.14, 0.56)], [(0.09, 0.27), (0.22, 0.2), (0.25, 0.03)]),
        "holding": ([(-0.09, 0.27), (-0.15, 0.42), (-0.12, 0.56)], [(0.08, 0.28), (0.15, 0.42), (0.28, 0.36)]),
        "sitting": ([(0.04, 0.28), (0.13, 0.44), (0.22, 0.55)], [(-0.04, 0.28), (0.04, 0.46), (0.2, 0.56)]),
        "standing": ([(-0.1, 0.27), (-0.15, 0.42), (-0.14, 0.56)], [(0.1, 0.27), (0.15, 0.42), (0.14, 0.56)]),
    }[pose]
    behind = pose in ("walking", "sitting")
    arms = ((far, pen.shade), (near, pen.light if behind else pen.body))

    def arm(points: Points, colour: RGB) -> None:
        pen.line(points[:2], 0.085, colour)
        pen.line(points[1:], 0.07, colour)
        pen.disc(*points[-1], 0.042, skin)

    arm(*arms[0])
    if long_hair:
        pen.blob([(-0.1, 0.06), (0.0, -0.02), (0.1, 0.08), (0.09, 0.26), (-0.11, 0.27)], hair)
    if skirt and pose != "sitting":
        pen.blob(
            [
                (-0.1, 0.25),
                (0.0, 0.22),
                (0.1, 0.25),
                (0.11, 0.45),
                (0.19, 0.72),
                (0.0, 0.75),
                (-0.19, 0.72),
                (-0.11, 0.45),
            ],
            pen.body,
        )
        pen.polygon([(0.03, 0.45), (0.19, 0.72), (0.05, 0.74)], SHADE)
    else:
        pen.blob(
            [
                (-0.1, 0.23),
                (0.0, 0.215),
                (0.1, 0.23),
                (0.125, 0.35),
                (0.105, 0.58),
                (0.0, 0.61),
                (-0.105, 0.58),
                (-0.125, 0.35),
            ],
            pen.body,
        )
        pen.polygon([(0.04, 0.26), (0.11, 0.3), (0.1, 0.57), (0.03, 0.6)], SHADE)
    pen.line([(0.0, 0.2), (0.0, 0.23)], 0.07, mix(skin, INK, 0.15))
    pen.oval(0.0, 0.11, 0.085, 0.1, skin)
    pen.pie(0.0, 0.09, 0.097, 0.1, 176, 364, hair)
    if long_hair:
        pen.blob([(-0.1, 0.08), (-0.06, 0.02), (-0.06, 0.16), (-0.1, 0.24)], hair)
    if look == 2:
        pen.pie(0.0, 0.06, 0.105, 0.09, 180, 360, pen.dark)
        pen.line([(-0.02, 0.06), (0.16, 0.065)], 0.025, pen.dark)
    for x in (-0.03, 0.045):
        pen.disc(x, 0.115, 0.013, INK)
    arm(*arms[1])


for _pose in ("standing", "walking", "waving", "sitting", "holding"):
    for _look in range(4):
        draws("person", _pose)(partial(_person, pose=_pose, look=_look))


def _legs(pen: Pen, hips: Points, feet: Points, width: float, paw: RGB | None = None) -> None:
    """Four legs, the two far ones first and darker."""
    for number, ((hip_x, hip_y), (foot_x, foot_y)) in enumerate(zip(hips, feet, strict=True)):
        colour = pen.shade if number < 2 else pen.body
        knee = ((hip_x + foot_x) / 2 + 0.015, (hip_y + foot_y) / 2)
        pen.curve([(hip_x, hip_y), knee, (foot_x, foot_y)], width * 1.35, colour, end=width * 0.8)
        pen.oval(foot_x + 0.02, foot_y, width * 0.62, width * 0.4, paw or colour)


def _dog_head(pen: Pen, x: float, y: float) -> None:
    pen.disc(x, y, 0.15, pen.body)
    pen.oval(x + 0.15, y + 0.05, 0.12, 0.075, pen.light)
    pen.oval(x + 0.255, y + 0.02, 0.035, 0.03, INK)
    pen.line([(x + 0.13, y + 0.1), (x + 0.2, y + 0.1)], 0.015, pen.dark)
    pen.disc(x + 0.065, y - 0.04, 0.024, INK)
    pen.blob(
        [(x - 0.07, y - 0.14), (x - 0.01, y - 0.1), (x - 0.03, y + 0.08), (x - 0.1, y + 0.14), (x - 0.16, y + 0.04)],
        pen.dark,
    )


@draws("dog", "standing")
def _dog_standing(pen: Pen) -> None:
    pen.curve([(0.17, 0.47), (0.05, 0.34), (0.03, 0.14)], 0.08, pen.body, end=0.03)
    _legs(
        pen,
        [(0.3, 0.6), (0.8, 0.58), (0.22, 0.6), (0.88, 0.58)],
        [(0.33, 0.97), (0.78, 0.97), (0.2, 0.98), (0.89, 0.98)],
        0.1,
    )
    pen.blob(
        [
            (0.14, 0.5),
            (0.3, 0.4),
            (0.6, 0.42),
            (0.85, 0.32),
            (0.98, 0.5),
            (0.86, 0.7),
            (0.6, 0.66),
            (0.35, 0.67),
            (0.17, 0.68),
        ],
        pen.body,
    )
    pen.blob([(0.3, 0.62), (0.6, 0.6), (0.88, 0.6), (0.84, 0.7), (0.6, 0.67), (0.35, 0.68)], SHADE)
    pen.polygon([(0.8, 0.4), (0.9, 0.2), (1.06, 0.3), (0.98, 0.52)], pen.body)
    _dog_head(pen, 1.0, 0.22)
    pen.line([(0.86, 0.35), (1.03, 0.41)], 0.05, (190, 40, 40))


@draws("dog", "running")
def _dog_running(pen: Pen) -> None:
    pen.curve([(0.17, 0.47), (0.02, 0.4), (-0.12, 0.28)], 0.08, pen.body, end=0.03)
    _legs(
        pen,
        [(0.26, 0.6), (0.85, 0.55), (0.22, 0.58), (0.9, 0.55)],
        [(0.06, 0.86), (1.12, 0.8), (-0.06, 0.76), (1.2, 0.7)],
        0.1,
    )
    pen.blob(
        [
            (0.14, 0.5),
            (0.3, 0.42),
            (0.6, 0.45),
            (0.85, 0.36),
            (0.98, 0.5),
            (0.86, 0.68),
            (0.6, 0.62),
            (0.35, 0.65),
            (0.17, 0.66),
        ],
        pen.body,
    )
    pen.polygon([(0.8, 0.42), (0.92, 0.24), (1.08, 0.34), (0.98, 0.54)], pen.body)
    _dog_head(pen, 1.04, 0.26)
    pen.line([(0.88, 0.38), (1.06, 0.45)], 0.05, (190, 40, 40))


@draws("dog", "sitting")
def _dog_sitting(pen: Pen) -> None:
    pen.curve([(0.12, 0.92), (-0.06, 0.9), (-0.14, 0.74)], 0.08, pen.shade, end=0.03)
    pen.blob([(0.08, 0.9), (0.14, 0.62), (0.34, 0.4), (0.52, 0.38), (0.58, 0.6), (0.54, 0.95), (0.3, 0.98)], pen.body)
    pen.blob([(0.08, 0.86), (0.2, 0.7), (0.36, 0.76), (0.38, 0.95), (0.2, 0.99), (0.08, 0.96)], pen.shade)
    pen.line([(0.5, 0.6), (0.52, 0.95)], 0.1, pen.body)
    pen.oval(0.55, 0.97, 0.075, 0.04, pen.body)
    pen.polygon([(0.36, 0.46), (0.4, 0.2), (0.58, 0.26), (0.58, 0.5)], pen.body)
    _dog_head(pen, 0.5, 0.2)
    pen.line([(0.37, 0.35), (0.58, 0.38)], 0.05, (190, 40, 40))


@draws("dog", "lying")
def _dog_lying(pen: Pen) -> None:
    pen.curve([(0.1, 0.62), (-0.08, 0.62), (-0.16, 0.5)], 0.08, pen.shade, end=0.03)
    pen.blob(
        [(0.06, 0.66), (0.1, 0.42), (0.3, 0.32), (0.7, 0.32), (0.9, 0.3), (0.98, 0.5), (0.9, 0.68), (0.4, 0.7)],
        pen.body,
    )
    pen.blob([(0.08, 0.66), (0.14, 0.46), (0.32, 0.46), (0.4, 0.66), (0.2, 0.71)], pen.shade)
    pen.line([(0.86, 0.64), (1.18, 0.66)], 0.09, pen.body)
    pen.line([(0.3, 0.67), (0.48, 0.67)], 0.08, pen.shade)
    _dog_head(pen, 1.0, 0.28)
    pen.line([(0.87, 0.4), (1.04, 0.46)], 0.05, (190, 40, 40))


def _cat_head(pen: Pen, x: float, y: float, size: float = 1.0) -> None:
    r = 0.17 * size
    for side in (-1, 1):
        pen.polygon(
            [(x + side * r, y - 0.1 * r), (x + side * 0.86 * r, y - 1.5 * r), (x + side * 0.1 * r, y - 0.8 * r)],
            pen.body,
        )
        pen.polygon(
            [
                (x + side * 0.78 * r, y - 0.5 * r),
                (x + side * 0.74 * r, y - 1.15 * r),
                (x + side * 0.35 * r, y - 0.8 * r),
            ],
            (226, 150, 150),
        )
    pen.oval(x, y, r * 1.08, r * 0.92, pen.body)
    for side in (-1, 1):
        pen.oval(x + side * 0.42 * r, y - 0.1 * r, 0.2 * r, 0.24 * r, (170, 206, 80))
        pen.oval(x + side * 0.42 * r, y - 0.1 * r, 0.09 * r, 0.24 * r, INK)
        for lift in (0.25, 0.5):
            pen.line(
                [(x + side * 0.4 * r, y + 0.38 * r), (x + side * 1.35 * r, y + lift * r)],
                0.07 * r,
                CHALK if pen.colour == "black" else pen.dark,
            )
    pen.oval(x, y + 0.42 * r, 0.38 * r, 0.26 * r, pen.light)
    pen.polygon([(x - 0.14 * r, y + 0.2 * r), (x + 0.14 * r, y + 0.2 * r), (x, y + 0.38 * r)], (210, 110, 110))


@draws("cat", "sitting")
def _cat_sitting(pen: Pen) -> None:
    pen.curve([(0.5, 0.92), (0.78, 0.92), (0.82, 0.7), (0.74, 0.56)], 0.09, pen.shade, end=0.06)
    pen.blob(
        [(0.1, 0.95), (0.1, 0.72), (0.2, 0.42), (0.35, 0.36), (0.5, 0.42), (0.6, 0.72), (0.6, 0.95), (0.35, 0.99)],
        pen.body,
    )
    for x in (0.13, 0.57):
        pen.oval(x, 0.86, 0.1, 0.12, pen.shade)
    pen.oval(0.35, 0.58, 0.11, 0.16, pen.light)
    for x in (0.28, 0.42):
        pen.line([(x, 0.72), (x, 0.95)], 0.1, pen.body)
        pen.oval(x, 0.97, 0.07, 0.035, pen.light)
    pen.line([(0.35, 0.74), (0.35, 0.97)], 0.015, pen.dark)
    _cat_head(pen, 0.35, 0.27, 1.15)


@draws("cat", "walking")
def _cat_walking(pen: Pen) -> None:
    pen.curve([(0.16, 0.5), (0.0, 0.38), (0.06, 0.14), (-0.04, 0.02)], 0.075, pen.body, end=0.05)
    _legs(
        pen,
        [(0.26, 0.6), (0.72, 0.6), (0.2, 0.6), (0.8, 0.6)],
        [(0.36, 0.9), (0.66, 0.9), (0.12, 0.92), (0.88, 0.92)],
        0.085,
    )
    pen.blob(
        [(0.12, 0.52), (0.26, 0.42), (0.55, 0.46), (0.82, 0.4), (0.9, 0.54), (0.78, 0.68), (0.5, 0.68), (0.2, 0.68)],
        pen.body,
    )
    for x in (0.3, 0.42, 0.54, 0.66):
        pen.curve([(x, 0.43), (x + 0.02, 0.5), (x + 0.01, 0.57)], 0.04, pen.shade, end=0.01)
    _cat_head(pen, 0.92, 0.34)


@draws("cat", "lying")
def _cat_lying(pen: Pen) -> None:
    pen.blob([(0.08, 0.7), (0.1, 0.48), (0.3, 0.34), (0.6, 0.36), (0.86, 0.5), (0.92, 0.72), (0.5, 0.77)], pen.body)
    for x in (0.28, 0.4, 0.52):
        pen.curve([(x, 0.36), (x + 0.03, 0.45), (x + 0.02, 0.54)], 0.045, pen.shade, end=0.01)
    pen.curve([(0.12, 0.62), (0.1, 0.76), (0.34, 0.77), (0.52, 0.72)], 0.09, pen.shade, end=0.06)
    pen.line([(0.7, 0.73), (0.94, 0.74)], 0.08, pen.light)
    _cat_head(pen, 0.8, 0.44)


@draws("bird", "flying")
def _bird_flying(pen: Pen) -> None:
    pen.blob([(0.5, 0.4), (0.34, 0.26), (0.2, 0.0), (0.44, 0.06), (0.66, 0.22), (0.76, 0.42)], pen.shade)
    pen.polygon([(0.3, 0.5), (0.0, 0.44), (0.04, 0.56), (-0.02, 0.64), (0.3, 0.6)], pen.shade)
    pen.blob([(0.22, 0.54), (0.5, 0.38), (0.84, 0.34), (0.96, 0.42), (0.86, 0.56), (0.56, 0.66)], pen.body)
    pen.disc(0.93, 0.4, 0.1, pen.body)
    pen.polygon([(1.0, 0.36), (1.15, 0.43), (1.0, 0.46)], BEAK)
    pen.disc(0.96, 0.37, 0.022, INK if pen.colour != "black" else CHALK)
    pen.blob([(0.5, 0.46), (0.36, 0.66), (0.28, 0.96), (0.54, 0.86), (0.74, 0.64), (0.76, 0.46)], pen.light)
    pen.line([(0.4, 0.86), (0.6, 0.6)], 0.025, pen.shade)


@draws("bird", "flying")
def _bird_gliding(pen: Pen) -> None:
    for side in (-1, 1):
        pen.blob(
            [
                (0.04 * side, 0.22),
                (0.3 * side, 0.0),
                (0.62 * side, 0.02),
                (0.86 * side, 0.2),
                (0.55 * side, 0.17),
                (0.28 * side, 0.28),
                (0.06 * side, 0.36),
            ],
            pen.body,
        )
        pen.blob([(0.58 * side, 0.05), (0.72 * side, 0.08), (0.86 * side, 0.2), (0.66 * side, 0.16)], pen.dark)
    pen.oval(0.0, 0.3, 0.1, 0.17, pen.light)
    pen.disc(0.0, 0.2, 0.085, pen.body)
    pen.polygon([(-0.04, 0.21), (0.04, 0.21), (0.0, 0.31)], BEAK)
    for x in (-0.045, 0.045):
        pen.disc(x, 0.17, 0.02, INK if pen.colour != "black" else CHALK)


@draws("bird", "standing")
def _bird_standing(pen: Pen) -> None:
    for x in (0.42, 0.52):
        pen.line([(x, 0.74), (x + 0.01, 0.97), (x + 0.1, 0.97)], 0.03, BEAK)
    pen.polygon([(0.24, 0.54), (-0.04, 0.78), (0.1, 0.84), (0.34, 0.7)], pen.dark)
    pen.blob([(0.16, 0.58), (0.34, 0.38), (0.58, 0.3), (0.76, 0.46), (0.7, 0.68), (0.48, 0.8), (0.28, 0.74)], pen.body)
    pen.blob([(0.5, 0.62), (0.7, 0.5), (0.72, 0.64), (0.56, 0.77), (0.42, 0.78)], pen.light)
    pen.blob([(0.1, 0.68), (0.26, 0.48), (0.46, 0.46), (0.5, 0.6), (0.34, 0.7)], pen.shade)
    pen.disc(0.66, 0.24, 0.15, pen.body)
    pen.polygon([(0.79, 0.18), (0.98, 0.26), (0.79, 0.31)], BEAK)
    pen.disc(0.71, 0.2, 0.03, CHALK)
    pen.disc(0.715, 0.2, 0.02, INK)


def _horse(pen: Pen, feet: Points, head: str) -> None:
    mane = pen.dark if pen.colour != "black" else (84, 80, 84)
    pen.blob([(0.14, 0.4), (0.04, 0.46), (-0.02, 0.7), (0.06, 0.76), (0.12, 0.58), (0.2, 0.44)], mane)
    _legs(pen, [(0.3, 0.58), (0.78, 0.58), (0.22, 0.56), (0.86, 0.56)], feet, 0.085, INK)
    pen.blob(
        [
            (0.12, 0.44),
            (0.28, 0.34),
            (0.5, 0.38),
            (0.76, 0.34),
            (0.94, 0.44),
            (0.9, 0.6),
            (0.66, 0.63),
            (0.42, 0.6),
            (0.2, 0.64),
        ],
        pen.body,
    )
    pen.blob([(0.24, 0.57), (0.5, 0.55), (0.86, 0.56), (0.84, 0.62), (0.6, 0.63), (0.3, 0.63)], SHADE)
    if head == "up":
        pen.polygon([(0.7, 0.38), (0.86, 0.24), (0.96, 0.04), (1.1, 0.1), (1.06, 0.26), (0.96, 0.54)], pen.body)
        pen.blob(
            [(0.94, 0.04), (1.06, 0.0), (1.14, 0.08), (1.3, 0.26), (1.28, 0.34), (1.2, 0.34), (1.04, 0.22)], pen.body
        )
        pen.oval(1.26, 0.3, 0.05, 0.045, pen.light)
        pen.polygon([(0.98, 0.04), (0.98, -0.1), (1.07, 0.01)], pen.body)
        pen.blob([(1.0, -0.02), (0.92, 0.04), (0.8, 0.24), (0.68, 0.36), (0.8, 0.36), (0.9, 0.24), (1.0, 0.1)], mane)
        pen.disc(1.1, 0.1, 0.02, INK)
    else:
        pen.polygon([(0.72, 0.36), (0.94, 0.42), (1.14, 0.68), (1.02, 0.78), (0.84, 0.6)], pen.body)
        pen.blob([(1.02, 0.66), (1.14, 0.62), (1.2, 0.72), (1.2, 0.92), (1.12, 0.97), (1.06, 0.9)], pen.body)
        pen.oval(1.15, 0.92, 0.05, 0.05, pen.light)
        pen.polygon([(1.1, 0.66), (1.16, 0.54), (1.18, 0.67)], pen.body)
        pen.blob([(0.7, 0.35), (0.9, 0.38), (1.1, 0.6), (1.08, 0.66), (0.92, 0.5), (0.76, 0.42)], mane)
        pen.disc(1.15, 0.74, 0.02, INK)


STANDING = [(0.33, 0.97), (0.76, 0.97), (0.2, 0.98), (0.87, 0.98)]
draws("horse", "standing")(partial(_horse, feet=STANDING, head="up"))
draws("horse", "grazing")(partial(_horse, feet=STANDING, head="down"))
draws("horse", "running")(partial(_horse, feet=[(0.1, 0.88), (1.1, 0.82), (-0.04, 0.84), (1.04, 0.92)], head="up"))


def _sheep(pen: Pen, x: float, y: float) -> None:
    """A sheep whose head is at (x, y)."""
    face = (48, 44, 48) if pen.colour != "black" else (200, 190, 176)
    for hip in (0.3, 0.72):
        pen.line([(hip, 0.7), (hip, 0.94)], 0.075, mix(face, INK, 0.4))
    for hip in (0.22, 0.64):
        pen.line([(hip, 0.7), (hip, 0.96)], 0.075, face)
    tufts = [
        (0.16, 0.5),
        (0.18, 0.36),
        (0.32, 0.26),
        (0.48, 0.24),
        (0.64, 0.26),
        (0.78, 0.36),
        (0.8, 0.52),
        (0.7, 0.66),
        (0.52, 0.68),
        (0.34, 0.68),
        (0.2, 0.62),
    ]
    for tuft_x, tuft_y in tufts:
        pen.disc(tuft_x, tuft_y, 0.125, pen.body)
    pen.oval(0.48, 0.48, 0.34, 0.24, pen.body)
    for tuft_x, tuft_y in ((0.3, 0.62), (0.48, 0.66), (0.66, 0.62)):
        pen.pie(tuft_x, tuft_y, 0.11, 0.1, 10, 170, pen.shade)
    for tuft_x, tuft_y in ((0.34, 0.42), (0.54, 0.38), (0.46, 0.54)):
        pen.curve([(tuft_x - 0.06, tuft_y), (tuft_x, tuft_y + 0.05), (tuft_x + 0.06, tuft_y)], 0.022, pen.shade)
    pen.oval(x, y, 0.1, 0.15, face, turn=-25)
    pen.oval(x - 0.11, y - 0.06, 0.08, 0.035, face, turn=20)
    pen.disc(x - 0.04, y - 0.13, 0.08, pen.body)
    pen.disc(x + 0.02, y - 0.03, 0.022, CHALK if pen.colour != "black" else INK)


draws("sheep", "standing")(partial(_sheep, x=0.94, y=0.36))
draws("sheep", "grazing")(partial(_sheep, x=0.94, y=0.76))


def _duck(pen: Pen, afloat: bool) -> None:
    if not afloat:
        for x in (0.4, 0.52):
            pen.line([(x, 0.82), (x, 0.96), (x + 0.1, 0.97)], 0.045, BEAK)
    pen.blob(
        [(-0.02, 0.48), (0.18, 0.56), (0.5, 0.52), (0.72, 0.5), (0.84, 0.64), (0.74, 0.84), (0.4, 0.9), (0.12, 0.78)],
        pen.body,
    )
    pen.blob([(0.14, 0.66), (0.34, 0.56), (0.6, 0.62), (0.5, 0.78), (0.3, 0.78)], pen.shade)
    pen.polygon([(0.56, 0.6), (0.6, 0.3), (0.82, 0.3), (0.82, 0.64)], pen.body)
    if pen.colour == "brown":
        pen.line([(0.6, 0.44), (0.81, 0.44)], 0.05, CHALK)
    pen.disc(0.72, 0.22, 0.16, pen.body if pen.colour != "brown" else (40, 104, 72))
    pen.blob([(0.84, 0.19), (1.0, 0.23), (1.05, 0.28), (0.98, 0.32), (0.84, 0.3)], BEAK)
    pen.disc(0.77, 0.18, 0.028, INK)
    if afloat:
        pen.oval(0.42, 0.9, 0.52, 0.05, (210, 232, 244))


draws("duck", "swimming")(partial(_duck, afloat=True))
draws("duck", "standing")(partial(_duck, afloat=False))


@draws("fish")
def _fish(pen: Pen) -> None:
    pen.polygon([(0.24, 0.42), (-0.06, 0.12), (0.04, 0.42), (-0.06, 0.72)], pen.shade)
    pen.blob([(0.4, 0.22), (0.56, 0.02), (0.78, 0.06), (0.84, 0.24)], pen.shade)
    pen.blob([(0.5, 0.6), (0.54, 0.82), (0.68, 0.78), (0.72, 0.6)], pen.shade)
    pen.blob(
        [(0.16, 0.42), (0.4, 0.2), (0.75, 0.14), (1.06, 0.3), (1.14, 0.42), (1.04, 0.54), (0.75, 0.7), (0.4, 0.64)],
        pen.body,
    )
    pen.blob([(0.3, 0.5), (0.6, 0.56), (1.06, 0.5), (0.75, 0.69), (0.42, 0.64)], pen.light)
    pen.curve([(0.88, 0.22), (0.82, 0.42), (0.88, 0.62)], 0.03, pen.dark)
    for x in (0.4, 0.54, 0.68):
        pen.curve([(x, 0.32), (x - 0.05, 0.42), (x, 0.52)], 0.022, pen.shade)
    pen.disc(0.99, 0.34, 0.055, CHALK)
    pen.disc(1.0, 0.34, 0.03, INK)


@draws("fish")
def _fish_slim(pen: Pen) -> None:
    pen.polygon([(0.12, 0.3), (-0.16, 0.06), (-0.1, 0.3), (-0.16, 0.54)], pen.dark)
    pen.polygon([(0.44, 0.16), (0.56, 0.0), (0.76, 0.16)], pen.dark)
    pen.blob([(0.06, 0.3), (0.4, 0.13), (0.8, 0.13), (1.12, 0.32), (0.8, 0.47), (0.4, 0.46)], pen.body)
    for x in (0.36, 0.54, 0.72):
        pen.curve([(x, 0.14), (x + 0.03, 0.3), (x, 0.45)], 0.06, CHALK if pen.colour != "white" else pen.shade)
    pen.blob([(0.66, 0.34), (0.54, 0.42), (0.56, 0.5), (0.7, 0.44)], pen.dark)
    pen.disc(0.95, 0.26, 0.05, CHALK)
    pen.disc(0.955, 0.26, 0.028, INK)


def _leaves(pen: Pen, tufts: list[tuple[float, float, float]]) -> None:
    """Round tufts, each with a lit side."""
    for x, y, radius in tufts:
        pen.disc(x, y, radius, pen.shade)
    for x, y, radius in tufts:
        pen.disc(x - 0.02, y - 0.03, radius * 0.86, pen.body)
    for x, y, radius in tufts:
        pen.disc(x - 0.3 * radius, y - 0.36 * radius, radius * 0.42, pen.light)


@draws("tree")
def _tree_broad(pen: Pen) -> None:
    pen.polygon([(-0.05, 0.5), (0.05, 0.5), (0.06, 0.9), (0.1, 1.0), (-0.1, 1.0), (-0.06, 0.9)], BARK)
    pen.polygon([(0.01, 0.5), (0.05, 0.5), (0.06, 0.9), (0.1, 1.0), (0.02, 1.0)], SHADE)
    _leaves(
        pen,
        [
            (-0.22, 0.44, 0.17),
            (0.22, 0.44, 0.17),
            (-0.26, 0.28, 0.15),
            (0.26, 0.27, 0.15),
            (0.0, 0.46, 0.18),
            (-0.12, 0.16, 0.16),
            (0.13, 0.15, 0.16),
            (0.0, 0.28, 0.2),
        ],
    )


@draws("tree")
def _tree_conifer(pen: Pen) -> None:
    pen.rect(-0.045, 0.8, 0.09, 0.2, BARK)
    for top, bottom, half in ((0.42, 0.86, 0.32), (0.22, 0.62, 0.25), (0.0, 0.38, 0.17)):
        pen.polygon([(0.0, top), (half, bottom), (0.0, bottom - 0.04), (-half, bottom)], pen.body)
        pen.polygon([(0.0, top), (half, bottom), (0.0, bottom - 0.04)], pen.shade)
        pen.polygon([(-0.1 * half, top + 0.1), (-0.6 * half, bottom - 0.06), (-0.3 * half, bottom - 0.06)], pen.light)


@draws("tree")
def _tree_slim(pen: Pen) -> None:
    pen.curve([(0.0, 1.0), (0.01, 0.7), (0.0, 0.3)], 0.09, BARK, end=0.03)
    pen.line([(0.0, 0.66), (0.1, 0.5)], 0.03, BARK)
    _leaves(pen, [(0.0, 0.52, 0.15), (-0.12, 0.4, 0.13), (0.13, 0.38, 0.14), (0.0, 0.26, 0.16), (-0.03, 0.13, 0.13)])


@draws("flower")
def _flower(pen: Pen) -> None:
    pen.curve([(0.0, 0.36), (0.02, 0.7), (0.0, 1.0)], 0.06, LEAF)
    pen.blob([(0.01, 0.86), (0.12, 0.68), (0.3, 0.62), (0.22, 0.8)], LEAF)
    pen.blob([(0.0, 0.92), (-0.12, 0.76), (-0.28, 0.72), (-0.2, 0.88)], mix(LEAF, INK, 0.2))
    for turn in range(0, 360, 60):
        petal = around(0.0, 0.27, 0.17, turn)
        pen.oval(*petal, 0.14, 0.105, pen.body if turn % 120 else pen.light, turn=turn)
    pen.disc(0.0, 0.27, 0.1, (246, 200, 60) if pen.colour != "yellow" else (120, 74, 34))


@draws("flower")
def _tulip(pen: Pen) -> None:
    pen.curve([(0.0, 0.4), (-0.02, 0.7), (0.0, 1.0)], 0.055, LEAF)
    pen.blob([(0.0, 0.98), (0.1, 0.66), (0.24, 0.44), (0.2, 0.72)], LEAF)
    pen.blob([(0.0, 0.98), (-0.1, 0.72), (-0.22, 0.54), (-0.18, 0.8)], mix(LEAF, INK, 0.2))
    pen.blob(
        [(-0.18, 0.02), (-0.2, 0.28), (0.0, 0.44), (0.2, 0.28), (0.18, 0.02), (0.09, 0.12), (0.0, 0.0), (-0.09, 0.12)],
        pen.body,
    )
    pen.blob([(0.0, 0.02), (0.1, 0.2), (0.0, 0.42), (-0.1, 0.2)], pen.light)


def around(x: float, y: float, rx: float, degrees: float, ry: float | None = None) -> tuple[float, float]:
    """Point on a circle or ellipse, clockwise from the right."""
    angle = np.radians(degrees)
    return float(x + rx * np.cos(angle)), float(y + (rx if ry is None else ry) * np.sin(angle))
