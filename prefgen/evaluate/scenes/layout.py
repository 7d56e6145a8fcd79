"""The places of things in a scene: boxes, actions, depth, and how much of each can be seen.

``SIZES`` and ``HABITATS`` say what can be where. What has a relation is laid out after what it relates to, so that the
picture shows the relation; the rest goes where it covers least.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import TypeVar

import numpy as np

from prefgen.evaluate.scenes.drawings import sketch
from prefgen.evaluate.scenes.places import GEOMETRY, NEAREST, free_wall, tone
from prefgen.evaluate.scenes.render import identities
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, KINDS, Box, Instance, Relation, Scene, Thing

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
# Share of the height at which one sits on a thing, for each of its drawings.
SEATS = {"sofa": (0.66, 0.62), "bench": (0.6, 0.14), "chair": (0.58, 0.62), "car": (0.06, 0.06, 0.08)}
ALOFT = ("sky", "wall")  # surfaces of what has a centre line for a base line
WALL_DEPTH = 0.6
HAND = (0.93, 0.36)  # of a person who holds something, in the unit square


# Height of what a person holds, relative to the person's, and the share of it that is below the hand.
HELD = {"umbrella": (0.78, 0.05), "ball": (0.24, 0.5), "flower": (0.4, 0.3), "book": (0.24, 0.5)}


@cache
def possible_kinds(place: str) -> tuple[str, ...]:
    """Kinds that can be in a place."""
    return tuple(kind for kind in KINDS if SIZES[kind][SIZE_CLASS.get(place, 2)] and stances(kind, place))


@cache
def stances(kind: str, place: str) -> list[tuple[str | None, str]]:
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
class ThingDraft:
    """A thing before it has its boxes."""

    kind: str
    colour: str
    count: int
    relation: Relation | None = None


class SceneLayout:
    """Placing of things: what has a relation after what it relates to, the others where there is room."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene = scene
        self.rng = rng
        self.geometry = GEOMETRY[scene.place]
        self.size_class = SIZE_CLASS.get(scene.place, 2)
        self.placed: dict[str, Thing] = {}

    def scene_of(self, drafts: list[ThingDraft]) -> Scene:
        """The scene with its things from the farthest to the nearest; what is in or on another follows it."""
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
        return _with_visibility(_with_overlaps(_ordered(list(self.placed.values()))), self.scene)

    def _free(self, draft: ThingDraft, action: str | None = None, holding: bool = False) -> Thing:
        """A thing anywhere where it can stand."""
        options = [s for s in stances(draft.kind, self.scene.place) if (action is None or s[0] == action)]
        if draft.kind == "person" and action is None:
            options = [s for s in options if s[0] != "sitting"]  # sits only on something
        action, surface = options[pick(self.rng, [1.0] * len(options))]
        bands = self.geometry.bands[surface]
        low, high = bands[pick(self.rng, [high - low + 4 for low, high in bands])]
        base = self._between(low, high)
        return self._group(draft, action, surface, base, holding=holding)

    def _group(
        self,
        draft: ThingDraft,
        action: str | None,
        surface: str,
        base: float,
        holding: bool = False,
    ) -> Thing:
        """A thing on a base line, its objects near each other."""
        aloft = surface in ALOFT
        depth = float(self.rng.random()) * 0.8 if aloft else self.geometry.depth(base)
        if surface == "wall":
            depth = WALL_DEPTH
        flipped = bool(self.rng.random() < 0.5)
        instances: list[Instance] = []
        drawing = self._drawing(draft.kind, surface)
        first: float | None = None
        for number in range(draft.count):
            width, height = self._extent(draft, "holding" if holding else action, drawing, depth)
            y = base + self._between(-1.5, 1.5) * (number > 0)
            limits = free_wall(self.scene) if surface == "wall" else (2.0, IMAGE_SIZE - 2.0)
            centre = self._room(width, height, y, aloft, limits, [i.box for i in instances], first)
            if holding:  # the hand is on the side where there is room
                flipped = centre > IMAGE_SIZE / 2
            instances.append(self._instance(width, height, centre, y, aloft, drawing, flipped))
            first = centre if first is None else first
        instances.sort(key=lambda instance: instance.box[0])
        return Thing(draft.kind, draft.colour, surface, depth, tuple(instances), action)

    def _drawing(self, kind: str, surface: str) -> int:
        suited = DRAWINGS_ON.get((kind, surface), (0, 1, 2, 3))
        return suited[pick(self.rng, [1.0] * len(suited))]

    def _extent(self, draft: ThingDraft, action: str | None, drawing: int, depth: float) -> tuple[float, float]:
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
        """An object, moved into the picture where it would leave it."""
        left, top, right, bottom = _box(width, height, centre, base, aloft)
        shift_x = max(0.0, 1 - left) - max(0.0, right - (IMAGE_SIZE - 1))
        shift_y = max(0.0, 1 - top) - max(0.0, bottom - (IMAGE_SIZE - 1))
        box = (left + shift_x, top + shift_y, right + shift_x, bottom + shift_y)
        return Instance(tuple(round(edge, 2) for edge in box), 1.0, drawing, flipped)  # type: ignore[arg-type]

    def _related(self, draft: ThingDraft, other: Thing) -> Thing:
        """A thing in relation to one that is there."""
        assert draft.relation is not None
        word, anchor = draft.relation.word, other.instances[0]
        left, top, right, bottom = anchor.box
        middle, height = (left + right) / 2, bottom - top
        if word == "held by":
            reach = (right - left) * (1 - HAND[0])
            return self._held(draft, other, left + reach if anchor.flipped else right - reach, top + height * HAND[1])
        if word == "on":
            action = {"person": "sitting", "cat": "lying", "dog": "lying", "bird": "standing"}.get(draft.kind)
            seats = SEATS[other.kind]
            seat = top + height * seats[anchor.drawing % len(seats)]
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
        if all(where != other.surface for _, where in stances(draft.kind, self.scene.place)):
            return self._free(draft)
        return self._beside(draft, self._action_on(draft.kind, other.surface), other)

    def _action_on(self, kind: str, surface: str) -> str | None:
        """An action of a kind on a surface; sitting is for what people sit on."""
        actions = [action for action, where in stances(kind, self.scene.place) if where == surface]
        return one(self.rng, [action for action in actions if (kind, action) != ("person", "sitting")])

    def _single(
        self, draft: ThingDraft, action: str | None, other: Thing, x: float, base: float, scale: float = 1.0
    ) -> Thing:
        """A thing with one object whose base line and centre are given."""
        drawing = self._drawing(draft.kind, other.surface)
        width, height = self._extent(draft, action, drawing, other.depth)
        flipped = bool(self.rng.random() < 0.5)
        instance = self._instance(width * scale, height * scale, x, base, False, drawing, flipped)
        return Thing(draft.kind, draft.colour, other.surface, other.depth, (instance,), action, draft.relation)

    def _beside(self, draft: ThingDraft, action: str | None, other: Thing) -> Thing:
        """A thing next to one that is there, on the same base line; anywhere if there is no room for it."""
        base = max(instance.box[3] for instance in other.instances)
        left, right = other.instances[0].box[0], other.instances[-1].box[2]
        drawing = self._drawing(draft.kind, other.surface)
        width, _ = self._extent(draft, action, drawing, other.depth)
        sides = [(side, room) for side, room in ((-1, left - 2), (1, IMAGE_SIZE - 2 - right)) if room > width * 1.1]
        if not sides:
            return self._free(draft, action)
        side, room = sides[pick(self.rng, [room for _, room in sides])]
        flipped = bool(self.rng.random() < 0.5)
        instances = []
        for number in range(min(draft.count, int(room / width))):
            width, height = self._extent(draft, action, drawing, other.depth)
            near = (right if side > 0 else left) + side * (width * (0.5 + 0.95 * number) + 1.5)
            y = min(base + self._between(-1.0, 2.0), NEAREST + 2)
            instances.append(self._instance(width, height, near, y, False, drawing, flipped))
        instances.sort(key=lambda instance: instance.box[0])
        return Thing(draft.kind, draft.colour, other.surface, other.depth, tuple(instances), action, draft.relation)

    def _contained(self, draft: ThingDraft, other: Thing) -> Thing:
        """A thing in a container, whose front hides its lower part."""
        left, top, right, bottom = other.instances[0].box
        width_in, height_in = right - left, bottom - top
        narrow = draft.kind in ("spoon", "fork", "flower")
        drawing = self._drawing(draft.kind, "inside")
        instances = []
        for number in range(draft.count):
            width, height = self._extent(draft, None, drawing, other.depth)
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

    def _held(self, draft: ThingDraft, other: Thing, x: float, y: float) -> Thing:
        """A thing in the hand of another at (x, y); a kite is above it in the sky."""
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
        size, drop = HELD[draft.kind]
        _, top, _, bottom = other.instances[0].box
        tall = (bottom - top) * size
        if draft.kind == "umbrella":  # its stick bends towards the holder
            x -= (1 if not flipped else -1) * tall * 0.02
        instance = self._instance(tall * aspect, tall, x, y + drop * tall, False, drawing, flipped)
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
            thing.surface not in ALOFT,
            -thing.depth if thing.surface in ALOFT else base(thing),
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
        free = first.count == second.count == 1 and first.surface not in ALOFT
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


def pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """Index drawn with the given weights; written out because ``Generator.choice`` may change between releases."""
    edges = np.cumsum(np.asarray(weights) / np.sum(weights))
    return int(np.searchsorted(edges, rng.random(), side="right").clip(max=len(weights) - 1))


def weighted(rng: np.random.Generator, weights: dict[str, float] | dict[str, int]) -> str:
    """Key drawn with the given weights."""
    return list(weights)[pick(rng, list(weights.values()))]


def one(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """One of the options, all alike."""
    return options[int(rng.integers(len(options)))]
