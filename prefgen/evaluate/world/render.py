"""Rendering of scenes with Pillow: polygons at four times the size, then reduced.

Perception is uncertain from natural causes only: what is small, far, half hidden, in the dusk, in fog or in rain.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from prefgen.evaluate.world.drawings import sketch
from prefgen.evaluate.world.pen import Sketch
from prefgen.evaluate.world.places import Tone, backdrop, tone
from prefgen.evaluate.world.truth import IMAGE_SIZE, RENDER_STREAM, Box, Instance, Relation, Scene, Thing

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
    zoom = SUPERSAMPLE * scale
    image = Image.new("RGB", (IMAGE_SIZE * zoom, IMAGE_SIZE * zoom))
    canvas = ImageDraw.Draw(image, "RGBA")
    colours = tone(scene)
    for points, fill in backdrop(scene):
        canvas.polygon((points * zoom).ravel().tolist(), fill=fill)
    for thing, instance, part in layers(scene):
        if part == "shadow":
            _shadow(canvas, thing, instance, zoom)
        elif part == "string":
            _string(canvas, scene, instance, zoom)
        else:
            drawing = _sketch(scene, thing, instance)
            left, top, right, bottom = (edge * zoom for edge in instance.box)
            box = (left, top, right, bottom)
            _paint(canvas, drawing, box, instance.flipped, colours, thing.depth, CONTOUR * zoom, part == "front")
            if thing.surface in AFLOAT and part == "whole":
                _ripples(canvas, colours, instance, zoom)
    _glow(canvas, scene, zoom)
    _weather(canvas, scene, zoom)
    return image.reduce(SUPERSAMPLE)


def layers(scene: Scene) -> Iterator[tuple[Thing, Instance, str]]:
    """What is painted, from the back to the front, with its part: shadow, string, whole, or a container's front."""
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
                own.polygon(points, fill=1)
            whole[numbers[id(instance)]] = alone.histogram()[1]
        for points, _ in shapes[: drawing.front] if part == "front" else shapes:
            pen.polygon(points, fill=1 + numbers[id(instance)])
    counts = canvas.histogram()
    return whole, counts[1 : 1 + len(numbers)]


def _sketch(scene: Scene, thing: Thing, instance: Instance) -> Sketch:
    """The drawing of an object; who holds something holds out a hand, whatever else he does."""
    holds = any(other.relation == Relation("held by", thing.kind) for other in scene.things)
    return sketch(thing.kind, "holding" if holds else thing.action, instance.drawing, thing.colour)


def _paint(
    canvas: ImageDraw.ImageDraw,
    drawing: Sketch,
    box: Box,
    flipped: bool,
    colours: Tone,
    depth: float,
    contour: float,
    front: bool,
) -> None:
    """Paint a drawing: its contour first, then its shapes."""
    shapes = drawing.at(box, flipped)
    if front:
        shapes = shapes[: drawing.front]
    else:
        outline = colours(drawing.contour, depth)
        width = max(1, round(contour * (1 - 0.4 * depth)))
        for points, fill in shapes:
            if len(fill) == 3:
                canvas.line(points + points[:2], fill=outline, width=width)
    for points, fill in shapes:
        canvas.polygon(points, fill=colours(fill, depth))


def _shadow(canvas: ImageDraw.ImageDraw, thing: Thing, instance: Instance, zoom: int) -> None:
    left, _, right, bottom = instance.box
    reach = (right - left) * (0.3 if thing.kind in ("tree", "traffic light", "lamp", "umbrella") else 0.5)
    middle, flat = (left + right) / 2, max(1.4, (right - left) * 0.055)
    for grow, alpha in ((1.1, 34), (0.92, 44)):
        canvas.ellipse(
            [
                (middle - reach * grow) * zoom,
                (bottom - flat * grow) * zoom,
                (middle + reach * grow) * zoom,
                (bottom + flat * grow) * zoom,
            ],
            fill=(8, 8, 30, alpha),
        )


def _ripples(canvas: ImageDraw.ImageDraw, colours: Tone, instance: Instance, zoom: int) -> None:
    left, _, right, bottom = instance.box
    width = right - left
    foam = (*colours((226, 240, 248), 0.0)[:3], 190)
    for shift, size, drop in ((0.0, 0.56, -1.2), (-0.1, 0.4, 0.8), (0.12, 0.3, 2.2)):
        middle = (left + right) / 2 + shift * width
        canvas.ellipse(
            [
                (middle - size * width) * zoom,
                (bottom + drop - 0.6) * zoom,
                (middle + size * width) * zoom,
                (bottom + drop + 0.6) * zoom,
            ],
            fill=foam,
        )


def _string(canvas: ImageDraw.ImageDraw, scene: Scene, kite: Instance, zoom: int) -> None:
    holder = next(thing for thing in scene.things if thing.kind == "person").instances[0]
    left, top, right, bottom = holder.box
    hand = (left if holder.flipped else right, top + (bottom - top) * 0.36)
    end = ((kite.box[0] + kite.box[2]) / 2, kite.box[1] + (kite.box[3] - kite.box[1]) * 0.3)
    canvas.line(
        [hand[0] * zoom, hand[1] * zoom, end[0] * zoom, end[1] * zoom],
        fill=(250, 250, 250, 200),
        width=max(1, zoom // 3),
    )


def _glow(canvas: ImageDraw.ImageDraw, scene: Scene, zoom: int) -> None:
    """Light around lamps in the dark."""
    if scene.light not in ("dusk", "night"):
        return
    for thing in scene.things:
        if thing.kind in ("lamp", "traffic light"):
            for instance in thing.instances:
                left, top, right, bottom = instance.box
                x, y = (left + right) / 2, top + (bottom - top) * 0.22
                hue = (255, 224, 140) if thing.kind == "lamp" else (255, 200, 160)
                for radius in (0.5, 0.34, 0.2):
                    r = radius * (bottom - top) * (1.3 if thing.kind == "lamp" else 0.6)
                    canvas.ellipse([(x - r) * zoom, (y - r) * zoom, (x + r) * zoom, (y + r) * zoom], fill=(*hue, 36))


def _weather(canvas: ImageDraw.ImageDraw, scene: Scene, zoom: int) -> None:
    """Rain, snow and fog in front of everything."""
    rng = np.random.default_rng([scene.seed, scene.index, RENDER_STREAM, 1])
    if scene.weather == "rain":
        for x, y, length in rng.random((70, 3)) * (IMAGE_SIZE + 10, IMAGE_SIZE, 5):
            canvas.line(
                [x * zoom, y * zoom, (x - 1.6) * zoom, (y + 4 + length) * zoom],
                fill=(225, 235, 245, 110),
                width=max(1, zoom // 6),
            )
    elif scene.weather == "snow":
        for x, y, size in rng.random((80, 3)) * (IMAGE_SIZE, IMAGE_SIZE, 0.8):
            r = 0.4 + size
            canvas.ellipse([(x - r) * zoom, (y - r) * zoom, (x + r) * zoom, (y + r) * zoom], fill=(250, 252, 255, 215))
    elif scene.weather == "fog":
        haze = tone(scene).haze
        for y in range(0, IMAGE_SIZE, 8):
            canvas.rectangle(
                [0, y * zoom, IMAGE_SIZE * zoom, (y + 8) * zoom], fill=(*haze, round(70 * (1 - abs(y - 66) / 150)))
            )
