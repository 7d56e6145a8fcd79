"""The vocabulary of the world, and the exact truth about one picture.

A scene has a place, a light, a weather and several *things*. A thing is one kind in one colour, once or several times;
no kind occurs in two things of a scene, so "what colour is the cup?" always has one answer.

Every draw about a scene comes from ``Scene.rng(stream)``: scene 17 is scene 17 whichever others are drawn, and its
picture does not change when a wording is added.
"""

from dataclasses import dataclass

import numpy as np

IMAGE_SIZE = 144  # pixels, both sides
WORLD_STREAM, RENDER_STREAM, TEXT_STREAM = 0, 1, 2

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey")
LIGHTS = ("day", "sunset", "dusk", "night")
WEATHERS = ("clear", "cloudy", "rain", "fog", "snow")  # indoors always clear
RELATIONS = ("on", "in", "under", "beside", "in front of", "behind", "held by")

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture


@dataclass(frozen=True)
class Kind:
    """A nameable thing.

    Attributes:
        name: Noun in the singular.
        plural: Noun in the plural.
        category: Word for all of its sort: "animal", "vehicle", "food" ...
        colours: Colours in which it is drawn, the typical one first. A person's is that of the clothes, a traffic
            light's that of the lit lamp.
        actions: Present participles of what it can be drawn doing; empty for a thing that does nothing.
    """

    name: str
    plural: str
    category: str
    colours: tuple[str, ...]
    actions: tuple[str, ...] = ()

    @property
    def article(self) -> str:
        """Indefinite article."""
        return "an" if self.name[0] in "aeiou" else "a"


def _kind(names: str, category: str, colours: str, actions: str = "") -> Kind:
    """A row of ``KINDS``: "singular, plural", then words separated by spaces."""
    name, plural = names.split(", ")
    return Kind(name, plural, category, tuple(colours.split()), tuple(actions.split()))


_ROWS = (
    _kind("person, people", "person", "blue red green yellow purple black", "standing walking waving sitting"),
    _kind("dog, dogs", "animal", "brown black white orange", "standing sitting running lying"),
    _kind("cat, cats", "animal", "orange black grey white", "sitting lying walking"),
    _kind("bird, birds", "animal", "white black blue red yellow", "flying standing"),
    _kind("horse, horses", "animal", "brown black white grey", "standing grazing running"),
    _kind("sheep, sheep", "animal", "white black brown", "standing grazing"),
    _kind("duck, ducks", "animal", "yellow brown white green", "swimming standing"),
    _kind("fish, fish", "animal", "orange blue grey yellow red"),
    _kind("car, cars", "vehicle", "red blue black white yellow green grey"),
    _kind("bus, buses", "vehicle", "yellow red blue green white"),
    _kind("bicycle, bicycles", "vehicle", "black red blue green yellow"),
    _kind("boat, boats", "vehicle", "white red blue green brown", "floating sailing"),
    _kind("airplane, airplanes", "vehicle", "white red blue yellow"),
    _kind("tree, trees", "plant", "green orange yellow red"),
    _kind("flower, flowers", "plant", "pink red yellow purple white blue"),
    _kind("bench, benches", "furniture", "brown green white grey"),
    _kind("umbrella, umbrellas", "object", "black red blue yellow green purple"),
    _kind("kite, kites", "toy", "red yellow blue green purple pink"),
    _kind("ball, balls", "toy", "red blue yellow green white orange"),
    _kind("traffic light, traffic lights", "object", "red green yellow"),
    _kind("bucket, buckets", "object", "blue red yellow green grey"),
    _kind("surfboard, surfboards", "toy", "white yellow blue red orange"),
    _kind("suitcase, suitcases", "object", "brown black red blue green"),
    _kind("chair, chairs", "furniture", "brown white black red green"),
    _kind("sofa, sofas", "furniture", "grey red blue green brown yellow"),
    _kind("lamp, lamps", "object", "yellow white red green blue"),
    _kind("clock, clocks", "object", "white black red brown"),
    _kind("television, televisions", "object", "black grey white"),
    _kind("vase, vases", "object", "blue white green red purple"),
    _kind("book, books", "object", "red blue green brown black purple"),
    _kind("laptop, laptops", "object", "grey black white pink"),
    _kind("cup, cups", "tableware", "white red blue green yellow"),
    _kind("spoon, spoons", "tableware", "grey brown yellow"),
    _kind("fork, forks", "tableware", "grey brown yellow"),
    _kind("bowl, bowls", "tableware", "blue white red green yellow"),
    _kind("bottle, bottles", "tableware", "green brown blue white"),
    _kind("teapot, teapots", "tableware", "white blue green red"),
    _kind("apple, apples", "food", "red green yellow"),
    _kind("banana, bananas", "food", "yellow green"),
    _kind("cake, cakes", "food", "pink brown white yellow"),
)
KINDS = {kind.name: kind for kind in _ROWS}
ACTIONS = tuple(sorted({action for kind in _ROWS for action in kind.actions}))


@dataclass(frozen=True)
class ScenePlace:
    """A place where scenes happen.

    Attributes:
        name: Noun: "kitchen".
        phrase: Where the scene is: "in a kitchen".
        surfaces: Keys of ``SURFACES`` that the place has, the main one first.
        indoors: Whether weather cannot be seen.
    """

    name: str
    phrase: str
    surfaces: tuple[str, ...]
    indoors: bool = False


_PLACES = (
    ScenePlace("kitchen", "in a kitchen", ("table", "wall"), indoors=True),
    ScenePlace("study", "in a study", ("desk", "wall"), indoors=True),
    ScenePlace("living room", "in a living room", ("floor", "wall"), indoors=True),
    ScenePlace("street", "on a street", ("pavement", "road", "sky")),
    ScenePlace("park", "in a park", ("grass", "pond", "sky")),
    ScenePlace("meadow", "in a meadow", ("grass", "sky")),
    ScenePlace("beach", "at the beach", ("sand", "water", "sky")),
    ScenePlace("sea", "on the sea", ("water", "sky")),
)
PLACES = {place.name: place for place in _PLACES}
SURFACES = {
    "table": "on the table",
    "desk": "on the desk",
    "wall": "on the wall",
    "floor": "on the floor",
    "pavement": "on the pavement",
    "road": "on the road",
    "grass": "on the grass",
    "pond": "in the pond",
    "sand": "on the sand",
    "water": "in the water",
    "sky": "in the sky",
}


@dataclass(frozen=True)
class Instance:
    """One object in the picture.

    Attributes:
        box: Tight box around its silhouette, hidden parts included, all of it within the picture.
        shown: Share of its silhouette that no nearer object covers, 0..1.
        drawing: Number of the drawing among those of its kind and action.
        flipped: Whether the drawing is mirrored.
    """

    box: Box
    shown: float
    drawing: int
    flipped: bool


@dataclass(frozen=True)
class Relation:
    """Relation of a thing to another: ``word`` of ``RELATIONS``, ``other`` the kind of the other thing."""

    word: str
    other: str


@dataclass(frozen=True)
class Thing:
    """One kind in one colour.

    Attributes:
        kind: Key of ``KINDS``.
        colour: One of the kind's colours.
        surface: One of the place's surfaces: on what it stands, or in what it is. A thing that is on, in or held by
            another has the surface of the other.
        depth: Distance, 0 (nearest) to 1 (horizon).
        instances: The objects, left to right.
        action: One of the kind's actions; None if it has none.
        relation: Relation to another thing of the scene, if there is one.
        clarity: Contrast that light, fog and distance leave, 0..1.
    """

    kind: str
    colour: str
    surface: str
    depth: float
    instances: tuple[Instance, ...]
    action: str | None = None
    relation: Relation | None = None
    clarity: float = 1.0

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.instances)

    @property
    def visibility(self) -> float:
        """Visibility of the object that is seen best, 0..1: its uncovered share times the contrast left."""
        return self.clarity * max(instance.shown for instance in self.instances)


@dataclass(frozen=True)
class Scene:
    """The truth about one picture; things from the farthest to the nearest."""

    seed: int
    index: int
    place: str
    light: str
    weather: str
    things: tuple[Thing, ...]

    @property
    def kinds(self) -> frozenset[str]:
        """Every kind that is somewhere in the scene."""
        return frozenset(thing.kind for thing in self.things)

    def rng(self, stream: int) -> np.random.Generator:
        """The scene's own generator for one purpose (``RENDER_STREAM``, ``TEXT_STREAM``)."""
        return np.random.default_rng([self.seed, self.index, stream])
