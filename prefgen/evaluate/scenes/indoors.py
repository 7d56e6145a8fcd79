"""Drawings of furniture and of things that are indoors. Units as in ``living.py``."""

from prefgen.evaluate.scenes.pen import CHALK, GLEAM, GOLD, INK, RUBBER, STEEL, WOOD, Pen, around, draws, mix

LAMPLIGHT = (255, 240, 170, 255)


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
    pen.blob("60,48 78,28 82,36 70,50", LAMPLIGHT)


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
        pen.line([around(50, 50, 37, turn), around(50, 50, 30 if turn % 90 else 26, turn)], 3.5, INK)
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
        pen.line([around(50, 55, 31, turn), around(50, 55, 23, turn)], 4, INK)
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


@draws("television")
def _television_on_a_stand(pen: Pen) -> None:
    pen.rect(6, 78, 108, 20, WOOD, 2)
    pen.line("60,80 60,97", 1.5, mix(WOOD, INK, 0.4))
    for x in (50, 70):
        pen.disc(x, 88, 2.5, GOLD)
    pen.rect(52, 70, 16, 9, pen.shade)
    pen.rect(8, 0, 104, 72, pen.body, 4)
    pen.rect(13, 5, 94, 60, (226, 150, 90, 255))
    pen.polygon("13,65 13,48 50,40 107,52 107,65", (70, 90, 140))
    pen.disc(60, 32, 12, (250, 226, 120))


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


@draws("laptop")
def _laptop_from_the_side(pen: Pen) -> None:
    pen.polygon("30,0 118,6 126,70 46,64", pen.body)
    pen.polygon("36,6 112,11 119,63 51,58", (96, 156, 214, 255))
    pen.polygon("40,8 62,10 64,58 52,57", GLEAM)
    pen.line("72,26 100,28", 4, CHALK)
    pen.line("74,38 94,40", 4, CHALK)
    pen.polygon("46,66 126,71 94,96 4,88", pen.light)
    pen.polygon("50,69 116,74 100,86 34,80", mix(pen.dark, INK, 0.3))
    pen.polygon("4,88 94,96 94,101 4,93", pen.shade)
    pen.polygon("94,96 126,71 126,76 94,101", pen.dark)
