"""Drawings, places and pictures of the world."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from prefgen.evaluate.scenes.drawings import sketch
from prefgen.evaluate.scenes.pen import PAINTERS, Pen
from prefgen.evaluate.scenes.render import identities, jpeg, photo, render
from prefgen.evaluate.scenes.sample import UNBIASED, sample_scene
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, KINDS, LIGHTS, PLACES, WEATHERS, Instance, Relation, Scene, Thing

EVERY = [(kind, action, n) for (kind, action), painters in PAINTERS.items() for n in range(len(painters))]
BOX = (40.0, 30.0, 100.0, 90.0)


def drawn(kind: str, action: str | None, drawing: int, colour: str) -> np.ndarray:
    """The polygons of a drawing on a magenta square, which no drawing has in it."""
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (255, 0, 255))
    canvas = ImageDraw.Draw(image, "RGBA")
    for points, fill in sketch(kind, action, drawing, colour).at(BOX):
        canvas.polygon(points.tolist(), fill=fill)
    return np.asarray(image).astype(int)


def alone(kind: str, **changes: object) -> Scene:
    """A scene with one thing on the grass of a park by day."""
    action = KINDS[kind].actions[0] if KINDS[kind].actions else None
    thing = Thing(kind, KINDS[kind].colours[0], "grass", 0.2, (Instance((50, 60, 90, 120), 1.0, 0, False),), action)
    return replace(Scene(1, 2, "park", "day", "clear", (thing,)), **changes)  # type: ignore[arg-type]


def test_every_kind_is_drawn_in_everything_that_it_does() -> None:
    wanted = {(kind.name, action) for kind in KINDS.values() for action in kind.actions or (None,)}
    assert set(PAINTERS) == wanted | {("person", "holding")}


@pytest.mark.parametrize(("kind", "action", "drawing"), EVERY)
def test_a_drawing_fills_its_box_and_nothing_else(kind: str, action: str | None, drawing: int) -> None:
    for colour in KINDS[kind].colours:
        touched = (drawn(kind, action, drawing, colour) != (255, 0, 255)).any(axis=2)
        rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
        found = (columns[0], rows[0], columns[-1], rows[-1])
        assert np.abs(np.subtract(found, BOX)).max() <= 1.5
        assert touched.sum() > 0.12 * 60 * 60


def test_kinds_and_colours_look_different() -> None:
    pictures = {kind: drawn(kind, (KINDS[kind].actions or (None,))[0], 0, KINDS[kind].colours[0]) for kind in KINDS}
    for first, second in combinations(KINDS, 2):
        assert np.abs(pictures[first] - pictures[second]).mean() > 3, (first, second)
    for kind, action, number in EVERY:
        hues = [drawn(kind, action, number, colour) for colour in KINDS[kind].colours]
        for one, other in combinations(hues, 2):
            inside = (one != (255, 0, 255)).any(axis=2)
            assert np.abs(one - other)[inside].mean() > 3, (kind, action, number)


def test_a_mirrored_drawing_is_the_mirror_image() -> None:
    running = sketch("dog", "running", 0, "brown")
    for (points, fill), (mirrored, other) in zip(running.at(BOX), running.at(BOX, flipped=True), strict=True):
        assert fill == other
        assert np.allclose(np.add(points[::2], mirrored[::2]), BOX[0] + BOX[2])
        assert np.allclose(points[1::2], mirrored[1::2])


def test_points_are_read_as_in_svg() -> None:
    pen = Pen("red")
    pen.polygon("0,10 20,10 20.0,50", pen.body)
    found = pen.sketch()
    assert found.aspect == pytest.approx(0.5)
    assert found.shapes[0].points.tolist() == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("place", PLACES)
def test_lights_and_weathers_change_a_place(place: str) -> None:
    weathers = ("clear",) if PLACES[place].indoors else WEATHERS
    scenes = [Scene(3, 4, place, light, weather, ()) for light in LIGHTS for weather in weathers]
    pictures = [np.asarray(render(scene)).astype(int) for scene in scenes]
    for first, second in combinations(pictures, 2):
        assert np.abs(first - second).mean() > 2
    brightness = {scene.light: picture.mean() for scene, picture in zip(scenes, pictures, strict=True)}
    assert brightness["day"] > brightness["dusk"] > brightness["night"]


def test_fog_hides_what_is_far() -> None:
    def contrast(weather: str, depth: float) -> float:
        scene = alone("dog", weather=weather)
        scene = replace(scene, things=(replace(scene.things[0], depth=depth),))
        with_dog, without = (np.asarray(render(s)).astype(int) for s in (scene, replace(scene, things=())))
        return float(np.abs(with_dog - without)[70:118, 52:88].mean())

    assert contrast("clear", 0.7) > 2 * contrast("fog", 0.7)
    assert contrast("fog", 0.1) > 1.5 * contrast("fog", 0.8)


def test_a_scene_has_one_picture() -> None:
    scene = sample_scene(UNBIASED, 5, 12)
    first = jpeg(scene)
    sketch.cache_clear()
    assert jpeg(sample_scene(UNBIASED, 5, 12)) == first
    assert jpeg(sample_scene(UNBIASED, 5, 13)) != first
    assert photo(scene).size == (IMAGE_SIZE, IMAGE_SIZE)
    assert render(scene, scale=2).size == (2 * IMAGE_SIZE, 2 * IMAGE_SIZE)


def test_what_is_shown_of_an_object_is_what_the_picture_shows_of_it() -> None:
    compared = 0
    for index in range(30):
        scene = replace(sample_scene(UNBIASED, 8, index), light="day", weather="clear")
        related = {thing.relation.other for thing in scene.things if thing.relation}
        empty, full = (np.asarray(render(replace(scene, things=things))).astype(int) for things in ((), scene.things))
        for thing in scene.things:
            changes = thing.relation is not None and thing.relation.word in ("held by", "in")  # what it is related to
            if thing.kind in related or changes or thing.count > 1 or thing.surface in ("water", "pond"):
                continue
            others = tuple(other for other in scene.things if other is not thing)
            single = replace(scene, things=(replace(thing, relation=None),))
            whole = (np.abs(np.asarray(render(single)) - empty) > 2).any(axis=2).sum()
            without = np.asarray(render(replace(scene, things=others))).astype(int)
            seen = (np.abs(full - without) > 2).any(axis=2).sum()
            assert seen / whole == pytest.approx(thing.instances[0].shown, abs=0.2), (index, thing)
            compared += 1
    assert compared > 25


def test_a_container_hides_the_lower_part_of_what_is_in_it() -> None:
    bowl = Thing("bowl", "blue", "table", 0.2, (Instance((50, 90, 94, 116), 1.0, 0, False),))
    apple = Thing(
        "apple", "red", "table", 0.2, (Instance((62, 74, 84, 98), 1.0, 0, False),), None, Relation("in", "bowl")
    )
    scene = Scene(1, 1, "kitchen", "day", "clear", (bowl, apple))
    picture = np.asarray(render(scene)).astype(int)
    red, blue = picture[80, 70], picture[97, 73]
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 30
    whole, seen = identities(scene)
    assert 0.6 < seen[1] / whole[1] < 0.95
