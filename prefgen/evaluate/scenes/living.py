"""Drawings of people, animals and plants. All look to the right.

The unit is a hundredth of the usual height, x to the right and y down; points are written as in SVG.
"""

from functools import partial

from prefgen.evaluate.scenes.pen import CHALK, INK, LEAF, RGB, SHADE, Pen, Points, around, array, draws, mix

SKIN: tuple[RGB, ...] = ((244, 200, 164), (198, 142, 100), (122, 80, 56))
HAIR: tuple[RGB, ...] = ((92, 58, 34), (34, 28, 28), (214, 168, 82), (150, 70, 34))
TROUSERS: tuple[RGB, ...] = ((52, 62, 96), (92, 84, 76), (60, 60, 66))
BEAK, BARK = (240, 150, 40), (112, 78, 50)


def _person(pen: Pen, pose: str, look: int) -> None:
    """A person of one of several looks: hair, skin, trousers or a skirt."""
    skin, hair, cloth = SKIN[look % 3], HAIR[look % 4], TROUSERS[look % 3]
    skirt, long_hair = look % 2 == 1, look in (1, 3)
    if pose == "sitting":
        pen.line("0,60 24,60 26,92", 12, mix(cloth, INK, 0.3))
        pen.line("0,62 28,62 30,94", 13, cloth)
        pen.line("31,97 38,97", 7, INK)
    else:
        stride = {"walking": 15}.get(pose, 6)
        knee = 4 if pose == "walking" else 0
        pen.line([(-3, 56), (-stride / 2 - knee / 2, 76), (-stride - knee, 95)], 10, mix(cloth, INK, 0.3))
        pen.line([(3, 56), (stride / 2 + knee, 76), (stride, 95)], 11, cloth)
        for x in (-stride - knee, stride):
            pen.line([(x, 97), (x + 6, 97)], 6, INK)
    far, near = {
        "walking": ("5,27 13,42 20,50", "-6,27 -14,42 -17,54"),
        "waving": ("-9,27 -15,42 -14,56", "9,27 22,20 25,3"),
        "holding": ("-9,27 -15,42 -12,56", "8,28 15,42 28,36"),
        "sitting": ("4,28 13,44 22,55", "-4,28 4,46 20,56"),
        "standing": ("-10,27 -15,42 -14,56", "10,27 15,42 14,56"),
    }[pose]
    behind = pose in ("walking", "sitting")
    arms = ((far, pen.shade), (near, pen.light if behind else pen.body))

    def arm(points: str, colour: RGB) -> None:
        shoulder, elbow, hand = points.split()
        pen.line(f"{shoulder} {elbow}", 8.5, colour)
        pen.line(f"{elbow} {hand}", 7, colour)
        x, y = array(hand)[0]
        pen.disc(x, y, 4.2, skin)

    arm(*arms[0])
    if long_hair:
        pen.blob("-10,6 0,-2 10,8 9,26 -11,27", hair)
    if skirt and pose != "sitting":
        pen.blob("-10,25 0,22 10,25 11,45 19,72 0,75 -19,72 -11,45", pen.body)
        pen.polygon("3,45 19,72 5,74", SHADE)
    else:
        pen.blob("-10,23 0,21.5 10,23 12.5,35 10.5,58 0,61 -10.5,58 -12.5,35", pen.body)
        pen.polygon("4,26 11,30 10,57 3,60", SHADE)
    pen.line("0,20 0,23", 7, mix(skin, INK, 0.15))
    pen.oval(0, 11, 8.5, 10, skin)
    pen.pie(0, 9, 9.7, 10, 176, 364, hair)
    if long_hair:
        pen.blob("-10,8 -6,2 -6,16 -10,24", hair)
    if look == 2:
        pen.pie(0, 6, 10.5, 9, 180, 360, pen.dark)
        pen.line("-2,6 16,6.5", 2.5, pen.dark)
    for eye in (-3, 4.5):
        pen.disc(eye, 11.5, 1.3, INK)
    arm(*arms[1])


for _pose in ("standing", "walking", "waving", "sitting", "holding"):
    for _look in range(4):
        draws("person", _pose)(partial(_person, pose=_pose, look=_look))


def _legs(pen: Pen, hips: Points, feet: Points, width: float, paw: RGB | None = None) -> None:
    """Four legs, the two far ones first and darker."""
    for number, ((hip_x, hip_y), (foot_x, foot_y)) in enumerate(zip(array(hips), array(feet), strict=True)):
        colour = pen.shade if number < 2 else pen.body
        knee = ((hip_x + foot_x) / 2 + 1.5, (hip_y + foot_y) / 2)
        pen.curve([(hip_x, hip_y), knee, (foot_x, foot_y)], width * 1.35, colour, end=width * 0.8)
        pen.oval(foot_x + 2, foot_y, width * 0.62, width * 0.4, paw or colour)


def _dog_head(pen: Pen, x: float, y: float, ears: str) -> None:
    if ears == "pricked":
        pen.polygon([(x + 1, y - 9), (x + 3, y - 27), (x + 11, y - 10)], pen.shade)
    pen.disc(x, y, 15, pen.body)
    pen.oval(x + 15, y + 5, 12, 7.5, pen.light)
    pen.oval(x + 25.5, y + 2, 3.5, 3, INK)
    pen.line([(x + 13, y + 10), (x + 20, y + 10)], 1.5, pen.dark)
    pen.disc(x + 6.5, y - 4, 2.4, INK)
    if ears == "pricked":
        pen.polygon([(x - 12, y - 7), (x - 9, y - 27), (x + 1, y - 12)], pen.body)
        pen.polygon([(x - 9, y - 10), (x - 8, y - 21), (x - 3, y - 12)], pen.dark)
    else:
        pen.blob([(x - 7, y - 14), (x - 1, y - 10), (x - 3, y + 8), (x - 10, y + 14), (x - 16, y + 4)], pen.dark)


def _dog_standing(pen: Pen, ears: str) -> None:
    pen.curve("17,47 5,34 3,14", 8, pen.body, end=3)
    _legs(pen, "30,60 80,58 22,60 88,58", "33,97 78,97 20,98 89,98", 10)
    pen.blob("14,50 30,40 60,42 85,32 98,50 86,70 60,66 35,67 17,68", pen.body)
    pen.blob("30,62 60,60 88,60 84,70 60,67 35,68", SHADE)
    pen.polygon("80,40 90,20 106,30 98,52", pen.body)
    _dog_head(pen, 100, 22, ears)
    pen.line("86,35 103,41", 5, (190, 40, 40))


def _dog_running(pen: Pen, ears: str) -> None:
    pen.curve("17,47 2,40 -12,28", 8, pen.body, end=3)
    _legs(pen, "26,60 85,55 22,58 90,55", "6,86 112,80 -6,76 120,70", 10)
    pen.blob("14,50 30,42 60,45 85,36 98,50 86,68 60,62 35,65 17,66", pen.body)
    pen.polygon("80,42 92,24 108,34 98,54", pen.body)
    _dog_head(pen, 104, 26, ears)
    pen.line("88,38 106,45", 5, (190, 40, 40))


def _dog_sitting(pen: Pen, ears: str) -> None:
    pen.curve("12,92 -6,90 -14,74", 8, pen.shade, end=3)
    pen.blob("8,90 14,62 34,40 52,38 58,60 54,95 30,98", pen.body)
    pen.blob("8,86 20,70 36,76 38,95 20,99 8,96", pen.shade)
    pen.line("50,60 52,95", 10, pen.body)
    pen.oval(55, 97, 7.5, 4, pen.body)
    pen.polygon("36,46 40,20 58,26 58,50", pen.body)
    _dog_head(pen, 50, 20, ears)
    pen.line("37,35 58,38", 5, (190, 40, 40))


def _dog_lying(pen: Pen, ears: str) -> None:
    pen.curve("10,62 -8,62 -16,50", 8, pen.shade, end=3)
    pen.blob("6,66 10,42 30,32 70,32 90,30 98,50 90,68 40,70", pen.body)
    pen.blob("8,66 14,46 32,46 40,66 20,71", pen.shade)
    pen.line("86,64 118,66", 9, pen.body)
    pen.line("30,67 48,67", 8, pen.shade)
    _dog_head(pen, 100, 28, ears)
    pen.line("87,40 104,46", 5, (190, 40, 40))


for _ears in ("hanging", "pricked"):
    draws("dog", "standing")(partial(_dog_standing, ears=_ears))
    draws("dog", "running")(partial(_dog_running, ears=_ears))
    draws("dog", "sitting")(partial(_dog_sitting, ears=_ears))
    draws("dog", "lying")(partial(_dog_lying, ears=_ears))


def _cat_head(pen: Pen, x: float, y: float, size: float = 1.0) -> None:
    r = 17 * size
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
    pen.curve("50,92 78,92 82,70 74,56", 9, pen.shade, end=6)
    pen.blob("10,95 10,72 20,42 35,36 50,42 60,72 60,95 35,99", pen.body)
    for x in (13, 57):
        pen.oval(x, 86, 10, 12, pen.shade)
    pen.oval(35, 58, 11, 16, pen.light)
    for x in (28, 42):
        pen.line([(x, 72), (x, 95)], 10, pen.body)
        pen.oval(x, 97, 7, 3.5, pen.light)
    pen.line("35,74 35,97", 1.5, pen.dark)
    _cat_head(pen, 35, 27, 1.15)


@draws("cat", "walking")
def _cat_walking(pen: Pen) -> None:
    pen.curve("16,50 0,38 6,14 -4,2", 7.5, pen.body, end=5)
    _legs(pen, "26,60 72,60 20,60 80,60", "36,90 66,90 12,92 88,92", 8.5)
    pen.blob("12,52 26,42 55,46 82,40 90,54 78,68 50,68 20,68", pen.body)
    for x in (30, 42, 54, 66):
        pen.curve([(x, 43), (x + 2, 50), (x + 1, 57)], 4, pen.shade, end=1)
    _cat_head(pen, 92, 34)


@draws("cat", "lying")
def _cat_lying(pen: Pen) -> None:
    pen.blob("8,70 10,48 30,34 60,36 86,50 92,72 50,77", pen.body)
    for x in (28, 40, 52):
        pen.curve([(x, 36), (x + 3, 45), (x + 2, 54)], 4.5, pen.shade, end=1)
    pen.curve("12,62 10,76 34,77 52,72", 9, pen.shade, end=6)
    pen.line("70,73 94,74", 8, pen.light)
    _cat_head(pen, 80, 44)


@draws("bird", "flying")
def _bird_flying(pen: Pen) -> None:
    pen.blob("50,40 34,26 20,0 44,6 66,22 76,42", pen.shade)
    pen.polygon("30,50 0,44 4,56 -2,64 30,60", pen.shade)
    pen.blob("22,54 50,38 84,34 96,42 86,56 56,66", pen.body)
    pen.disc(93, 40, 10, pen.body)
    pen.polygon("100,36 115,43 100,46", BEAK)
    pen.disc(96, 37, 2.2, INK if pen.colour != "black" else CHALK)
    pen.blob("50,46 36,66 28,96 54,86 74,64 76,46", pen.light)
    pen.line("40,86 60,60", 2.5, pen.shade)


@draws("bird", "flying")
def _bird_gliding(pen: Pen) -> None:
    for side in (-1, 1):
        pen.blob(
            [
                (4 * side, 22),
                (30 * side, 0),
                (62 * side, 2),
                (86 * side, 20),
                (55 * side, 17),
                (28 * side, 28),
                (6 * side, 36),
            ],
            pen.body,
        )
        pen.blob([(58 * side, 5), (72 * side, 8), (86 * side, 20), (66 * side, 16)], pen.dark)
    pen.oval(0, 30, 10, 17, pen.light)
    pen.disc(0, 20, 8.5, pen.body)
    pen.polygon("-4,21 4,21 0,31", BEAK)
    for x in (-4.5, 4.5):
        pen.disc(x, 17, 2, INK if pen.colour != "black" else CHALK)


@draws("bird", "standing")
def _bird_standing(pen: Pen) -> None:
    for x in (42, 52):
        pen.line([(x, 74), (x + 1, 97), (x + 10, 97)], 3, BEAK)
    pen.polygon("24,54 -4,78 10,84 34,70", pen.dark)
    pen.blob("16,58 34,38 58,30 76,46 70,68 48,80 28,74", pen.body)
    pen.blob("50,62 70,50 72,64 56,77 42,78", pen.light)
    pen.blob("10,68 26,48 46,46 50,60 34,70", pen.shade)
    pen.disc(66, 24, 15, pen.body)
    pen.polygon("79,18 98,26 79,31", BEAK)
    pen.disc(71, 20, 3, CHALK)
    pen.disc(71.5, 20, 2, INK)


def _horse(pen: Pen, feet: Points, head: str) -> None:
    mane = pen.dark if pen.colour != "black" else (84, 80, 84)
    pen.blob("14,40 4,46 -2,70 6,76 12,58 20,44", mane)
    _legs(pen, "30,58 78,58 22,56 86,56", feet, 8.5, INK)
    pen.blob("12,44 28,34 50,38 76,34 94,44 90,60 66,63 42,60 20,64", pen.body)
    pen.blob("24,57 50,55 86,56 84,62 60,63 30,63", SHADE)
    if head == "up":
        pen.polygon("70,38 86,24 96,4 110,10 106,26 96,54", pen.body)
        pen.blob("94,4 106,0 114,8 130,26 128,34 120,34 104,22", pen.body)
        pen.oval(126, 30, 5, 4.5, pen.light)
        pen.polygon("98,4 98,-10 107,1", pen.body)
        pen.blob("100,-2 92,4 80,24 68,36 80,36 90,24 100,10", mane)
        pen.disc(110, 10, 2, INK)
    else:
        pen.polygon("72,36 94,42 114,68 102,78 84,60", pen.body)
        pen.blob("102,66 114,62 120,72 120,92 112,97 106,90", pen.body)
        pen.oval(115, 92, 5, 5, pen.light)
        pen.polygon("110,66 116,54 118,67", pen.body)
        pen.blob("70,35 90,38 110,60 108,66 92,50 76,42", mane)
        pen.disc(115, 74, 2, INK)


STANDING = "33,97 76,97 20,98 87,98"
draws("horse", "standing")(partial(_horse, feet=STANDING, head="up"))
draws("horse", "grazing")(partial(_horse, feet=STANDING, head="down"))
draws("horse", "running")(partial(_horse, feet="10,88 110,82 -4,84 104,92", head="up"))


def _sheep(pen: Pen, x: float, y: float) -> None:
    """A sheep whose head is at (x, y)."""
    face = (48, 44, 48) if pen.colour != "black" else (200, 190, 176)
    for hip in (30, 72):
        pen.line([(hip, 70), (hip, 94)], 7.5, mix(face, INK, 0.4))
    for hip in (22, 64):
        pen.line([(hip, 70), (hip, 96)], 7.5, face)
    tufts = "16,50 18,36 32,26 48,24 64,26 78,36 80,52 70,66 52,68 34,68 20,62"
    for tuft in array(tufts):
        pen.disc(tuft[0], tuft[1], 12.5, pen.body)
    pen.oval(48, 48, 34, 24, pen.body)
    for tuft_x, tuft_y in ((30, 62), (48, 66), (66, 62)):
        pen.pie(tuft_x, tuft_y, 11, 10, 10, 170, pen.shade)
    for tuft_x, tuft_y in ((34, 42), (54, 38), (46, 54)):
        pen.curve([(tuft_x - 6, tuft_y), (tuft_x, tuft_y + 5), (tuft_x + 6, tuft_y)], 2.2, pen.shade)
    pen.oval(x, y, 10, 15, face, turn=-25)
    pen.oval(x - 11, y - 6, 8, 3.5, face, turn=20)
    pen.disc(x - 4, y - 13, 8, pen.body)
    pen.disc(x + 2, y - 3, 2.2, CHALK if pen.colour != "black" else INK)


draws("sheep", "standing")(partial(_sheep, x=94, y=36))
draws("sheep", "grazing")(partial(_sheep, x=94, y=76))


def _duck(pen: Pen, afloat: bool) -> None:
    if not afloat:
        for x in (40, 52):
            pen.line([(x, 82), (x, 96), (x + 10, 97)], 4.5, BEAK)
    pen.blob("-2,48 18,56 50,52 72,50 84,64 74,84 40,90 12,78", pen.body)
    pen.blob("14,66 34,56 60,62 50,78 30,78", pen.shade)
    pen.polygon("56,60 60,30 82,30 82,64", pen.body)
    if pen.colour == "brown":
        pen.line("60,44 81,44", 5, CHALK)
    pen.disc(72, 22, 16, pen.body if pen.colour != "brown" else (40, 104, 72))
    pen.blob("84,19 100,23 105,28 98,32 84,30", BEAK)
    pen.disc(77, 18, 2.8, INK)
    if afloat:
        pen.oval(42, 90, 52, 5, (210, 232, 244))


draws("duck", "swimming")(partial(_duck, afloat=True))
draws("duck", "standing")(partial(_duck, afloat=False))


@draws("fish")
def _fish(pen: Pen) -> None:
    pen.polygon("24,42 -6,12 4,42 -6,72", pen.shade)
    pen.blob("40,22 56,2 78,6 84,24", pen.shade)
    pen.blob("50,60 54,82 68,78 72,60", pen.shade)
    pen.blob("16,42 40,20 75,14 106,30 114,42 104,54 75,70 40,64", pen.body)
    pen.blob("30,50 60,56 106,50 75,69 42,64", pen.light)
    pen.curve("88,22 82,42 88,62", 3, pen.dark)
    for x in (40, 54, 68):
        pen.curve([(x, 32), (x - 5, 42), (x, 52)], 2.2, pen.shade)
    pen.disc(99, 34, 5.5, CHALK)
    pen.disc(100, 34, 3, INK)


@draws("fish")
def _fish_slim(pen: Pen) -> None:
    pen.polygon("12,30 -16,6 -10,30 -16,54", pen.dark)
    pen.polygon("44,16 56,0 76,16", pen.dark)
    pen.blob("6,30 40,13 80,13 112,32 80,47 40,46", pen.body)
    for x in (36, 54, 72):
        pen.curve([(x, 14), (x + 3, 30), (x, 45)], 6, CHALK if pen.colour != "white" else pen.shade)
    pen.blob("66,34 54,42 56,50 70,44", pen.dark)
    pen.disc(95, 26, 5, CHALK)
    pen.disc(95.5, 26, 2.8, INK)


def _leaves(pen: Pen, tufts: list[tuple[float, float, float]]) -> None:
    """Round tufts, each with a lit side."""
    for x, y, radius in tufts:
        pen.disc(x, y, radius, pen.shade)
    for x, y, radius in tufts:
        pen.disc(x - 2, y - 3, radius * 0.86, pen.body)
    for x, y, radius in tufts:
        pen.disc(x - 0.3 * radius, y - 0.36 * radius, radius * 0.42, pen.light)


@draws("tree")
def _tree_broad(pen: Pen) -> None:
    pen.polygon("-5,50 5,50 6,90 10,100 -10,100 -6,90", BARK)
    pen.polygon("1,50 5,50 6,90 10,100 2,100", SHADE)
    _leaves(
        pen,
        [
            (-22, 44, 17),
            (22, 44, 17),
            (-26, 28, 15),
            (26, 27, 15),
            (0, 46, 18),
            (-12, 16, 16),
            (13, 15, 16),
            (0, 28, 20),
        ],
    )


@draws("tree")
def _tree_conifer(pen: Pen) -> None:
    pen.rect(-4.5, 80, 9, 20, BARK)
    for top, bottom, half in ((42, 86, 32), (22, 62, 25), (0, 38, 17)):
        pen.polygon([(0, top), (half, bottom), (0, bottom - 4), (-half, bottom)], pen.body)
        pen.polygon([(0, top), (half, bottom), (0, bottom - 4)], pen.shade)
        pen.polygon([(-0.1 * half, top + 10), (-0.6 * half, bottom - 6), (-0.3 * half, bottom - 6)], pen.light)


@draws("tree")
def _tree_slim(pen: Pen) -> None:
    pen.curve("0,100 1,70 0,30", 9, BARK, end=3)
    pen.line("0,66 10,50", 3, BARK)
    _leaves(pen, [(0, 52, 15), (-12, 40, 13), (13, 38, 14), (0, 26, 16), (-3, 13, 13)])


@draws("flower")
def _flower(pen: Pen) -> None:
    pen.curve("0,36 2,70 0,100", 6, LEAF)
    pen.blob("1,86 12,68 30,62 22,80", LEAF)
    pen.blob("0,92 -12,76 -28,72 -20,88", mix(LEAF, INK, 0.2))
    for turn in range(0, 360, 60):
        petal = around(0, 27, 17, turn)
        pen.oval(*petal, 14, 10.5, pen.body if turn % 120 else pen.light, turn=turn)
    pen.disc(0, 27, 10, (246, 200, 60) if pen.colour != "yellow" else (120, 74, 34))


@draws("flower")
def _tulip(pen: Pen) -> None:
    pen.curve("0,40 -2,70 0,100", 5.5, LEAF)
    pen.blob("0,98 10,66 24,44 20,72", LEAF)
    pen.blob("0,98 -10,72 -22,54 -18,80", mix(LEAF, INK, 0.2))
    pen.blob("-18,2 -20,28 0,44 20,28 18,2 9,12 0,0 -9,12", pen.body)
    pen.blob("0,2 10,20 0,42 -10,20", pen.light)
