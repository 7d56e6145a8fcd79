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
    pen.polygon("50,40 72,4 142,4 172,40", pen.body)
    pen.polygon("60,38 77,11 104,11 104,38", GLASS)
    pen.polygon("112,38 112,11 138,11 160,38", GLASS)
    pen.polygon("66,38 83,11 90,11 74,38", GLEAM)
    pen.blob("4,50 20,38 60,36 170,36 210,46 220,62 212,80 10,80", pen.body)
    pen.rect(8, 64, 208, 14, pen.shade, 5)
    pen.line("30,44 170,43", 3, pen.light)
    pen.line("110,42 110,74", 2, pen.dark)
    pen.line("120,50 130,50", 3, pen.dark)
    pen.oval(212, 53, 6, 8, HEADLIGHT)
    pen.oval(8, 54, 5, 8, (210, 40, 40))
    for x in (50, 170):
        _wheel(pen, x, 78, 22)


@draws("car")
def _car_small(pen: Pen) -> None:
    pen.blob("6,62 14,40 34,8 80,2 114,10 136,42 162,50 170,74 156,86 12,86", pen.body)
    pen.polygon("34,40 46,14 74,11 74,40", GLASS)
    pen.polygon("82,40 82,11 106,16 124,40", GLASS)
    pen.polygon("42,38 52,14 60,13 52,38", GLEAM)
    pen.rect(10, 68, 156, 16, pen.shade, 6)
    pen.line("78,44 78,80", 2, pen.dark)
    pen.disc(160, 58, 7, HEADLIGHT)
    for x in (42, 130):
        _wheel(pen, x, 82, 20)


@draws("bus")
def _bus(pen: Pen) -> None:
    pen.rect(0, 0, 220, 90, pen.body, 10)
    pen.rect(2, 2, 216, 7, pen.light, 3)
    pen.rect(0, 66, 220, 20, pen.shade, 6)
    for x in (10, 46, 82, 118):
        pen.rect(x, 17, 30, 30, GLASS, 4)
        pen.polygon([(x + 5, 45), (x + 14, 19), (x + 20, 19), (x + 11, 45)], GLEAM)
    pen.rect(156, 17, 26, 66, mix(GLASS, INK, 0.12), 3)
    pen.line("169,18 169,82", 2, INK)
    pen.rect(190, 16, 27, 34, GLASS, 4)
    pen.oval(215, 68, 4, 7, HEADLIGHT)
    for x in (46, 176):
        _wheel(pen, x, 88, 17)


@draws("bus")
def _double_decker(pen: Pen) -> None:
    pen.rect(0, 0, 150, 100, pen.body, 9)
    pen.rect(0, 48, 150, 7, pen.light)
    pen.rect(0, 84, 150, 14, pen.shade, 5)
    for x in (8, 36, 64, 92, 120):
        pen.rect(x, 14, 23, 24, GLASS, 3)
    for x in (8, 36, 64, 120):
        pen.rect(x, 58, 23, 22, GLASS, 3)
    pen.rect(92, 58, 22, 38, mix(GLASS, INK, 0.12), 3)
    pen.oval(147, 86, 3, 6, HEADLIGHT)
    for x in (32, 120):
        _wheel(pen, x, 98, 13)


@draws("bicycle")
def _bicycle(pen: Pen) -> None:
    for x in (26, 120):
        for turn in range(0, 360, 18):
            start, stop = living.around(x, 66, 28, turn), living.around(x, 66, 28, turn + 18)
            pen.line([start, stop], 5.5, RUBBER)
        pen.line([(x - 26, 66), (x + 26, 66)], 1.2, STEEL)
        pen.line([(x, 40), (x, 92)], 1.2, STEEL)
        pen.disc(x, 66, 4, RUBBER)
    pen.line("26,66 50,26 106,26 68,66 26,66", 6, pen.body)
    pen.line("46,16 68,66", 6, pen.body)
    pen.line("120,66 104,10", 6, pen.body)
    pen.line("104,10 102,4 118,4", 5, RUBBER)
    pen.oval(45, 13, 14, 4.5, RUBBER)
    pen.disc(68, 66, 7, RUBBER)
    pen.line("68,66 76,80", 3, RUBBER)


@draws("boat", "sailing")
def _sailing_boat(pen: Pen) -> None:
    pen.rect(50, 0, 3.5, 76, WOOD)
    pen.polygon("56,2 56,64 104,64", CHALK)
    pen.polygon("62,40 56,64 104,64 84,40", (226, 226, 226))
    pen.polygon("48,10 48,64 14,64", pen.light)
    pen.polygon("0,72 114,70 96,98 18,98", pen.body)
    pen.polygon("10,88 103,87 96,98 18,98", pen.shade)
    pen.line("3,73 110,71", 3.5, pen.light)


@draws("boat", "sailing")
def _boat_one_sail(pen: Pen) -> None:
    pen.rect(40, 0, 3.5, 80, WOOD)
    pen.polygon("45,2 66,20 78,45 80,68 45,68", CHALK)
    pen.polygon("45,44 78,44 80,54 45,54", pen.body)
    pen.polygon("44,0 44,8 26,4", (210, 50, 50))
    pen.blob("0,76 50,80 98,74 84,98 50,100 14,98", pen.body)
    pen.blob("10,90 50,90 90,88 82,98 50,100 16,98", pen.shade)


@draws("boat", "floating")
def _motor_boat(pen: Pen) -> None:
    pen.polygon("34,48 42,14 86,14 100,48", CHALK)
    pen.rect(36, 6, 56, 8, pen.shade, 3)
    pen.rect(48, 22, 16, 18, GLASS)
    pen.rect(70, 22, 18, 18, GLASS)
    pen.line("50,6 50,-12", 2.5, INK)
    pen.blob("2,48 60,48 120,46 152,36 130,76 110,84 14,84", pen.body)
    pen.blob("8,70 60,70 134,66 116,83 14,84", pen.shade)
    pen.line("8,53 124,50", 4, pen.light)


@draws("boat", "floating")
def _rowing_boat(pen: Pen) -> None:
    pen.oval(70, 30, 66, 10, WOOD)
    pen.rect(45, 24, 8, 12, mix(WOOD, CHALK, 0.4))
    pen.rect(85, 24, 8, 12, mix(WOOD, CHALK, 0.4))
    pen.blob("-2,18 16,32 70,37 124,32 142,18 130,50 110,64 30,64 10,50", pen.body)
    pen.blob("10,46 70,54 130,46 110,64 30,64", pen.shade)
    pen.line("72,30 36,72", 4, mix(WOOD, CHALK, 0.5))


@draws("airplane")
def _airplane(pen: Pen) -> None:
    pen.polygon("70,34 50,4 62,4 102,34", pen.shade)
    pen.polygon("6,36 0,6 14,6 32,34", pen.body)
    pen.blob("4,38 30,30 120,26 146,32 154,42 140,50 90,53 30,50", CHALK)
    pen.blob("6,42 60,45 150,43 140,50 90,53 30,50", pen.body)
    pen.polygon("62,44 90,44 56,80 44,80", pen.shade)
    pen.polygon("14,42 28,42 10,56 2,56", pen.shade)
    for x in (40, 52, 64, 76, 88, 100, 112):
        pen.disc(x, 37, 2.8, (80, 120, 160))
    pen.polygon("130,33 142,33 147,38 132,38", (70, 100, 140))


@draws("bench")
def _bench(pen: Pen) -> None:
    for x in (14, 126):
        pen.line([(x, 14), (x, 94)], 7, RUBBER)
        pen.line([(x, 60), (x + 4, 96)], 6, RUBBER)
        pen.line([(x - 3, 42), (x + 10, 42)], 5, RUBBER)
    for y in (6, 22):
        pen.rect(0, y, 142, 12, pen.body, 3)
        pen.rect(2, y + 8, 138, 4, pen.shade)
    pen.polygon("6,54 136,54 144,64 -2,64", pen.light)
    pen.rect(-2, 63, 146, 8, pen.body)
    pen.rect(-2, 68, 146, 4, pen.shade)


@draws("umbrella")
def _umbrella(pen: Pen) -> None:
    pen.line("50,2 50,90", 3.5, STEEL)
    pen.curve("50,84 50,94 56,98 62,93", 5, WOOD)
    pen.polygon([*_dome(50, 48, 50, 42), (84, 44), (67, 48), (50, 44), (33, 48), (16, 44)], pen.body)
    pen.polygon("50,6 78,16 98,47 84,44 67,48", pen.shade)
    pen.polygon("50,6 33,48 16,44 24,18", pen.light)


@draws("umbrella")
def _parasol(pen: Pen) -> None:
    pen.line("60,2 60,100", 3, CHALK)
    pen.polygon(_dome(60, 40, 60, 34), pen.body)
    for left, right in ((-42, -16), (16, 42)):
        pen.polygon([(60, 6), (60 + left, 40), (60 + right, 40)], CHALK if pen.colour != "white" else pen.shade)
    for x in (12, 36, 60, 84, 108):
        pen.pie(x, 40, 12, 6, 0, 180, pen.shade)


def _dome(x: float, y: float, rx: float, ry: float) -> list[tuple[float, float]]:
    """Upper half of an ellipse, from the left to the right."""
    return [living.around(x, y, rx, turn, ry) for turn in range(180, 361, 12)]


@draws("kite")
def _kite(pen: Pen) -> None:
    pen.curve("36,66 26,76 36,84 26,92 30,100", 2.5, INK)
    for x, y in ((28, 76), (34, 86), (27, 95)):
        pen.polygon([(x - 7, y - 3.5), (x + 7, y + 3.5), (x + 7, y - 3.5), (x - 7, y + 3.5)], pen.dark)
    pen.polygon("40,0 72,28 36,70 6,22", pen.body)
    pen.polygon("40,0 72,28 38,26", pen.light)
    pen.polygon("38,26 36,70 6,22", pen.shade)
    pen.line("40,0 36,70", 1.8, CHALK)
    pen.line("72,28 6,22", 1.8, CHALK)


@draws("ball")
def _beach_ball(pen: Pen) -> None:
    pen.disc(50, 50, 50, pen.body)
    other = CHALK if pen.colour != "white" else (214, 60, 60)
    pen.blob("50,0 64,30 64,70 50,100 36,70 36,30", other)
    pen.blob("10,20 20,50 12,82 3,60 3,40", other)
    pen.blob("90,20 80,50 88,82 97,60 97,40", other)
    pen.oval(32, 24, 14, 9, GLEAM, turn=-35)


@draws("ball")
def _plain_ball(pen: Pen) -> None:
    pen.disc(50, 50, 50, pen.shade)
    pen.disc(45, 45, 43, pen.body)
    pen.curve("3,42 40,60 97,44", 6, CHALK if pen.colour != "white" else pen.dark)
    pen.curve("50,0 60,40 46,100", 6, CHALK if pen.colour != "white" else pen.dark)
    pen.oval(30, 24, 14, 9, GLEAM, turn=-35)


@draws("traffic light")
def _traffic_light(pen: Pen) -> None:
    pen.rect(19, 50, 5, 50, (88, 90, 96))
    pen.rect(10, 97, 23, 3, (70, 72, 78))
    pen.rect(4, 0, 35, 58, (52, 54, 58), 5)
    for name, y in (("red", 12), ("yellow", 29), ("green", 46)):
        lit = {"red": (255, 60, 44), "yellow": (255, 214, 50), "green": (60, 224, 100)}[name]
        pen.disc(21.5, y, 7.8, (*lit, 255) if name == pen.colour else mix(lit, (40, 40, 44), 0.82))
        if name == pen.colour:
            pen.disc(19, y - 2.5, 3, GLEAM)


@draws("bucket")
def _bucket(pen: Pen) -> None:
    for turn in range(180, 360, 15):
        pen.line([living.around(42, 30, 38, turn, 30), living.around(42, 30, 38, turn + 15, 30)], 3.5, STEEL)
    pen.polygon("0,30 84,30 70,100 14,100", pen.body)
    pen.polygon("56,30 84,30 70,100 52,100", pen.shade)
    pen.opening()
    pen.oval(42, 30, 43, 10, pen.light)
    pen.oval(42, 31, 35, 6.5, pen.dark)
    pen.line("5,52 80,52", 3.5, pen.shade)


@draws("surfboard")
def _surfboard(pen: Pen) -> None:
    pen.blob("20,0 36,25 38,60 30,94 20,100 10,94 2,60 4,25", pen.body)
    stripe = {"white": "blue", "yellow": "red", "orange": "white"}.get(pen.colour, "white")
    band = Pen(stripe).body
    pen.polygon("3.5,34 36.5,26 37,36 2.5,44", band)
    pen.line("20,5 20,96", 2.5, pen.dark)
    pen.blob("30,20 35,40 34,70 28,92 31,60", SHADE)


@draws("suitcase")
def _suitcase(pen: Pen) -> None:
    pen.line("38,22 38,4 66,4 66,22", 6, RUBBER)
    pen.rect(0, 20, 104, 78, pen.body, 10)
    pen.rect(2, 78, 100, 18, pen.shade, 8)
    for x in (20, 76):
        pen.rect(x, 20, 9, 78, pen.dark)
        pen.rect(x - 2, 44, 13, 9, GOLD)
    pen.line("10,27 94,27", 3, pen.light)


@draws("suitcase")
def _trolley(pen: Pen) -> None:
    pen.line("20,30 20,2 42,2 42,30", 3.5, STEEL)
    pen.rect(0, 26, 62, 70, pen.body, 8)
    for x in (14, 31, 48):
        pen.line([(x, 33), (x, 88)], 3, pen.shade)
    pen.line("6,34 6,84", 2.5, pen.light)
    for x in (10, 52):
        pen.disc(x, 97, 5, RUBBER)


@draws("chair")
def _chair(pen: Pen) -> None:
    pen.line("62,58 66,94", 5.5, pen.shade)
    pen.line("20,58 20,94", 5.5, pen.shade)
    pen.polygon("2,4 10,0 20,50 12,56", pen.body)
    pen.line("6,4 10,56 6,98", 6.5, pen.body)
    pen.polygon("8,52 60,50 70,58 6,60", pen.light)
    pen.rect(6, 58.5, 64, 7, pen.body)
    pen.line("66,62 66,98", 6.5, pen.body)


@draws("chair")
def _chair_front(pen: Pen) -> None:
    for x in (12, 54):
        pen.line([(x, 60), (x, 90)], 5, pen.shade)
        pen.line([(x, 3), (x, 55)], 6, pen.body)
    for y in (2, 17, 32):
        pen.rect(10, y, 46, 8, pen.body, 2)
        pen.rect(14, y + 5.5, 38, 2.5, pen.shade)
    pen.polygon("10,52 56,52 64,64 2,64", pen.light)
    pen.rect(2, 63, 62, 7, pen.body)
    for x in (6, 60):
        pen.line([(x, 66), (x, 98)], 6.5, pen.body)


@draws("sofa")
def _sofa(pen: Pen) -> None:
    for x in (16, 166):
        pen.rect(x, 86, 10, 12, WOOD)
    pen.rect(12, 0, 168, 70, pen.body, 12)
    for x in (22, 98):
        pen.rect(x, 8, 72, 42, pen.light, 10)
        pen.rect(x - 2, 46, 76, 20, pen.light, 8)
    pen.rect(14, 62, 164, 28, pen.shade, 5)
    pen.line("96,10 96,88", 2, pen.dark)
    for x in (0, 168):
        pen.rect(x, 32, 24, 60, pen.body, 11)
        pen.rect(x + 3, 34, 18, 10, pen.light, 5)


@draws("sofa")
def _sofa_round(pen: Pen) -> None:
    for x in (30, 130):
        pen.line([(x, 84), (x - 2, 98)], 6, WOOD)
    pen.blob("10,50 18,12 50,2 82,6 116,2 148,12 156,50 140,80 26,80", pen.body)
    for x in (52, 82, 112):
        pen.disc(x, 26, 2.8, pen.dark)
    pen.rect(20, 50, 126, 18, pen.light, 8)
    pen.rect(18, 64, 130, 22, pen.shade, 6)
    for x in (0, 140):
        pen.rect(x, 36, 26, 50, pen.body, 12)
    pen.polygon("30,28 50,24 54,52 32,52", mix(CHALK, pen.body, 0.25))


@draws("lamp")
def _table_lamp(pen: Pen) -> None:
    pen.oval(35, 96, 20, 4.5, WOOD)
    pen.blob("33,44 37,44 42,60 46,76 38,94 32,94 24,76 28,60", GOLD)
    pen.polygon("18,0 52,0 70,46 0,46", pen.body)
    pen.polygon("24,2 36,2 36,44 14,44", GLEAM)
    pen.rect(0, 42, 70, 5, pen.shade)


@draws("lamp")
def _desk_lamp(pen: Pen) -> None:
    pen.oval(26, 96, 24, 4.5, pen.body)
    pen.line("26,94 10,52 46,20", 5, STEEL)
    pen.disc(10, 52, 4.5, RUBBER)
    pen.polygon("38,18 50,4 80,26 58,50", pen.body)
    pen.polygon("50,4 80,26 76,30 46,9", pen.light)
    pen.blob("60,48 78,28 82,36 70,50", HEADLIGHT)


@draws("lamp")
def _floor_lamp(pen: Pen) -> None:
    pen.oval(24, 97, 16, 3, RUBBER)
    pen.rect(22, 26, 4, 70, mix(WOOD, INK, 0.3))
    pen.polygon("12,0 36,0 48,30 0,30", pen.body)
    pen.polygon("15,1 24,1 24,29 8,29", GLEAM)
    pen.rect(0, 28, 48, 3, pen.shade)


@draws("clock")
def _round_clock(pen: Pen) -> None:
    pen.disc(50, 50, 50, pen.body if pen.colour != "white" else (120, 124, 132))
    pen.disc(50, 50, 41, CHALK)
    for turn in range(0, 360, 30):
        pen.line([living.around(50, 50, 37, turn), living.around(50, 50, 30 if turn % 90 else 26, turn)], 3.5, INK)
    pen.line("50,50 50,20", 4.5, INK)
    pen.line("50,50 70,60", 6, INK)
    pen.disc(50, 50, 5, (200, 50, 44))


@draws("clock")
def _alarm_clock(pen: Pen) -> None:
    for x in (24, 76):
        pen.line([(x, 86), (x + (x - 50) * 0.35, 104)], 7, RUBBER)
        pen.pie(x, 16, 19, 17, 180, 360, pen.shade)
    pen.line("50,0 50,14", 6, RUBBER)
    pen.disc(50, 55, 44, pen.body if pen.colour != "white" else (120, 124, 132))
    pen.disc(50, 55, 35, CHALK)
    for turn in range(0, 360, 90):
        pen.line([living.around(50, 55, 31, turn), living.around(50, 55, 23, turn)], 4, INK)
    pen.line("50,55 40,32", 5, INK)
    pen.line("50,55 66,50", 6, INK)


@draws("television")
def _television(pen: Pen) -> None:
    pen.rect(66, 84, 16, 12, pen.shade)
    pen.rect(40, 94, 68, 6, pen.body, 2)
    pen.rect(0, 0, 148, 88, pen.body, 5)
    pen.rect(6, 6, 136, 74, (110, 176, 214, 255))
    pen.polygon("6,80 6,56 42,34 72,60 98,46 142,66 142,80", (84, 150, 92))
    pen.disc(114, 24, 10, (250, 226, 120))
    pen.polygon("12,6 40,6 14,60 6,60 6,20", GLEAM)


@draws("television")
def _old_television(pen: Pen) -> None:
    pen.line("36,-20 56,4 84,-22", 3, INK)
    for x in (20, 94):
        pen.line([(x, 84), (x, 96)], 7, WOOD)
    pen.rect(0, 2, 116, 86, pen.body, 10)
    pen.rect(8, 10, 76, 68, (120, 186, 200, 255), 14)
    pen.polygon("20,12 40,12 20,60 10,56 10,30", GLEAM)
    for y in (24, 42):
        pen.disc(100, y, 6, STEEL)
    for y in (60, 67, 74):
        pen.line([(92, y), (108, y)], 2.5, pen.dark if pen.colour != "black" else STEEL)


@draws("vase")
def _vase(pen: Pen) -> None:
    pen.blob("14,4 18,22 2,48 6,80 18,98 42,98 54,80 58,48 42,22 46,4 30,10", pen.body)
    pen.blob("44,28 57,50 53,80 40,97 44,66", pen.shade)
    pen.line("5,52 55,52", 4.5, CHALK if pen.colour != "white" else (60, 104, 180))
    pen.line("5,62 55,62", 2.5, CHALK if pen.colour != "white" else (60, 104, 180))
    pen.oval(16, 42, 4.5, 10, GLEAM, turn=20)
    pen.opening()
    pen.oval(30, 5, 16, 4, pen.dark)


@draws("vase")
def _vase_tall(pen: Pen) -> None:
    pen.polygon("2,4 42,4 33,30 38,95 30,100 14,100 6,95 11,30", pen.body)
    pen.polygon("26,6 42,4 33,30 38,95 30,100 26,100", pen.shade)
    for y in (44, 60, 76):
        pen.polygon([(10, y), (22, y - 6), (34, y), (22, y + 6)], CHALK if pen.colour != "white" else (60, 104, 180))
    pen.opening()
    pen.oval(22, 4, 20, 4, pen.dark)


@draws("book")
def _closed_book(pen: Pen) -> None:
    pen.polygon("10,30 106,30 124,0 34,0", pen.body)
    pen.polygon("38,21 86,21 92,10 46,10", pen.light)
    pen.polygon("10,32 106,32 106,50 10,50", CHALK)
    pen.polygon("106,30 124,2 124,20 106,50", (222, 216, 200))
    for y in (37, 43):
        pen.line([(12, y), (105, y)], 1.4, (190, 184, 170))
    pen.rect(5, 29, 9, 24, pen.shade, 3)
    pen.line("10,51 106,51 124,21", 4.5, pen.shade)
    pen.line("10,30 106,30", 3.5, pen.light)


@draws("book")
def _open_book(pen: Pen) -> None:
    pen.polygon("0,56 20,6 120,6 140,56", pen.body)
    pen.blob("8,50 24,6 46,0 70,6 70,50 40,44", CHALK)
    pen.blob("132,50 116,6 94,0 70,6 70,50 100,44", (236, 230, 216))
    for y in (14, 22, 30, 38):
        pen.line([(32 - y * 0.3, y), (62, y)], 1.8, (120, 116, 112))
        pen.line([(78, y), (108 + y * 0.3, y)], 1.8, (120, 116, 112))
    pen.line("70,5 70,52", 2.5, pen.dark)


@draws("book")
def _upright_books(pen: Pen) -> None:
    pen.rect(6, 0, 66, 100, pen.body, 3)
    pen.rect(0, 0, 12, 100, pen.shade, 3)
    pen.rect(22, 16, 40, 16, CHALK)
    pen.line("27,24 57,24", 3, INK)
    pen.disc(42, 62, 12, pen.light)
    pen.rect(70, 3, 5, 94, CHALK)


@draws("laptop")
def _laptop(pen: Pen) -> None:
    pen.rect(14, 0, 112, 68, pen.body, 4)
    pen.rect(20, 6, 100, 54, (96, 156, 214, 255))
    pen.polygon("24,6 56,6 30,60 20,60 20,16", GLEAM)
    pen.rect(62, 20, 46, 5, CHALK)
    pen.rect(62, 31, 34, 5, CHALK)
    pen.polygon("14,70 126,70 142,93 -2,93", pen.light)
    pen.polygon("22,73 118,73 126,83 14,83", mix(pen.dark, INK, 0.3))
    pen.polygon("54,86 86,86 88,92 52,92", pen.shade)
    pen.rect(-2, 92, 144, 6, pen.shade, 2)


@draws("cup")
def _cup(pen: Pen) -> None:
    pen.line("74,30 94,34 94,56 70,66", 8, pen.body)
    pen.polygon("2,14 78,14 70,90 60,98 20,98 10,90", pen.body)
    pen.polygon("54,16 78,14 70,90 60,98 46,98", pen.shade)
    pen.opening()
    pen.oval(40, 14, 39, 12, pen.light)
    pen.oval(40, 15, 32, 8.5, (92, 56, 34))
    pen.line("15,34 20,76", 5, GLEAM)


@draws("cup")
def _teacup(pen: Pen) -> None:
    pen.oval(56, 86, 56, 10, pen.light)
    pen.oval(56, 85, 40, 6, pen.shade)
    pen.line("92,28 112,30 108,48 88,56", 6, pen.body)
    pen.blob("14,14 56,10 98,14 90,52 70,80 42,80 22,52", pen.body)
    pen.blob("74,16 97,15 89,52 70,79 60,78 72,50", pen.shade)
    pen.opening()
    pen.oval(56, 14, 42, 10, pen.light)
    pen.oval(56, 15, 35, 7, (150, 84, 40))


@draws("spoon")
def _spoon(pen: Pen) -> None:
    pen.line("34,13 130,13", 7.5, pen.body)
    pen.line("110,13 134,13", 10, pen.body)
    pen.oval(22, 13, 24, 14, pen.body)
    pen.oval(23, 13, 18, 9.5, pen.shade)
    pen.oval(16, 10, 7, 3, GLEAM)
    pen.line("46,11.5 120,11.5", 2, pen.light)


@draws("spoon")
def _spoon_slanting(pen: Pen) -> None:
    _spoon(pen)
    pen.turn(-24)


@draws("spoon")
def _spoon_upright(pen: Pen) -> None:
    pen.line("15,40 15,100", 6, pen.body)
    pen.oval(15, 20, 15, 21, pen.body)
    pen.oval(15, 20, 10, 15.5, pen.shade)
    pen.oval(12, 13, 3.5, 6, GLEAM)


@draws("fork")
def _fork(pen: Pen) -> None:
    pen.line("40,14 136,14", 7.5, pen.body)
    pen.line("110,14 136,14", 10, pen.body)
    pen.blob("52,14 42,28 28,29 28,-1 42,0", pen.body)
    for y in (1, 9.7, 18.3, 27):
        pen.line([(0, y), (34, y)], 4.2, pen.body)
    pen.line("50,12.5 124,12.5", 2, pen.light)


@draws("fork")
def _fork_slanting(pen: Pen) -> None:
    _fork(pen)
    pen.turn(20)


@draws("fork")
def _fork_upright(pen: Pen) -> None:
    pen.line("16,40 16,100", 6, pen.body)
    pen.blob("16,46 0,34 0,22 32,22 32,34", pen.body)
    for x in (1, 11, 21, 31):
        pen.line([(x, 0), (x, 28)], 4.2, pen.body)


@draws("bowl")
def _bowl(pen: Pen) -> None:
    pen.rect(42, 64, 40, 10, pen.shade, 3)
    pen.pie(62, 14, 62, 56, 0, 180, pen.body)
    pen.polygon("80,16 123,16 116,40 96,60 76,69", pen.shade)
    pen.opening()
    pen.oval(62, 14, 62, 13, pen.light)
    pen.oval(62, 15, 54, 9, pen.dark)
    pen.curve("14,34 22,50 36,62", 5, GLEAM)


@draws("bowl")
def _bowl_deep(pen: Pen) -> None:
    pen.polygon("0,12 96,12 84,52 66,72 30,72 12,52", pen.body)
    pen.line("8,40 88,40", 9, CHALK if pen.colour != "white" else (70, 120, 190))
    pen.polygon("68,14 96,12 84,52 66,72 54,72", SHADE)
    pen.opening()
    pen.oval(48, 12, 48, 11, pen.light)
    pen.oval(48, 13, 41, 7.5, pen.shade)


@draws("bottle")
def _wine_bottle(pen: Pen) -> None:
    pen.rect(11, 0, 12, 8, (150, 40, 50), 2)
    pen.polygon("12,7 22,7 22,26 34,42 34,97 31,100 3,100 0,97 0,42 12,26", pen.body)
    pen.polygon("20,10 22,10 22,26 34,42 34,97 31,100 26,100", pen.shade)
    pen.rect(1, 56, 32, 26, CHALK if pen.colour != "white" else (120, 170, 210))
    pen.line("8,66 26,66", 3, (160, 60, 60))
    pen.line("5,44 5,52", 3, GLEAM)


@draws("bottle")
def _water_bottle(pen: Pen) -> None:
    pen.rect(12, 0, 16, 10, INK, 2)
    pen.blob("13,10 27,10 30,20 39,32 39,94 30,100 10,100 1,94 1,32 10,20", pen.body)
    pen.polygon("28,30 38,34 38,94 28,99", pen.shade)
    for y in (50, 62, 74):
        pen.line([(3, y), (37, y)], 2, pen.light)
    pen.line("8,34 8,90", 3.5, GLEAM)


@draws("teapot")
def _teapot(pen: Pen) -> None:
    pen.line("24,38 2,36 2,68 26,76", 8, pen.shade)
    pen.polygon("86,74 106,56 114,30 128,26 124,36 116,70 90,90", pen.body)
    pen.rect(36, 92, 46, 8, pen.shade, 3)
    pen.oval(58, 62, 44, 36, pen.body)
    pen.blob("80,34 100,60 82,90 60,97 78,70", pen.shade)
    pen.pie(58, 30, 27, 14, 180, 360, pen.light)
    pen.oval(58, 30, 27, 4.5, pen.shade)
    pen.disc(58, 11, 6.5, pen.dark)
    pen.oval(34, 50, 7, 12, GLEAM, turn=25)


@draws("apple")
def _apple(pen: Pen) -> None:
    pen.blob("50,26 70,16 94,30 96,60 76,94 50,92 24,94 4,60 6,30 30,16", pen.body)
    pen.blob("80,26 95,45 92,68 74,93 56,90 78,62", pen.shade)
    pen.curve("50,28 50,12 58,0", 6, (96, 62, 34))
    pen.blob("54,14 70,0 88,4 74,16", LEAF)
    pen.oval(26, 40, 8, 13, GLEAM, turn=25)


@draws("apple")
def _apple_tilted(pen: Pen) -> None:
    pen.disc(48, 58, 42, pen.shade)
    pen.oval(44, 56, 38, 39, pen.body)
    pen.oval(52, 24, 16, 6, pen.dark, turn=10)
    pen.line("52,24 62,4", 6, (96, 62, 34))
    pen.oval(28, 42, 8, 12, GLEAM, turn=30)


@draws("banana")
def _banana(pen: Pen) -> None:
    pen.blob("0,14 10,10 24,34 50,48 86,46 114,22 122,26 116,50 92,76 56,82 24,66 6,40", pen.body)
    pen.blob("4,24 20,52 54,68 92,62 118,36 112,56 90,76 56,82 24,66 8,44", pen.shade)
    pen.line("116,24 120,6", 7, (120, 90, 40))
    pen.disc(4, 14, 4.5, (80, 60, 30))


@draws("banana")
def _bananas(pen: Pen) -> None:
    pen.curve("90,10 86,50 50,78 10,74", 22, pen.shade, end=8)
    pen.curve("90,10 80,38 48,58 6,54", 22, pen.body, end=8)
    pen.curve("90,10 72,28 44,38 8,32", 20, pen.light, end=7)
    pen.line("90,14 96,0", 10, (120, 90, 40))
    for x, y in ((10, 74), (6, 54), (8, 32)):
        pen.disc(x, y, 4.5, (80, 60, 30))


SPONGE: RGB = (232, 190, 120)


@draws("cake")
def _cake(pen: Pen) -> None:
    pen.oval(60, 92, 62, 9, CHALK)
    pen.rect(10, 36, 100, 50, SPONGE)
    pen.oval(60, 86, 50, 9, SPONGE)
    pen.rect(10, 58, 100, 7, pen.shade)
    pen.rect(10, 34, 100, 14, pen.body)
    for x in (18, 36, 54, 72, 90, 104):
        pen.oval(x, 48, 8, 9 if x % 4 else 5, pen.body)
    pen.oval(60, 34, 50, 10, pen.light)
    for x in (36, 60, 84):
        pen.line([(x, 32), (x, 14)], 5, (90, 150, 210))
        pen.oval(x, 6, 3, 6, (255, 190, 50))


@draws("cake")
def _cake_slice(pen: Pen) -> None:
    pen.oval(62, 86, 64, 10, CHALK)
    pen.polygon("10,42 108,30 108,74 10,86", SPONGE)
    pen.polygon("10,60 108,48 108,56 10,68", pen.body)
    pen.polygon("10,38 80,12 108,22 108,36 10,50", pen.body)
    pen.polygon("10,38 80,12 108,22", pen.light)
    pen.disc(76, 12, 10, (206, 40, 50))
