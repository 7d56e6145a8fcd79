"""Drawings of vehicles and of things that are outdoors. Units as in ``living.py``."""

from prefgen.evaluate.scenes.pen import (
    CHALK,
    GLASS,
    GLEAM,
    GOLD,
    INK,
    RGB,
    RUBBER,
    SHADE,
    STEEL,
    WOOD,
    Pen,
    around,
    draws,
    mix,
)

HEADLIGHT = (255, 240, 170, 255)
LAMPS: dict[str, RGB] = {"red": (255, 60, 44), "yellow": (255, 214, 50), "green": (60, 224, 100)}


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.disc(x, y, radius, RUBBER)
    pen.disc(x, y, radius * 0.55, STEEL)
    pen.disc(x, y, radius * 0.2, RUBBER)


def _dome(x: float, y: float, rx: float, ry: float) -> list[tuple[float, float]]:
    """Upper half of an ellipse, from the left to the right."""
    return [around(x, y, rx, turn, ry) for turn in range(180, 361, 12)]


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


@draws("car")
def _pickup(pen: Pen) -> None:
    pen.polygon("86,40 94,4 138,4 164,40", pen.body)
    pen.polygon("96,38 102,11 134,11 152,38", GLASS)
    pen.rect(0, 34, 90, 12, pen.light, 2)
    pen.rect(0, 40, 212, 38, pen.body, 8)
    pen.rect(2, 62, 208, 14, pen.shade, 5)
    pen.line("90,42 90,76", 2, pen.dark)
    pen.line("128,42 128,74", 2, pen.dark)
    pen.oval(206, 52, 5, 8, HEADLIGHT)
    for x in (44, 166):
        _wheel(pen, x, 78, 21)


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
            start, stop = around(x, 66, 28, turn), around(x, 66, 28, turn + 18)
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


@draws("bicycle")
def _city_bicycle(pen: Pen) -> None:
    for x in (26, 118):
        for turn in range(0, 360, 18):
            pen.line([around(x, 66, 27, turn), around(x, 66, 27, turn + 18)], 5, RUBBER)
        pen.line([(x, 40), (x, 92)], 1.2, STEEL)
        pen.disc(x, 66, 4, STEEL)
    pen.curve("104,26 92,54 62,66", 6, pen.body)
    pen.line("48,30 62,66 26,66 48,30", 5, pen.body)
    pen.line("118,66 102,12", 6, pen.body)
    pen.curve("102,12 94,6 84,12", 5, RUBBER)
    pen.polygon("106,18 136,16 130,40 112,40", WOOD)
    pen.line("108,28 133,27", 2.5, mix(WOOD, CHALK, 0.4))
    pen.oval(46, 26, 13, 6, WOOD)
    pen.disc(62, 66, 7, RUBBER)


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


@draws("airplane")
def _propeller_plane(pen: Pen) -> None:
    pen.polygon("10,36 2,10 18,10 34,34", pen.shade)
    pen.blob("4,38 40,30 90,26 126,30 134,42 122,54 80,54 40,46", pen.body)
    pen.polygon("66,28 74,12 98,12 108,28", GLASS)
    pen.line("86,12 86,28", 2.5, pen.dark)
    pen.polygon("52,44 104,44 98,56 44,56", pen.light)
    pen.polygon("44,50 102,50 98,57 42,57", pen.shade)
    pen.oval(134, 40, 5, 7, pen.dark)
    pen.oval(139, 40, 2.5, 24, RUBBER)
    pen.line("98,56 102,68", 3, RUBBER)
    pen.disc(102, 71, 7, RUBBER)
    pen.line("12,44 60,48", 3, CHALK if pen.colour != "white" else pen.dark)


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


@draws("bench")
def _stone_bench(pen: Pen) -> None:
    for x in (14, 104):
        pen.polygon([(x, 26), (x + 20, 26), (x + 17, 66), (x + 3, 66)], pen.shade)
        pen.rect(x - 2, 62, 24, 8, pen.dark)
    pen.polygon("6,8 132,8 140,20 -2,20", pen.light)
    for x in (40, 72, 104):
        pen.line([(x - 2, 9), (x + (x - 69) * 0.08, 19)], 1.5, pen.shade)
    pen.rect(-2, 19, 142, 10, pen.body, 2)


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


@draws("kite")
def _tailed_kite(pen: Pen) -> None:
    for x, sway in ((22, -8), (40, 4), (58, -6)):
        pen.curve([(x, 52), (x + sway, 70), (x - sway, 86), (x + sway, 100)], 4, pen.dark, end=2)
    pen.polygon("40,0 86,44 40,58 -6,44", pen.body)
    pen.polygon("40,0 86,44 40,58", pen.shade)
    pen.polygon("40,0 52,48 40,58 28,48", pen.light)
    pen.line("-6,44 40,40 86,44", 1.8, CHALK)


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
        lit = LAMPS[name]
        pen.disc(21.5, y, 7.8, (*lit, 255) if name == pen.colour else mix(lit, (40, 40, 44), 0.82))
        if name == pen.colour:
            pen.disc(19, y - 2.5, 3, GLEAM)


@draws("traffic light")
def _hanging_traffic_light(pen: Pen) -> None:
    pen.rect(2, 4, 5, 96, (88, 90, 96))
    pen.rect(-4, 97, 17, 3, (70, 72, 78))
    pen.line("4,6 40,6", 4, (88, 90, 96))
    pen.rect(24, 6, 30, 58, (206, 170, 50), 4)
    for name, y in (("red", 16), ("yellow", 35), ("green", 54)):
        lit = LAMPS[name]
        pen.disc(39, y, 7.8, (*lit, 255) if name == pen.colour else mix(lit, (40, 40, 44), 0.82))


@draws("bucket")
def _bucket(pen: Pen) -> None:
    for turn in range(180, 360, 15):
        pen.line([around(42, 30, 38, turn, 30), around(42, 30, 38, turn + 15, 30)], 3.5, STEEL)
    pen.polygon("0,30 84,30 70,100 14,100", pen.body)
    pen.polygon("56,30 84,30 70,100 52,100", pen.shade)
    pen.opening()
    pen.oval(42, 30, 43, 10, pen.light)
    pen.oval(42, 31, 35, 6.5, pen.dark)
    pen.line("5,52 80,52", 3.5, pen.shade)


@draws("bucket")
def _pail(pen: Pen) -> None:
    pen.curve("4,28 -4,66 38,96 80,66 74,28", 3, STEEL)
    pen.polygon("0,22 78,22 68,100 10,100", pen.body)
    pen.polygon("50,22 78,22 68,100 48,100", pen.shade)
    for y in (44, 62):
        pen.line([(4, y), (74, y)], 3, pen.light)
    pen.opening()
    pen.oval(39, 22, 40, 11, pen.light)
    pen.oval(39, 23, 33, 7.5, (226, 200, 140))
    pen.blob("10,22 24,6 40,2 56,8 68,22", (236, 212, 156))


@draws("surfboard")
def _surfboard(pen: Pen) -> None:
    pen.blob("20,0 36,25 38,60 30,94 20,100 10,94 2,60 4,25", pen.body)
    stripe = {"white": "blue", "yellow": "red", "orange": "white"}.get(pen.colour, "white")
    band = Pen(stripe).body
    pen.polygon("3.5,34 36.5,26 37,36 2.5,44", band)
    pen.line("20,5 20,96", 2.5, pen.dark)
    pen.blob("30,20 35,40 34,70 28,92 31,60", SHADE)


@draws("surfboard")
def _short_surfboard(pen: Pen) -> None:
    pen.polygon("10,88 6,100 16,98", pen.dark)
    pen.polygon("34,88 38,100 28,98", pen.dark)
    pen.blob("22,0 38,30 42,62 34,96 10,96 2,62 6,30", pen.body)
    flower = CHALK if pen.colour != "white" else (236, 110, 120)
    for turn in range(0, 360, 72):
        x, y = around(22, 44, 7, turn)
        pen.disc(x, y, 5, flower)
    pen.disc(22, 44, 4, pen.dark)
    pen.line("8,70 36,70", 3.5, flower)
    pen.line("9,78 35,78", 2, flower)


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
