"""Rendering of scenes with Pillow: polygons at four times the size, then reduced.

Perception is uncertain from natural causes only: what is small, far, half hidden, in the dusk, in fog or in rain.
"""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from prefgen.evaluate.scenes.drawings import sketch
from prefgen.evaluate.scenes.pen import Fill, Sketch
from prefgen.evaluate.scenes.places import Tone, backdrop, tone
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, RENDER_STREAM, Instance, Relation, Scene, Thing

SUPERSAMPLE = 4
CONTOUR = 1.1  # pixels
JPEG_QUALITY = 92
AFLOAT = ("water", "pond")


def photo(scene: Scene, scale: int = 1) -> Image.Image:
    """The picture as a reader of the data set gets it: drawn, encoded as JPEG, decoded. RGB, 144*scale square."""
    return Image.open(io.BytesIO(jpeg(scene, scale))).convert("RGB")


def jpeg(scene: Scene, scale: int = 1) -> bytes:
    """The picture's JPEG file."""
    buffer = io.BytesIO()
    render(scene, scale).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def render(scene: Scene, scale: int = 1) -> Image.Image:
    """The picture before JPEG, RGB, 144*scale square, determined by the scene."""
    canvas = _Canvas(scale)
    colours = tone(scene)
    for points, fill in backdrop(scene):
        canvas.polygon(points.ravel(), fill)
    for thing, instance, part in layers(scene):
        if part == "shadow":
            _shadow(canvas, thing, instance)
        elif part == "string":
            _string(canvas, scene, instance)
        else:
            _paint(canvas, _sketch(scene, thing, instance), instance, colours, thing.depth, part == "front")
            if thing.surface in AFLOAT and part == "whole":
                _ripples(canvas, colours, instance)
    _glow(canvas, scene)
    _weather(canvas, scene)
    return canvas.image.reduce(SUPERSAMPLE)


class _Canvas:
    """A picture at several times its size, painted on in pixels of the finished one."""

    def __init__(self, scale: int) -> None:
        self.zoom = SUPERSAMPLE * scale
        self.image = Image.new("RGB", (IMAGE_SIZE * self.zoom, IMAGE_SIZE * self.zoom))
        self._solid = ImageDraw.Draw(self.image)
        self._glaze = ImageDraw.Draw(self.image, "RGBA")

    def polygon(self, points: np.ndarray, fill: Fill) -> None:
        """Fill a polygon of flat coordinates; only a translucent one is blended, which is slower."""
        blended = len(fill) == 4 and fill[3] < 255
        (self._glaze if blended else self._solid).polygon((points * self.zoom).tolist(), fill=fill)

    def line(self, points: Sequence[float] | np.ndarray, width: float, fill: Fill) -> None:
        """Draw straight segments between flat coordinates."""
        pen = self._glaze if len(fill) == 4 else self._solid
        pen.line((np.asarray(points) * self.zoom).tolist(), fill=fill, width=max(1, round(width * self.zoom)))

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Fill) -> None:
        """Blend an upright ellipse in."""
        edges = np.array([x - rx, y - ry, x + rx, y + ry]) * self.zoom
        self._glaze.ellipse(edges.tolist(), fill=fill)

    def veil(self, top: float, bottom: float, fill: Fill) -> None:
        """Blend a strip of the whole width in."""
        self._glaze.rectangle([0, top * self.zoom, IMAGE_SIZE * self.zoom, bottom * self.zoom], fill=fill)


def layers(scene: Scene) -> Iterator[tuple[Thing, Instance, str]]:
    """Painting order, from back to front, with the part to paint: shadow, string, whole, or a container's front."""
    contained = {thing.relation.other for thing in scene.things if thing.relation and thing.relation.word == "in"}
    waiting: list[tuple[Thing, Instance, str]] = []
    for thing in scene.things:
        inside = thing.relation is not None and thing.relation.word in ("in", "on", "held by")
        if waiting and not inside:
            yield from waiting
            waiting = []
        if thing.kind == "kite" and thing.relation is not None:
            yield thing, thing.instances[0], "string"
        for instance in thing.instances:
            if thing.surface not in ("sky", "wall", *AFLOAT) and not inside:
                yield thing, instance, "shadow"
            yield thing, instance, "whole"
            if thing.kind in contained:
                waiting.append((thing, instance, "front"))
    yield from waiting


def identities(scene: Scene) -> tuple[list[int], list[int]]:
    """Pixels of every object, in the order of things and their objects: of its whole silhouette, and uncovered."""
    whole, seen = silhouettes(scene)
    return whole, seen.histogram()[1 : 1 + len(whole)]


def silhouettes(scene: Scene) -> tuple[list[int], Image.Image]:
    """Pixels of every object's whole silhouette, and the object seen at each pixel: 1 + its number, 0 for none."""
    canvas = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE))
    pen = ImageDraw.Draw(canvas)
    numbers = {id(instance): n for n, instance in enumerate(i for thing in scene.things for i in thing.instances)}
    whole = [0] * len(numbers)
    for thing, instance, part in layers(scene):
        if part in ("shadow", "string"):
            continue
        drawing = _sketch(scene, thing, instance)
        shapes = drawing.at(instance.box, instance.flipped)
        if part == "whole":
            alone = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE))
            own = ImageDraw.Draw(alone)
            for points, _ in shapes:
                own.polygon(points.tolist(), fill=1)
            whole[numbers[id(instance)]] = alone.histogram()[1]
        for points, _ in shapes[: drawing.front] if part == "front" else shapes:
            pen.polygon(points.tolist(), fill=1 + numbers[id(instance)])
    return whole, canvas


def _sketch(scene: Scene, thing: Thing, instance: Instance) -> Sketch:
    """The drawing of an object; who holds something holds out a hand, whatever else he does."""
    holds = any(other.relation == Relation("held by", thing.kind) for other in scene.things)
    return sketch(thing.kind, "holding" if holds else thing.action, instance.drawing, thing.colour)


def _paint(canvas: _Canvas, drawing: Sketch, instance: Instance, colours: Tone, depth: float, front: bool) -> None:
    """Paint a drawing: its contour first, then its shapes; or only what hides the contents of a container."""
    shapes = drawing.at(instance.box, instance.flipped)
    if front:
        shapes = shapes[: drawing.front]
    else:
        outline = colours(drawing.contour, depth)
        for points, fill in shapes:
            if len(fill) == 3:
                canvas.line(np.append(points, points[:2]), CONTOUR * (1 - 0.4 * depth), outline)
    for points, fill in shapes:
        canvas.polygon(points, colours(fill, depth))


def _shadow(canvas: _Canvas, thing: Thing, instance: Instance) -> None:
    left, _, right, bottom = instance.box
    reach = (right - left) * (0.3 if thing.kind in ("tree", "traffic light", "lamp", "umbrella") else 0.5)
    flat = max(1.4, (right - left) * 0.055)
    for grow, alpha in ((1.1, 34), (0.92, 44)):
        canvas.oval((left + right) / 2, bottom, reach * grow, flat * grow, (8, 8, 30, alpha))


def _ripples(canvas: _Canvas, colours: Tone, instance: Instance) -> None:
    left, _, right, bottom = instance.box
    width = right - left
    foam = (*colours((226, 240, 248), 0.0)[:3], 190)
    for shift, size, drop in ((0.0, 0.56, -1.2), (-0.1, 0.4, 0.8), (0.12, 0.3, 2.2)):
        canvas.oval((left + right) / 2 + shift * width, bottom + drop, size * width, 0.6, foam)


def _string(canvas: _Canvas, scene: Scene, kite: Instance) -> None:
    """The string from a kite to the hand that holds it."""
    holder = next(thing for thing in scene.things if thing.kind == "person").instances[0]
    left, top, right, bottom = holder.box
    hand = (left if holder.flipped else right, top + (bottom - top) * 0.36)
    end = ((kite.box[0] + kite.box[2]) / 2, kite.box[1] + (kite.box[3] - kite.box[1]) * 0.3)
    canvas.line([*hand, *end], 0.3, (250, 250, 250, 200))


def _glow(canvas: _Canvas, scene: Scene) -> None:
    """Light around lamps in the dark."""
    if scene.light not in ("dusk", "night"):
        return
    for thing in scene.things:
        if thing.kind in ("lamp", "traffic light"):
            hue, spread = ((255, 224, 140), 1.3) if thing.kind == "lamp" else ((255, 200, 160), 0.6)
            for instance in thing.instances:
                left, top, right, bottom = instance.box
                for share in (0.5, 0.34, 0.2):
                    radius = share * spread * (bottom - top)
                    canvas.oval((left + right) / 2, top + (bottom - top) * 0.22, radius, radius, (*hue, 36))


def _weather(canvas: _Canvas, scene: Scene) -> None:
    """Rain, snow and fog in front of everything."""
    rng = np.random.default_rng([scene.seed, scene.index, RENDER_STREAM, 1])
    if scene.weather == "rain":
        for x, y, length in rng.random((70, 3)) * (IMAGE_SIZE + 10, IMAGE_SIZE, 5):
            canvas.line([x, y, x - 1.6, y + 4 + length], 0.17, (225, 235, 245, 110))
    elif scene.weather == "snow":
        for x, y, size in rng.random((80, 3)) * (IMAGE_SIZE, IMAGE_SIZE, 0.8):
            canvas.oval(x, y, 0.4 + size, 0.4 + size, (250, 252, 255, 215))
    elif scene.weather == "fog":
        haze = tone(scene).haze
        for top in range(0, IMAGE_SIZE, 8):
            canvas.veil(top, top + 8, (*haze, round(70 * (1 - abs(top - 66) / 150))))
