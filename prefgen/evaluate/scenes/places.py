"""Places: the geometry of their ground, the colours of light and weather, and the painting of the background.

Coordinates are pixels of the picture. A surface is a band of base lines: a thing at ``depth`` 0 stands on the lowest
of them at full size, one further up is smaller. Backgrounds vary with the scene's own generator: hills, houses, clouds,
wallpaper, windows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prefgen.evaluate.scenes.pen import CHALK, INK, RGB, Fill, Pen, Points, mix, scaled, smooth
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, PLACES, RENDER_STREAM, Scene

Range = tuple[float, float]
NEAREST = 140.0  # base line of what is nearest


@dataclass(frozen=True)
class Geometry:
    """Ground of a place: the regions that can hold things.

    Attributes:
        horizon: Base line at which a thing would have the size ``far``.
        far: Size there, relative to that of the nearest.
        bands: Ranges of base lines of each surface; of centre lines on a wall and in the sky.
    """

    horizon: float
    far: float
    bands: dict[str, tuple[Range, ...]]

    def depth(self, base: float) -> float:
        """Depth of what stands on a base line, 0..1."""
        return float(np.clip((NEAREST - base) / (NEAREST - self.horizon), 0, 1))

    def scale(self, depth: float) -> float:
        """Size at a depth, relative to that of the nearest."""
        return 1 - depth * (1 - self.far)


GEOMETRY = {
    "kitchen": Geometry(86, 0.72, {"table": ((100, 139),), "wall": ((18, 40),)}),
    "study": Geometry(88, 0.72, {"desk": ((102, 139),), "wall": ((18, 40),)}),
    "living room": Geometry(90, 0.66, {"floor": ((104, 140),), "wall": ((18, 40),)}),
    "street": Geometry(70, 0.40, {"pavement": ((126, 140), (84, 86)), "road": ((96, 116),), "sky": ((12, 34),)}),
    "park": Geometry(64, 0.40, {"grass": ((102, 140), (74, 77)), "pond": ((84, 93),), "sky": ((12, 40),)}),
    "meadow": Geometry(62, 0.34, {"grass": ((80, 140),), "sky": ((12, 40),)}),
    "beach": Geometry(56, 0.36, {"sand": ((98, 140),), "water": ((66, 82),), "sky": ((12, 38),)}),
    "sea": Geometry(54, 0.32, {"water": ((68, 134),), "sky": ((12, 38),)}),
}
INDOORS = tuple(place.name for place in PLACES.values() if place.indoors)


def mirrored(scene: Scene) -> bool:
    """True if a room's window is on the left."""
    return scene.index % 2 == 1


def free_wall(scene: Scene) -> Range:
    """The part of a room's wall where neither a window nor a picture is, from left to right."""
    if scene.place == "living room":
        return 56, 90
    return (64, 138) if mirrored(scene) else (6, 80)


@dataclass(frozen=True)
class Tone:
    """Colours of a light and a weather.

    Attributes:
        tint: Share of each channel that the light leaves.
        sky: Colours at the top and at the horizon.
        haze: Colour into which distance fades.
        thickness: Share of the haze at the horizon.
    """

    tint: tuple[float, float, float]
    sky: tuple[RGB, RGB]
    haze: RGB
    thickness: float

    def __call__(self, fill: Fill, depth: float) -> Fill:
        """A fill as it looks at a depth."""
        if len(fill) == 4 and fill[3] < 255:
            return fill
        red, green, blue = fill[:3]
        lit = (red, green, blue) if len(fill) == 4 else scaled((red, green, blue), self.tint)
        return mix(lit, self.haze, self.thickness * depth)


TINTS = {"day": (1.0, 1.0, 1.0), "sunset": (0.96, 0.78, 0.66), "dusk": (0.52, 0.50, 0.66), "night": (0.30, 0.33, 0.50)}
INDOOR_TINTS = TINTS | {"sunset": (1.0, 0.86, 0.72), "dusk": (0.72, 0.64, 0.62), "night": (0.60, 0.50, 0.42)}
SKIES: dict[str, tuple[RGB, RGB]] = {
    "day": ((84, 156, 226), (196, 226, 244)),
    "sunset": ((92, 88, 150), (250, 168, 92)),
    "dusk": ((40, 44, 92), (150, 112, 140)),
    "night": ((10, 14, 40), (34, 44, 84)),
}
CLOUDED: RGB = (168, 176, 186)
COVER = {"clear": 0.0, "cloudy": 0.7, "rain": 0.85, "fog": 0.9, "snow": 0.8}  # of the sky by clouds
THICKNESS = {"clear": 0.14, "cloudy": 0.2, "rain": 0.38, "fog": 0.9, "snow": 0.35}


def tone(scene: Scene) -> Tone:
    """The colours of a scene."""
    if scene.place in INDOORS:
        return Tone(INDOOR_TINTS[scene.light], SKIES[scene.light], CHALK, 0.0)
    tint = TINTS[scene.light]
    red, green, blue = tint
    cloud = scaled(CLOUDED, (0.3 + 0.7 * red, 0.3 + 0.7 * green, 0.3 + 0.7 * blue))
    top, low = (mix(colour, cloud, COVER[scene.weather]) for colour in SKIES[scene.light])
    return Tone(tint, (top, low), mix(low, cloud, 0.5), THICKNESS[scene.weather])


class Backdrop(Pen):
    """A pen in pixels of the picture; every shape has a depth.

    Attributes:
        rng: The scene's generator.
        depths: Depth of each shape, parallel to ``shapes``.
        far: Depth of the shapes to come.
    """

    def __init__(self, scene: Scene) -> None:
        super().__init__("white")
        self.scene = scene
        self.tone = tone(scene)
        self.rng = scene.rng(RENDER_STREAM)
        self.depths: list[float] = []
        self.far = 1.0

    def polygon(self, points: Points, fill: Fill) -> None:
        """Fill a polygon at the present depth."""
        super().polygon(points, fill)
        self.depths.append(self.far)

    def between(self, low: float, high: float) -> float:
        """A uniform draw."""
        return float(low + (high - low) * self.rng.random())

    def any_of(self, *colours: RGB) -> RGB:
        """One of the colours."""
        return colours[int(self.rng.integers(len(colours)))]

    def band(self, top: float, bottom: float, first: Fill, last: Fill, steps: int = 12) -> None:
        """Fill the width with a gradient from the top to the bottom."""
        edges = np.linspace(top, bottom, steps + 1)
        for number in range(steps):
            share = number / (steps - 1)
            fill = tuple(round(a + (b - a) * share) for a, b in zip(first, last, strict=True))
            self.rect(0, edges[number], IMAGE_SIZE, edges[number + 1] - edges[number] + 0.5, fill)

    def ground(self, top: float, first: RGB, last: RGB, bottom: float = IMAGE_SIZE, white: float = 0.85) -> None:
        """Fill the width with ground, covered by snow if it snows, in strips that come nearer."""
        if self.scene.weather == "snow":
            first, last = mix(first, (240, 244, 250), white), mix(last, (240, 244, 250), white)
        geometry = GEOMETRY[self.scene.place]
        edges = np.linspace(top, bottom, 13)
        for number in range(12):
            self.far = geometry.depth(edges[number])
            self.rect(
                0, edges[number], IMAGE_SIZE, edges[number + 1] - edges[number] + 0.5, mix(first, last, number / 11)
            )


def _sky(pen: Backdrop, horizon: float) -> None:
    """Sky with sun or moon, stars and clouds."""
    scene, (top, low) = pen.scene, pen.tone.sky
    pen.band(0, horizon, (*top, 255), (*low, 255), 18)
    clear = scene.weather in ("clear", "cloudy")
    if scene.light == "night" and clear:
        for _ in range(14):
            x, y, radius = pen.between(0, IMAGE_SIZE), pen.between(0, horizon - 14), pen.between(0.3, 0.7)
            pen.disc(x, y, radius, (235, 238, 255, 200))
        x, y = pen.between(14, 130), pen.between(9, 22)
        pen.disc(x, y, 6, (244, 240, 214, 250))
        pen.disc(x + 2.6, y - 1.6, 5, (*mix(top, low, y / horizon), 254))
    elif scene.light == "sunset" and clear:
        x = pen.between(20, 124)
        for size, alpha in ((20, 40), (14, 60), (8, 254)):
            pen.disc(x, horizon - 4, size, (255, 226, 150, alpha))
    elif scene.light == "day" and scene.weather == "clear":
        x, y = pen.between(10, 134), pen.between(8, 20)
        for size, alpha in ((12, 50), (7, 254)):
            pen.disc(x, y, size, (255, 240, 180, alpha))
    for _ in range({"clear": 2, "cloudy": 5}.get(scene.weather, 0)):
        x, y, scale = pen.between(-5, IMAGE_SIZE), pen.between(6, horizon * 0.62), pen.between(0.6, 1.25)
        colour = mix(low, (255, 255, 255), 0.6) if scene.light == "day" else mix(low, top, 0.35)
        for dx, dy, r in ((-9, 1, 5), (0, -2, 7), (8, 0, 5.5), (15, 2, 3.5)):
            pen.oval(x + dx * scale, y + dy * scale, r * 1.35 * scale, r * 0.8 * scale, (*colour, 225))


def _hills(pen: Backdrop, horizon: float, colour: RGB, height: float) -> None:
    pen.far = 0.95
    if pen.scene.weather == "snow":
        colour = mix(colour, (236, 240, 248), 0.6)
    for lift, darker in ((height, 0.0), (height * 0.55, 0.14)):
        knots = [(x, horizon - lift * pen.between(0.3, 1.0)) for x in range(-24, 170, 32)]
        crest = [(x, min(y, horizon - 1)) for x, y in knots]
        pen.blob([(-40, horizon + 2), *crest, (184, horizon + 2)], mix(colour, (20, 40, 40), darker))


def _bush(pen: Backdrop, x: float, y: float, size: float, colour: RGB) -> None:
    for dx, dy, r in ((-0.6, 0, 0.5), (0, -0.3, 0.65), (0.6, 0, 0.5)):
        pen.disc(x + dx * size, y - r * size * 0.6 + dy * size, r * size, colour)


def _tufts(pen: Backdrop, top: float, bottom: float, colour: RGB, count: int) -> None:
    """Tufts of grass, three blades each."""
    geometry = GEOMETRY[pen.scene.place]
    for _ in range(count):
        x, y = pen.between(0, IMAGE_SIZE), pen.between(top, bottom)
        pen.far = geometry.depth(y)
        size = geometry.scale(pen.far)
        for lean in (-1.2, 0.2, 1.4):
            pen.polygon([(x - 0.7 * size, y), (x + 0.7 * size, y), (x + lean * 1.6 * size, y - 4 * size)], colour)


def _water(pen: Backdrop, top: float, bottom: float) -> None:
    """Water that mirrors the sky, with ripples."""
    high, low = pen.tone.sky
    deep = scaled(mix((38, 104, 148), high, 0.35), pen.tone.tint)
    pen.far = 0.6
    pen.band(top, bottom, (*mix(deep, low, 0.62), 255), (*deep, 255), 14)
    for _ in range(int((bottom - top) * 0.5)):
        y = top + (bottom - top) * pen.rng.random() ** 1.3
        length = 4 + 10 * (y - top) / (bottom - top)
        x = pen.between(-4, IMAGE_SIZE)
        pen.line([(x, y), (x + length, y)], 0.5 + 0.8 * (y - top) / (bottom - top), (*mix(low, CHALK, 0.4), 110))


def _street(pen: Backdrop) -> None:
    _sky(pen, 72)
    pen.far = 0.7
    pen.rect(0, 70, IMAGE_SIZE, 14, (140, 140, 144))
    x = -pen.between(0, 16)
    lit = pen.scene.light in ("dusk", "night")
    while x < IMAGE_SIZE:
        width, top = pen.between(22, 36), pen.between(10, 40)
        wall = pen.any_of(
            (196, 120, 92), (214, 190, 150), (150, 158, 172), (188, 148, 120), (222, 208, 188), (126, 140, 150)
        )
        pen.far = 0.62
        pen.rect(x, top, width, 84 - top, wall)
        if pen.rng.random() < 0.4:
            pen.polygon(
                [(x - 1.5, top), (x + width / 2, top - pen.between(6, 12)), (x + width + 1.5, top)], (132, 74, 60)
            )
        else:
            pen.rect(x - 1, top - 2, width + 2, 3, mix(wall, INK, 0.3))
        columns = int(width // 9)
        for row in range(int((72 - top) // 12)):
            for column in range(columns):
                pane: Fill = (255, 218, 130, 255) if lit and pen.rng.random() < 0.5 else (110, 134, 156)
                left = x + (column + 0.5) * width / columns - 2.4
                pen.rect(left, top + 5 + row * 12, 4.8, 6.4, pane)
                pen.rect(left - 0.5, top + 11.4 + row * 12, 5.8, 0.9, mix(wall, CHALK, 0.5))
        pen.rect(x + width * 0.42, 73, 5.4, 11, mix(wall, INK, 0.55))
        x += width + pen.between(0, 3)
    pen.ground(82, (176, 172, 166), (170, 166, 160), 90)
    pen.ground(90, (92, 94, 100), (74, 76, 82), 122, white=0.45)
    for left in range(-4, IMAGE_SIZE, 26):
        pen.rect(left, 104, 13, 1.5, (232, 230, 220))
    pen.ground(121, (206, 202, 194), (206, 202, 194), 124)
    pen.ground(124, (186, 182, 174), (168, 164, 156))
    for left in range(-20, 180, 24):
        pen.polygon(
            [(left, 124), (left + 0.8, 124), (left + (left - 72) * 0.12 + 0.8, 144), (left + (left - 72) * 0.12, 144)],
            (146, 142, 136),
        )


def _park(pen: Backdrop) -> None:
    _sky(pen, 66)
    _hills(pen, 66, (104, 150, 112), 10)
    pen.far = 0.8
    for _ in range(9):
        leaf = mix((64, 118, 70), (120, 150, 70), pen.rng.random())
        if pen.scene.weather == "snow":
            leaf = mix(leaf, CHALK, 0.4)
        _bush(pen, pen.between(0, IMAGE_SIZE), 69, pen.between(5, 12), leaf)
    pen.ground(66, (126, 176, 96), (112, 166, 84), 80)
    _water(pen, 80, 96)
    pen.ground(95, (120, 172, 86), (74, 132, 62))
    pen.far = 0.5
    pen.band(95, 97, (110, 126, 84), (110, 150, 84), 2)
    _tufts(pen, 102, 143, (70, 126, 58), 16)


def _meadow(pen: Backdrop) -> None:
    _sky(pen, 66)
    _hills(pen, 66, (116, 156, 128), 20)
    pen.far = 0.85
    for _ in range(4):
        _bush(pen, pen.between(0, IMAGE_SIZE), 68, pen.between(3, 6), (70, 120, 74))
    pen.ground(66, (164, 194, 98), (92, 150, 62))
    pen.far = 0.75
    rail = (150, 118, 82)
    for y in (70, 73.5):
        pen.rect(0, y, IMAGE_SIZE, 1.1, rail)
    for left in range(int(pen.between(0, 12)), IMAGE_SIZE, 15):
        pen.rect(left, 67.5, 1.8, 10, rail)
    _tufts(pen, 82, 143, (76, 132, 54), 26)


def _beach(pen: Backdrop) -> None:
    _sky(pen, 58)
    if pen.rng.random() < 0.5:
        pen.far = 0.95
        left = pen.between(-30, 110)
        pen.blob([(left, 59), (left + 14, 52), (left + 30, 49), (left + 46, 55), (left + 64, 59)], (96, 134, 112))
    _water(pen, 58, 88)
    pen.ground(88, (236, 214, 164), (218, 186, 128))
    pen.far = 0.5
    shore = [(x, 88 + pen.between(-1.2, 2.2)) for x in range(-10, 165, 18)]
    pen.polygon([*[(x, y - 3) for x, y in shore], *[(x, y + 2.6) for x, y in shore[::-1]]], (206, 186, 144))
    pen.polygon([*[(x, y - 3) for x, y in shore], *[(x, y) for x, y in shore[::-1]]], (244, 250, 252))
    for _ in range(24):
        y = pen.between(96, 143)
        pen.oval(pen.between(0, IMAGE_SIZE), y, 0.9, 0.5, (196, 164, 110))


def _sea(pen: Backdrop) -> None:
    _sky(pen, 56)
    if pen.rng.random() < 0.6:
        pen.far = 0.95
        left = pen.between(-30, 110)
        pen.blob([(left, 57), (left + 10, 50), (left + 24, 44), (left + 36, 51), (left + 50, 57)], (92, 124, 120))
    _water(pen, 56, IMAGE_SIZE)


def _window(pen: Backdrop, x: float, y: float, width: float, height: float) -> None:
    """A window to the sky."""
    top, low = pen.tone.sky
    pen.rect(x - 2, y - 2, width + 4, height + 4, (236, 232, 222))
    for part in range(8):
        pen.rect(x, y + part * height / 8, width, height / 8 + 0.3, (*mix(top, low, part / 7), 255))
    if pen.scene.light == "day":
        crest = smooth(
            [(x, y + height * 0.72), (x + width * 0.4, y + height * 0.62), (x + width, y + height * 0.76)], False
        )
        pen.polygon([*crest, (x + width, y + height), (x, y + height)], (118, 166, 104))
    elif pen.scene.light == "night":
        pen.disc(x + width * 0.7, y + height * 0.3, 3, (244, 240, 214, 255))
    pen.rect(x + width / 2 - 0.8, y, 1.6, height, (236, 232, 222))
    pen.rect(x, y + height / 2 - 0.8, width, 1.6, (236, 232, 222))
    pen.rect(x - 4, y + height + 2, width + 8, 2.6, (214, 208, 196))


def _wall(pen: Backdrop, bottom: float) -> None:
    """A plain, striped or tiled wall."""
    pen.far = 0.0
    colour = pen.any_of(
        (232, 220, 196), (206, 222, 218), (222, 206, 204), (200, 210, 226), (226, 228, 210), (236, 226, 176)
    )
    pen.band(0, bottom, colour, mix(colour, (120, 110, 110), 0.18), 8)
    pattern = int(pen.rng.integers(3))
    if pattern == 1:
        for left in range(0, IMAGE_SIZE, 12):
            pen.rect(left, 0, 5, bottom, (255, 255, 255, 46))
    elif pattern == 2:
        for left in range(0, IMAGE_SIZE, 14):
            pen.rect(left, 0, 0.7, bottom, (90, 80, 80, 40))
        for top in range(0, round(bottom), 14):
            pen.rect(0, top, IMAGE_SIZE, 0.7, (90, 80, 80, 40))


def _tabletop(pen: Backdrop, back: float, wood: RGB) -> None:
    """A table from the wall to the viewer, with planks that run away from him."""
    pen.band(back, IMAGE_SIZE, mix(wood, CHALK, 0.22), wood, 10)
    for left in range(-60, 220, 28):
        pen.polygon(
            [(72 + (left - 72) * 0.72, back), (72 + (left - 72) * 0.72 + 0.7, back), (left + 1.1, 144), (left, 144)],
            mix(wood, INK, 0.22),
        )
    pen.rect(0, back - 0.6, IMAGE_SIZE, 1.6, mix(wood, INK, 0.4))


def _shelf(pen: Backdrop, x: float, y: float, width: float) -> None:
    """A shelf with jars."""
    left = x + 2.0
    while left < x + width - 6:
        height, jar = pen.between(5, 9), pen.any_of((196, 170, 130), (150, 170, 160), (206, 190, 180), (170, 150, 150))
        pen.rect(left, y - height, 5, height, jar, 1)
        pen.rect(left + 0.6, y - height - 1.4, 3.8, 1.6, mix(jar, INK, 0.4))
        left += pen.between(6.5, 9)
    pen.rect(x, y, width, 2.4, (150, 112, 76))
    pen.rect(x, y + 2.2, width, 1, (0, 0, 0, 40))


def _kitchen(pen: Backdrop) -> None:
    _wall(pen, 90)
    side = mirrored(pen.scene)
    _window(pen, 14 if side else 84, 14, 44, 46)
    _shelf(pen, 84 if side else 14, 62, 46)
    _tabletop(pen, 88, pen.any_of((188, 142, 96), (160, 116, 76), (206, 178, 140)))


def _study(pen: Backdrop) -> None:
    _wall(pen, 92)
    left = 86.0 if mirrored(pen.scene) else 8.0
    pen.rect(left, 52, 50, 38, (128, 90, 60))
    for shelf in (54, 72):
        pen.rect(left + 2, shelf, 46, 16, (92, 64, 44))
        x = left + 3
        while x < left + 44:
            width, height = pen.between(2.4, 4.4), pen.between(10, 14.5)
            pen.rect(
                x,
                shelf + 16 - height,
                width,
                height,
                pen.any_of((150, 80, 70), (80, 104, 130), (196, 176, 130), (100, 120, 90), (110, 80, 110)),
            )
            x += width + 0.3
    _window(pen, 90 if left < 40 else 16, 12, 38, 48)
    _tabletop(pen, 90, pen.any_of((132, 92, 62), (172, 128, 86), (108, 78, 58)))


def _living_room(pen: Backdrop) -> None:
    _wall(pen, 96)
    side = mirrored(pen.scene)
    _window(pen, 12 if side else 92, 16, 40, 44)
    frame = 92.0 if side else 22.0
    pen.rect(frame, 20, 30, 22, (120, 84, 54))
    pen.rect(frame + 2, 22, 26, 18, (186, 206, 214))
    pen.polygon(
        [(frame + 2, 40), (frame + 12, 28), (frame + 18, 34), (frame + 23, 30), (frame + 28, 40)], (112, 134, 118)
    )
    floor = pen.any_of((186, 144, 100), (150, 110, 78), (196, 172, 144))
    pen.band(96, IMAGE_SIZE, mix(floor, INK, 0.12), floor, 8)
    for y in (101, 108, 117, 129):
        pen.rect(0, y, IMAGE_SIZE, 0.7, mix(floor, INK, 0.2))
    pen.rect(0, 93.5, IMAGE_SIZE, 3, (238, 234, 226))
    rug = pen.any_of((176, 84, 76), (84, 112, 150), (120, 140, 110), (200, 176, 130))
    pen.oval(72, 124, 60, 15, rug)
    pen.oval(72, 124, 53, 12.4, mix(rug, CHALK, 0.3))
    pen.oval(72, 124, 49, 11, rug)


BACKDROPS: dict[str, Callable[[Backdrop], None]] = {
    "kitchen": _kitchen,
    "study": _study,
    "living room": _living_room,
    "street": _street,
    "park": _park,
    "meadow": _meadow,
    "beach": _beach,
    "sea": _sea,
}


def backdrop(scene: Scene) -> list[tuple[np.ndarray, Fill]]:
    """Polygons of a scene's place, float (n, 2) in pixels, in the colours of its light and weather."""
    pen = Backdrop(scene)
    BACKDROPS[scene.place](pen)
    return [(shape.points, pen.tone(shape.fill, depth)) for shape, depth in zip(pen.shapes, pen.depths, strict=True)]
