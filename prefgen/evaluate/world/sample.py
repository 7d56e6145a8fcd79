"""The distribution of scenes: what goes together in a picture, and where it is in it.

The bias is data: ``SIZES`` says what can be where, ``USUAL`` what is usual there, ``BONDS`` what comes with what and in
which relation, ``TYPICAL_COUNT`` how many there usually are; the typical colour of a kind is the first of its colours.
``TRAINING`` follows all of it; ``UNBIASED`` draws evenly among what can be in a place, which is what lets an evaluation
tell seeing from guessing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np

from prefgen.evaluate.world.drawings import sketch
from prefgen.evaluate.world.places import GEOMETRY, NEAREST, free_wall, tone
from prefgen.evaluate.world.render import identities
from prefgen.evaluate.world.truth import (
    IMAGE_SIZE,
    KINDS,
    PLACES,
    WORLD_STREAM,
    Box,
    Instance,
    Relation,
    Scene,
    Thing,
)

Option = TypeVar("Option")

# Longest side in pixels of what is nearest: on a table, in a room, outdoors. 0: it is not to be found there.
SIZES: dict[str, tuple[int, int, int]] = {
    "person": (0, 76, 70),
    "dog": (0, 46, 44),
    "cat": (46, 36, 32),
    "bird": (0, 0, 27),
    "horse": (0, 0, 66),
    "sheep": (0, 0, 48),
    "duck": (0, 0, 30),
    "fish": (0, 0, 36),
    "car": (0, 0, 74),
    "bus": (0, 0, 90),
    "bicycle": (0, 0, 56),
    "boat": (0, 0, 66),
    "airplane": (0, 0, 52),
    "tree": (0, 0, 92),
    "flower": (34, 30, 24),
    "bench": (0, 0, 60),
    "umbrella": (0, 0, 76),
    "kite": (0, 0, 38),
    "ball": (24, 24, 22),
    "traffic light": (0, 0, 66),
    "bucket": (0, 28, 28),
    "surfboard": (0, 0, 58),
    "suitcase": (0, 34, 32),
    "chair": (0, 54, 46),
    "sofa": (0, 84, 0),
    "lamp": (54, 76, 0),
    "clock": (32, 32, 0),
    "television": (0, 56, 0),
    "vase": (40, 34, 0),
    "book": (40, 26, 22),
    "laptop": (54, 34, 0),
    "cup": (34, 0, 0),
    "spoon": (40, 0, 0),
    "fork": (40, 0, 0),
    "bowl": (44, 0, 0),
    "bottle": (54, 0, 26),
    "teapot": (44, 0, 0),
    "apple": (26, 0, 0),
    "banana": (36, 0, 0),
    "cake": (48, 0, 0),
}
SIZE_CLASS = {"kitchen": 0, "study": 0, "living room": 1}  # outdoors: 2

GROUND = ("table", "desk", "floor", "grass", "sand", "pavement")
# Where a kind stands; a kind and action that are not here stand on GROUND.
HABITATS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("bird", "flying"): ("sky",),
    ("duck", "swimming"): ("pond", "water"),
    ("duck", "standing"): ("grass", "sand"),
    ("fish", None): ("pond", "water"),
    ("boat", "floating"): ("water", "pond"),
    ("boat", "sailing"): ("water", "pond"),
    ("car", None): ("road",),
    ("bus", None): ("road",),
    ("bicycle", None): ("pavement", "grass", "sand", "road"),
    ("airplane", None): ("sky",),
    ("kite", None): ("sky",),
    ("surfboard", None): ("sand",),
    ("umbrella", None): ("sand", "grass", "pavement"),
    ("horse", "standing"): ("grass", "sand"),
    ("horse", "grazing"): ("grass",),
    ("horse", "running"): ("grass", "sand"),
    ("sheep", "standing"): ("grass",),
    ("sheep", "grazing"): ("grass",),
}
# Of several drawings, those that suit a surface; all suit the others.
DRAWINGS_ON = {
    ("clock", "wall"): (0,),
    ("clock", "table"): (1,),
    ("clock", "desk"): (1,),
    ("clock", "floor"): (1,),
    ("lamp", "floor"): (2,),
    ("lamp", "table"): (0, 1),
    ("lamp", "desk"): (0, 1),
    ("spoon", "table"): (0, 1),
    ("spoon", "desk"): (0, 1),
    ("spoon", "inside"): (2,),
    ("fork", "table"): (0, 1),
    ("fork", "desk"): (0, 1),
    ("fork", "inside"): (2,),
    ("umbrella", "held"): (0,),
    ("umbrella", "sand"): (1,),
    ("umbrella", "grass"): (1,),
    ("umbrella", "pavement"): (1,),
}

# Kinds that are usual in a place with their weights; every other kind that can be there shares the rest.
USUAL: dict[str, dict[str, int]] = {
    "kitchen": {
        "cup": 5, "bowl": 5, "cake": 3, "teapot": 3, "bottle": 3, "banana": 3,
        "spoon": 2, "fork": 2, "apple": 2, "vase": 2,
    },
    "study": {"laptop": 5, "book": 5, "lamp": 3, "cup": 4, "clock": 3, "vase": 2},
    "living room": {"sofa": 5, "television": 4, "lamp": 3, "chair": 4, "cat": 3, "book": 2, "clock": 3, "person": 2},
    "street": {"car": 6, "bus": 4, "bicycle": 3, "person": 5, "traffic light": 3, "suitcase": 2, "tree": 2},
    "park": {"dog": 5, "bench": 5, "tree": 5, "person": 4, "duck": 3, "kite": 2, "bird": 2, "ball": 2, "flower": 2},
    "meadow": {"horse": 6, "sheep": 6, "tree": 3, "flower": 4, "bird": 2, "kite": 1},
    "beach": {"umbrella": 4, "surfboard": 4, "bucket": 4, "ball": 3, "person": 4, "boat": 3, "bird": 3, "dog": 1},
    "sea": {"boat": 8, "bird": 4, "fish": 5, "airplane": 2, "duck": 1},
}  # fmt: skip
UNUSUAL_SHARE = 0.06  # of the draws, for the kinds that are possible but not usual
PLACE_WEIGHTS = {
    "kitchen": 18,
    "study": 12,
    "living room": 14,
    "street": 15,
    "park": 15,
    "meadow": 9,
    "beach": 11,
    "sea": 6,
}
LIGHT_WEIGHTS = {"day": 0.58, "sunset": 0.14, "dusk": 0.16, "night": 0.12}
WEATHER_WEIGHTS = {"clear": 0.48, "cloudy": 0.2, "rain": 0.14, "fog": 0.1, "snow": 0.08}
WARM_PLACES = ("beach", "sea")  # no snow
TYPICAL_COUNT = {"apple": 3, "sheep": 3, "flower": 3, "bird": 2, "duck": 2, "book": 2, "fish": 2, "tree": 2}  # else 1
SINGLES = (
    "sofa",
    "television",
    "bus",
    "laptop",
    "cake",
    "bench",
    "airplane",
    "umbrella",
    "kite",
    "lamp",
    "bowl",
    "vase",
)


@dataclass(frozen=True)
class Bond:
    """Two kinds that go together: the first stands in a relation to the second.

    Attributes:
        first: Kind that has the relation.
        words: Relations, one of which is drawn; none if the two only come together.
        second: Kind that it has the relation to.
        places: Where; empty for wherever both can be.
        both: Whether the second brings the first along too.
    """

    first: str
    words: tuple[str, ...]
    second: str
    places: tuple[str, ...] = ()
    both: bool = True


BONDS = (
    Bond("spoon", ("in", "beside"), "cup"),
    Bond("apple", ("in",), "bowl", ("kitchen",)),
    Bond("fork", ("beside",), "cake"),
    Bond("teapot", ("beside",), "bottle", ("kitchen",)),
    Bond("banana", ("in",), "bowl", ("kitchen",), both=False),
    Bond("flower", ("in",), "vase"),
    Bond("lamp", ("beside",), "book", ("study",)),
    Bond("laptop", ("beside",), "clock", ("study",)),
    Bond("cat", ("on",), "sofa"),
    Bond("television", ("beside",), "lamp", ("living room",)),
    Bond("book", ("on",), "chair", ("living room",)),
    Bond("umbrella", ("held by",), "person", ("street",)),
    Bond("kite", ("held by",), "person", ("park", "meadow")),
    Bond("person", ("beside",), "surfboard", ("beach",)),
    Bond("traffic light", (), "car", ("street",)),
    Bond("suitcase", (), "bus", ("street",)),
    Bond("bicycle", ("beside",), "tree", ("street",)),
    Bond("ball", ("beside",), "dog"),
    Bond("bench", ("under",), "tree", ("park",)),
    Bond("duck", ("beside",), "boat", ("park",)),
    Bond("dog", ("beside",), "sheep", ("meadow",)),
    Bond("flower", ("beside",), "horse", ("meadow",)),
    Bond("ball", ("beside",), "bucket", ("beach",)),
    Bond("chair", ("under",), "umbrella", ("beach",)),
    Bond("bird", (), "boat", ("sea", "beach")),
    Bond("fish", ("beside",), "duck", ("sea",)),
)
# Relations that a kind may have to another where both are there and neither has one: word, second kind, first kinds.
CHANCE_RELATIONS = (
    ("on", "sofa", ("cat", "dog", "person")),
    ("on", "chair", ("cat", "person", "book")),
    ("on", "bench", ("person", "cat", "bird", "book")),
    ("on", "car", ("cat",)),
    ("in", "bowl", ("apple", "banana", "spoon")),
    ("in", "cup", ("spoon", "fork", "flower")),
    ("in", "vase", ("flower",)),
    ("in", "bucket", ("flower", "ball")),
    ("under", "chair", ("ball", "cat")),
    ("under", "bench", ("dog", "ball", "suitcase")),
    ("under", "tree", ("dog", "person", "sheep", "horse", "chair", "bicycle")),
    ("under", "umbrella", ("person", "dog", "chair")),
    ("held by", "person", ("umbrella", "kite", "ball", "flower", "book")),
)
CHANCE = 0.5  # that such a relation is taken
SEAT = {"sofa": 0.66, "bench": 0.6, "chair": 0.58, "car": 0.06}  # share of the height at which one sits on it
HAND = (0.93, 0.36)  # of a person who holds something, in the unit square


@dataclass(frozen=True)
class World:
    """Probabilities of a world. The defaults are those of the biased worlds."""

    usual: bool = True  # places, kinds and counts by the tables above; else evenly
    partner_probability: float = 0.92
    typical_colour_probability: float = 0.7  # otherwise evenly
    typical_count_probability: float = 0.75  # otherwise 1 to 3 evenly
    seed_weights: tuple[float, ...] = (0.35, 0.40, 0.25)  # of 1, 2, ... kinds before their partners are added
    unbiased_share: float = 0.0  # of scenes that come from UNBIASED instead


UNBIASED = World(
    usual=False,
    partner_probability=0.25,
    typical_colour_probability=0.0,
    typical_count_probability=0.5,
    seed_weights=(0.2, 0.35, 0.30, 0.15),
)
TRAINING = World(unbiased_share=0.2)


def possible_kinds(place: str) -> tuple[str, ...]:
    """Kinds that can be in a place."""
    return tuple(kind for kind in KINDS if SIZES[kind][SIZE_CLASS.get(place, 2)] and _stances(kind, place))


def partner(kind: str, place: str) -> tuple[str, ...]:
    """Kinds that come along with a kind in a place."""
    return tuple(dict.fromkeys(other for _, other in _bonds(kind, place)))


def _bonds(kind: str, place: str) -> list[tuple[Bond, str]]:
    """The bonds that a kind has in a place, with the kind that it brings along."""
    possible = possible_kinds(place)
    found = []
    for bond in BONDS:
        if (not bond.places or place in bond.places) and bond.first in possible and bond.second in possible:
            if kind == bond.first:
                found.append((bond, bond.second))
            elif kind == bond.second and bond.both:
                found.append((bond, bond.first))
    return found


def _stances(kind: str, place: str) -> list[tuple[str | None, str]]:
    """Actions of a kind with the surfaces of the place where it can be doing that."""
    surfaces = GEOMETRY[place].bands
    found: list[tuple[str | None, str]] = []
    for action in KINDS[kind].actions or (None,):
        habitat = HABITATS.get((kind, action), GROUND)
        found += [(action, surface) for surface in habitat if surface in surfaces]
    if kind == "clock" and "wall" in surfaces:
        found += [(None, "wall")]
    return found


@dataclass
class _Draft:
    """A thing before it has its boxes."""

    kind: str
    colour: str
    count: int
    relation: Relation | None = None


def sample_scene(world: World, seed: int, index: int) -> Scene:
    """Draw scene ``index`` of the endless series ``seed``."""
    rng = np.random.default_rng([seed, index, WORLD_STREAM])
    if world.unbiased_share and rng.random() < world.unbiased_share:
        world = UNBIASED
    place = _weighted(rng, PLACE_WEIGHTS) if world.usual else _one(rng, tuple(PLACES))
    light = _weighted(rng, LIGHT_WEIGHTS)
    weather = "clear" if PLACES[place].indoors else _weighted(rng, WEATHER_WEIGHTS)
    if (weather == "snow" and place in WARM_PLACES) or (light == "sunset" and weather != "cloudy"):
        weather = "clear"
    scene = Scene(seed, index, place, light, weather, ())
    drafts = _drafts(world, scene, rng)
    return _with_visibility(_Layout(scene, rng).things(drafts), scene)


def _drafts(world: World, scene: Scene, rng: np.random.Generator) -> list[_Draft]:
    """Kinds, colours, counts and relations."""
    weights = _kind_weights(world, scene.place)
    relations: dict[str, Relation | None] = {}
    for _ in range(1 + _pick(rng, world.seed_weights)):
        kind = _weighted(rng, {kind: weight for kind, weight in weights.items() if kind not in relations})
        relations[kind] = None
        bonds = [(bond, other) for bond, other in _bonds(kind, scene.place) if other not in relations]
        if bonds and rng.random() < world.partner_probability:
            bond, other = bonds[_pick(rng, [1.0] * len(bonds))]
            relations.setdefault(other, None)
            if bond.words:
                relations[bond.first] = Relation(_one(rng, bond.words), bond.second)
    for kind in relations:
        if relations[kind] is None and rng.random() < CHANCE:
            relations[kind] = _chance_relation(kind, relations, rng)
    drafts = []
    for kind, relation in relations.items():
        typical = rng.random() < world.typical_colour_probability
        colour = KINDS[kind].colours[0] if typical else _one(rng, KINDS[kind].colours)
        count = int(rng.integers(1, 4))
        if rng.random() < world.typical_count_probability:
            count = TYPICAL_COUNT.get(kind, 1) if world.usual else 1
        related = {other.other for other in relations.values() if other}
        if kind in SINGLES or (relation and relation.word in ("on", "held by")) or kind in related or kind == "spoon":
            count = 1
        drafts.append(_Draft(kind, colour, count, relation))
    return drafts


def _kind_weights(world: World, place: str) -> dict[str, float]:
    possible = possible_kinds(place)
    if not world.usual:
        return dict.fromkeys(possible, 1.0)
    usual = {kind: weight for kind, weight in USUAL[place].items() if kind in possible}
    unusual = [kind for kind in possible if kind not in usual]
    share = UNUSUAL_SHARE * sum(usual.values()) / (1 - UNUSUAL_SHARE) / max(len(unusual), 1)
    return usual | dict.fromkeys(unusual, share)


def _chance_relation(kind: str, relations: dict[str, Relation | None], rng: np.random.Generator) -> Relation | None:
    taken = {relation.other for relation in relations.values() if relation}
    options = [
        Relation(word, other)
        for word, other, kinds in CHANCE_RELATIONS
        if kind in kinds and kind not in taken and other not in taken and relations.get(other, kind) is None
    ]
    return options[_pick(rng, [1.0] * len(options))] if options else None


class _Layout:
    """Placing of things: what has a relation after what it relates to, the others where there is room."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        self.rng = rng
        self.geometry = GEOMETRY[scene.place]
        self.size_class = SIZE_CLASS.get(scene.place, 2)
        self.placed: dict[str, Thing] = {}
        self.held: dict[str, str] = {}  # person: what is held

    def things(self, drafts: list[_Draft]) -> list[Thing]:
        """Things with boxes, from the farthest to the nearest; what is in or on another follows it."""
        waiting = list(drafts)
        while waiting:
            draft = next(d for d in waiting if d.relation is None or d.relation.other in self.placed)
            waiting.remove(draft)
            relation = draft.relation
            if relation is None:
                holder = any(d.relation == Relation("held by", draft.kind) for d in drafts)
                self.placed[draft.kind] = self._free(draft, "standing" if holder else None, holder)
            else:
                self.placed[draft.kind] = self._related(draft, self.placed[relation.other])
        return _with_overlaps(_ordered(list(self.placed.values())))

    def _free(self, draft: _Draft, action: str | None = None, holding: bool = False) -> Thing:
        """A thing anywhere where it can stand."""
        stances = [s for s in _stances(draft.kind, self.scene.place) if (action is None or s[0] == action)]
        if draft.kind == "person" and action is None:
            stances = [s for s in stances if s[0] != "sitting"]  # sits only on something
        action, surface = stances[_pick(self.rng, [1.0] * len(stances))]
        bands = self.geometry.bands[surface]
        low, high = bands[_pick(self.rng, [high - low + 4 for low, high in bands])]
        base = self._between(low, high)
        return self._group(draft, action, surface, base, holding=holding)

    def _group(
        self,
        draft: _Draft,
        action: str | None,
        surface: str,
        base: float,
        near: float | None = None,
        holding: bool = False,
    ) -> Thing:
        """A thing on a base line, its objects side by side, near a position if one is given."""
        aloft = surface in ("sky", "wall")
        depth = float(self.rng.random()) * 0.8 if aloft else self.geometry.depth(base)
        if surface == "wall":
            depth = 0.6
        flipped = bool(self.rng.random() < 0.5)
        instances: list[Instance] = []
        drawing = self._drawing(draft.kind, surface)
        x = near
        for number in range(draft.count):
            width, height = self._extent(draft, "holding" if holding else action, drawing, depth)
            y = base + self._between(-1.5, 1.5) * (number > 0)
            limits = free_wall(self.scene) if surface == "wall" else (2.0, IMAGE_SIZE - 2.0)
            centre = self._room(width, height, y, aloft, limits, [i.box for i in instances], x)
            instances.append(self._instance(width, height, centre, y, aloft, drawing, flipped))
            x = centre if x is None else x
        instances.sort(key=lambda instance: instance.box[0])
        return Thing(draft.kind, draft.colour, surface, depth, tuple(instances), action)

    def _drawing(self, kind: str, surface: str) -> int:
        suited = DRAWINGS_ON.get((kind, surface), (0, 1, 2, 3))
        return suited[_pick(self.rng, [1.0] * len(suited))]

    def _extent(self, draft: _Draft, action: str | None, drawing: int, depth: float) -> tuple[float, float]:
        """Width and height in pixels, a little different every time."""
        aspect = sketch(draft.kind, action, drawing, draft.colour).aspect * self._between(0.94, 1.06)
        longest = SIZES[draft.kind][self.size_class] * self.geometry.scale(depth) * self._between(0.88, 1.12)
        if draft.kind in ("person", "dog", "cat"):  # their size is the standing height
            longest *= {"sitting": 0.86, "lying": 0.95, "running": 1.1}.get(action or "", 1.0)
        longest = max(longest, 10.0)
        return (longest, longest / aspect) if aspect > 1 else (longest * aspect, longest)

    def _room(
        self,
        width: float,
        height: float,
        base: float,
        aloft: bool,
        limits: tuple[float, float],
        own: Sequence[Box],
        near: float | None,
    ) -> float:
        """Centre of the free position that covers least of what is there already."""
        others = [instance.box for thing in self.placed.values() for instance in thing.instances]
        low, high = limits[0] + width / 2, limits[1] - width / 2
        best, least = low, float("inf")
        for _ in range(10):
            centre = self._between(low, high)
            if near is not None:
                centre = float(np.clip(near + self._between(-2.4, 2.4) * width, low, high))
            box = _box(width, height, centre, base, aloft)
            cost = sum(_overlap(box, other) for other in others) + 3 * sum(_overlap(box, other) for other in own)
            if cost < least - 1e-9:
                best, least = centre, cost
        return best

    def _instance(
        self, width: float, height: float, centre: float, base: float, aloft: bool, drawing: int, flipped: bool
    ) -> Instance:
        left, top, right, bottom = _box(width, height, centre, base, aloft)
        shift_x = max(0.0, 1 - left) - max(0.0, right - (IMAGE_SIZE - 1))
        shift_y = max(0.0, 1 - top) - max(0.0, bottom - (IMAGE_SIZE - 1))
        box = (left + shift_x, top + shift_y, right + shift_x, bottom + shift_y)
        return Instance(tuple(round(edge, 2) for edge in box), 1.0, drawing, flipped)  # type: ignore[arg-type]

    def _related(self, draft: _Draft, other: Thing) -> Thing:
        """A thing in relation to one that is there."""
        assert draft.relation is not None
        word, anchor = draft.relation.word, other.instances[0]
        left, top, right, bottom = anchor.box
        middle, height = (left + right) / 2, bottom - top
        if word == "held by":
            hand_x = (
                right - (right - left) * (1 - HAND[0]) if not anchor.flipped else left + (right - left) * (1 - HAND[0])
            )
            return self._held(draft, other, hand_x, top + height * HAND[1], height)
        if word == "on":
            action = {"person": "sitting", "cat": "lying", "dog": "lying", "bird": "standing"}.get(draft.kind)
            seat = top + height * SEAT[other.kind]
            if draft.kind == "person":
                seat += height * 0.30  # the feet hang down
            spread = (right - left) * 0.2
            return self._single(draft, action, other, middle + self._between(-spread, spread), seat)
        if word == "in":
            return self._contained(draft, other)
        if word == "under":
            spread = (right - left) * 0.22
            base = min(bottom + self._between(0.5, 3.0), IMAGE_SIZE - 2)
            if other.kind in ("chair", "bench"):
                base = bottom - 1.0
            action = self._action_on(draft.kind, other.surface)
            scale = 0.5 if other.kind in ("chair", "bench") else 0.85
            return self._single(draft, action, other, middle + self._between(-spread, spread), base, scale)
        if all(where != other.surface for _, where in _stances(draft.kind, self.scene.place)):
            return self._free(draft)
        return self._beside(draft, self._action_on(draft.kind, other.surface), other)

    def _action_on(self, kind: str, surface: str) -> str | None:
        """An action of a kind on a surface; sitting is for what people sit on."""
        actions = [action for action, where in _stances(kind, self.scene.place) if where == surface]
        return _one(self.rng, [action for action in actions if (kind, action) != ("person", "sitting")])

    def _single(
        self, draft: _Draft, action: str | None, other: Thing, x: float, base: float, scale: float = 1.0
    ) -> Thing:
        drawing = self._drawing(draft.kind, other.surface)
        width, height = self._extent(draft, action, drawing, other.depth)
        flipped = bool(self.rng.random() < 0.5)
        instance = self._instance(width * scale, height * scale, x, base, False, drawing, flipped)
        return Thing(draft.kind, draft.colour, other.surface, other.depth, (instance,), action, draft.relation)

    def _beside(self, draft: _Draft, action: str | None, other: Thing) -> Thing:
        """A thing next to one that is there, on the same base line; anywhere if there is no room for it."""
        base = max(instance.box[3] for instance in other.instances)
        left, right = other.instances[0].box[0], other.instances[-1].box[2]
        drawing = self._drawing(draft.kind, other.surface)
        width, _ = self._extent(draft, action, drawing, other.depth)
        sides = [(side, room) for side, room in ((-1, left - 2), (1, IMAGE_SIZE - 2 - right)) if room > width * 1.1]
        if not sides:
            return self._free(draft, action)
        side, room = sides[_pick(self.rng, [room for _, room in sides])]
        flipped = bool(self.rng.random() < 0.5)
        instances = []
        for number in range(min(draft.count, int(room / width))):
            width, height = self._extent(draft, action, drawing, other.depth)
            near = (right if side > 0 else left) + side * (width * (0.5 + 0.95 * number) + 1.5)
            y = min(base + self._between(-1.0, 2.0), NEAREST + 2)
            instances.append(self._instance(width, height, near, y, False, drawing, flipped))
        instances.sort(key=lambda instance: instance.box[0])
        return Thing(draft.kind, draft.colour, other.surface, other.depth, tuple(instances), action, draft.relation)

    def _contained(self, draft: _Draft, other: Thing) -> Thing:
        """A thing in a container, whose front hides its lower part."""
        left, top, right, bottom = other.instances[0].box
        width_in, height_in = right - left, bottom - top
        narrow = draft.kind in ("spoon", "fork", "flower")
        drawing = self._drawing(draft.kind, "inside")
        instances = []
        for number in range(draft.count):
            action = KINDS[draft.kind].actions[0] if KINDS[draft.kind].actions else None
            width, height = self._extent(draft, action, drawing, other.depth)
            if not narrow:
                scale = min(1.0, 0.8 * width_in / draft.count**0.5 / width)
                width, height = width * scale, height * scale
            spot = (number + 0.5) / draft.count - 0.5
            x = (left + right) / 2 + spot * width_in * (0.5 if narrow else 0.75) + self._between(-0.05, 0.05) * width_in
            sink = height * (0.45 if narrow else 0.3)
            y = top + min(sink, height_in * 0.7) + self._between(0, 1.5)
            instances.append(self._instance(width, height, x, y, False, drawing, bool(self.rng.random() < 0.5)))
        instances.sort(key=lambda instance: instance.box[0])
        return Thing(draft.kind, draft.colour, other.surface, other.depth, tuple(instances), None, draft.relation)

    def _held(self, draft: _Draft, other: Thing, x: float, y: float, height: float) -> Thing:
        drawing = self._drawing(draft.kind, "held")
        aspect = sketch(draft.kind, None, drawing, draft.colour).aspect
        flipped = other.instances[0].flipped
        if draft.kind == "kite":
            size = SIZES["kite"][2] * self._between(0.6, 0.9)
            side = -1 if flipped else 1
            instance = self._instance(
                size * aspect, size, x + side * self._between(10, 34), self._between(16, 34), True, drawing, flipped
            )
            return Thing(draft.kind, draft.colour, "sky", other.depth, (instance,), None, draft.relation)
        share = {"umbrella": 0.78, "ball": 0.24, "flower": 0.4, "book": 0.24}[draft.kind]
        tall = height * share
        drop = {"umbrella": 0.05, "ball": 0.5, "flower": 0.3, "book": 0.5}[draft.kind] * tall
        if draft.kind == "umbrella":
            x -= (1 if not flipped else -1) * tall * 0.02
        instance = self._instance(tall * aspect, tall, x, y + drop, False, drawing, flipped)
        return Thing(draft.kind, draft.colour, other.surface, other.depth, (instance,), None, draft.relation)

    def _between(self, low: float, high: float) -> float:
        return float(low + (high - low) * self.rng.random())


def _ordered(things: list[Thing]) -> list[Thing]:
    """Things from the farthest to the nearest: sky and wall, then by base line; after what they are on or in."""

    def base(thing: Thing) -> float:
        return max(instance.box[3] for instance in thing.instances)

    free = sorted(
        (thing for thing in things if not _attached(thing)),
        key=lambda thing: (
            thing.surface not in ("sky", "wall"),
            -thing.depth if thing.surface in ("sky", "wall") else base(thing),
        ),
    )
    order: list[Thing] = []
    for thing in free:
        order.append(thing)
        order += [
            other for other in things if _attached(other) and other.relation and other.relation.other == thing.kind
        ]
    return order


def _with_overlaps(things: list[Thing]) -> list[Thing]:
    """Things of which those that partly hide another are in front of it, where neither has a relation yet."""
    found = list(things)
    for far, near in combinations(range(len(found)), 2):
        first, second = found[far], found[near]
        free = first.count == second.count == 1 and first.surface not in ("sky", "wall")
        related = [thing.kind for thing in found if thing.relation] + [t.relation.other for t in found if t.relation]
        if free and first.kind not in related and second.kind not in related:
            hidden = _overlap(first.instances[0].box, second.instances[0].box)
            if hidden > 0.15 and first.depth - second.depth > 0.05:
                found[near] = replace(second, relation=Relation("in front of", first.kind))
    return found


def _attached(thing: Thing) -> bool:
    return thing.relation is not None and thing.relation.word in ("on", "in", "held by")


def _with_visibility(things: list[Thing], scene: Scene) -> Scene:
    """The scene with the share of every object that can be seen, and the contrast of every thing."""
    scene = replace(scene, things=tuple(things))
    whole, seen = identities(scene)
    colours = tone(scene)
    contrast = float(np.mean(colours.tint)) ** 0.5
    finished, number = [], 0
    for thing in things:
        instances = []
        for instance in thing.instances:
            shown = seen[number] / max(whole[number], 1)
            instances.append(replace(instance, shown=round(shown, 3)))
            number += 1
        clarity = contrast * (1 - colours.thickness * thing.depth)
        finished.append(replace(thing, instances=tuple(instances), clarity=round(clarity, 3)))
    return replace(scene, things=tuple(finished))


def _box(width: float, height: float, centre: float, base: float, aloft: bool) -> Box:
    """Box on a base line; around it for what is in the air."""
    top = base - height / 2 if aloft else base - height
    return centre - width / 2, top, centre + width / 2, top + height


def _overlap(first: Box, second: Box) -> float:
    """Area that two boxes share, relative to the smaller one."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second))
    return width * height / smaller


def _pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """Index drawn with the given weights; written out because ``Generator.choice`` may change between releases."""
    edges = np.cumsum(np.asarray(weights) / np.sum(weights))
    return int(np.searchsorted(edges, rng.random(), side="right").clip(max=len(weights) - 1))


def _weighted(rng: np.random.Generator, weights: dict[str, float] | dict[str, int]) -> str:
    return list(weights)[_pick(rng, list(weights.values()))]


def _one(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    return options[int(rng.integers(len(options)))]
