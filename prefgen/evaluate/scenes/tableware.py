"""Drawings of tableware and food. Units as in ``living.py``."""

from prefgen.evaluate.scenes.pen import CHALK, GLEAM, INK, LEAF, RGB, SHADE, Pen, draws

SPONGE: RGB = (232, 190, 120)


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


@draws("teapot")
def _tall_teapot(pen: Pen) -> None:
    pen.curve("76,26 104,30 104,66 72,78", 8, pen.shade)
    pen.polygon("22,56 4,34 -10,24 -4,16 14,26 28,40", pen.body)
    pen.blob("28,22 50,18 72,22 80,60 70,96 30,96 20,60", pen.body)
    pen.blob("60,22 72,24 79,60 69,95 54,96 64,60", pen.shade)
    pen.line("24,50 76,50", 4, CHALK if pen.colour != "white" else (70, 120, 190))
    pen.pie(50, 20, 24, 13, 180, 360, pen.light)
    pen.disc(50, 4, 6, pen.dark)
    pen.oval(34, 40, 4, 10, GLEAM, turn=10)


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


@draws("cake")
def _tiered_cake(pen: Pen) -> None:
    pen.oval(60, 94, 60, 8, CHALK)
    for left, top, width, height in ((12, 54, 96, 38), (30, 20, 60, 38)):
        pen.rect(left, top, width, height, pen.body, 5)
        pen.rect(left + width * 0.8, top + 4, width * 0.2, height - 5, SHADE, 4)
        pen.oval(left + width / 2, top + 3, width / 2, 6, pen.light)
        for x in range(left + 8, left + width, 13):
            pen.disc(x, top + 9, 4.5, CHALK if pen.colour != "white" else (244, 170, 190))
    for x in (44, 60, 76):
        pen.disc(x, 17, 6, (206, 40, 50))
