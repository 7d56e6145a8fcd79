"""The distribution of scenes: what goes together in a picture.

The bias is data: ``USUAL`` says what is usual in a place, ``BONDS`` what comes with what and in which relation,
``TYPICAL_COUNT`` how many there usually are; the typical colour of a kind is the first of its colours. ``TRAINING``
follows all of it; ``UNBIASED`` draws evenly among what can be in a place, which is what lets an evaluation tell seeing
from guessing.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from prefgen.evaluate.scenes.layout import SceneLayout, ThingDraft, one, pick, possible_kinds, weighted
from prefgen.evaluate.scenes.truth import KINDS, PLACES, WORLD_STREAM, Relation, Scene

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
LEAST_SHOWN = 0.3  # share of every object that must not be covered; less would make the truth a matter of taste
LAYOUTS = 8  # that are tried for that before the scene gets fewer objects


@dataclass(frozen=True)
class World:
    """Probabilities of a world. The defaults are those of the biased worlds."""

    usual: bool = True  # places, kinds and counts by the tables above; else evenly
    partner_probability: float = 0.92
    typical_colour_probability: float = 0.7  # otherwise evenly
    typical_count_probability: float = 0.75  # otherwise 1 to 3 evenly
    seed_weights: tuple[float, ...] = (0.22, 0.40, 0.38)  # of 1, 2, ... kinds before their partners are added
    unbiased_share: float = 0.0  # of scenes that come from UNBIASED instead


UNBIASED = World(
    usual=False,
    partner_probability=0.25,
    typical_colour_probability=0.0,
    typical_count_probability=0.5,
    seed_weights=(0.12, 0.33, 0.35, 0.20),
)
TRAINING = World(unbiased_share=0.2)
POPULAR = ("person", "book", "flower", "tree", "ball", "bird")
"""The most frequent kinds of the training world."""


def partner(kind: str, place: str) -> tuple[str, ...]:
    """Kinds that come along with a kind in a place."""
    return tuple(dict.fromkeys(other for _, other in _bonds(kind, place)))


def absent_partners(scene: Scene) -> tuple[str, ...]:
    """Kinds that come along with what is in a scene, and are not there: what a prior adds."""
    partners = dict.fromkeys(other for thing in scene.things for other in partner(thing.kind, scene.place))
    return tuple(other for other in partners if other not in scene.kinds)


@cache
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


def sample_scene(world: World, seed: int, index: int) -> Scene:
    """Draw scene ``index`` of the endless series ``seed``."""
    rng = np.random.default_rng([seed, index, WORLD_STREAM])
    if world.unbiased_share and rng.random() < world.unbiased_share:
        world = UNBIASED
    place = weighted(rng, PLACE_WEIGHTS) if world.usual else one(rng, tuple(PLACES))
    light = weighted(rng, LIGHT_WEIGHTS)
    weather = "clear" if PLACES[place].indoors else weighted(rng, WEATHER_WEIGHTS)
    if (weather == "snow" and place in WARM_PLACES) or (light == "sunset" and weather != "cloudy"):
        weather = "clear"
    scene = Scene(seed, index, place, light, weather, ())
    drafts = _drafts(world, scene, rng)
    while True:
        for _ in range(LAYOUTS):
            found = SceneLayout(scene, rng).scene_of(drafts)
            if all(instance.shown >= LEAST_SHOWN for thing in found.things for instance in thing.instances):
                return found
        drafts = _fewer(drafts)


def _drafts(world: World, scene: Scene, rng: np.random.Generator) -> list[ThingDraft]:
    """Kinds, colours, counts and relations."""
    weights = _kind_weights(world, scene.place)
    relations: dict[str, Relation | None] = {}
    for _ in range(1 + pick(rng, world.seed_weights)):
        kind = weighted(rng, {kind: weight for kind, weight in weights.items() if kind not in relations})
        relations[kind] = None
        bonds = [(bond, other) for bond, other in _bonds(kind, scene.place) if other not in relations]
        if bonds and rng.random() < world.partner_probability:
            bond, other = bonds[pick(rng, [1.0] * len(bonds))]
            relations.setdefault(other, None)
            if bond.words:
                relations[bond.first] = Relation(one(rng, bond.words), bond.second)
    for kind in relations:
        if relations[kind] is None and rng.random() < CHANCE:
            relations[kind] = _chance_relation(kind, relations, rng)
    drafts = []
    for kind, relation in relations.items():
        typical = rng.random() < world.typical_colour_probability
        colour = KINDS[kind].colours[0] if typical else one(rng, KINDS[kind].colours)
        count = int(rng.integers(1, 4))
        if rng.random() < world.typical_count_probability:
            count = TYPICAL_COUNT.get(kind, 1) if world.usual else 1
        related = {other.other for other in relations.values() if other and other.word != "beside"}
        if kind in SINGLES or (relation and relation.word in ("on", "held by")) or kind in related or kind == "spoon":
            count = 1
        drafts.append(ThingDraft(kind, colour, count, relation))
    return drafts


def _fewer(drafts: list[ThingDraft]) -> list[ThingDraft]:
    """Drafts with one object of each kind, or, where that is so, without the last that no other relates to."""
    if any(draft.count > 1 for draft in drafts):
        return [replace(draft, count=1) for draft in drafts]
    related = {draft.relation.other for draft in drafts if draft.relation}
    last = [draft for draft in drafts if draft.kind not in related][-1]
    return [draft for draft in drafts if draft is not last]


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
    return options[pick(rng, [1.0] * len(options))] if options else None
