"""The distribution of scenes: what can be in a picture, and how likely it is.

A scene is a 3x3 grid; a *thing* is one shape in one colour that occupies one to three cells, and no shape occurs in two
things of a scene, so "what colour is the circle?" always has one answer. The training world is biased on purpose: every
shape has a partner that almost always comes along, and a favourite colour. The unbiased world removes both, which is
what lets an evaluation tell seeing from guessing.

Every draw comes from ``numpy.random.default_rng([seed, index, stream])``: scene 17 is scene 17 whichever others are
drawn, and its picture does not change when a wording is added.
"""

from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond", "bar", "star")
PLURAL = {shape: shape + ("es" if shape == "cross" else "s") for shape in SHAPES}
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
PAIRS = (("circle", "square"), ("triangle", "cross"), ("ring", "diamond"), ("bar", "star"))
PARTNER = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
FAVOURITE = dict(zip(SHAPES, ("red", "blue", "green", "yellow", "purple", "white", "blue", "yellow"), strict=True))
CELLS = 9  # row-major: 0 is the top left, 4 the centre, 8 the bottom right
MAX_COPIES = 3

WORLD_STREAM, RENDER_STREAM, TEXT_STREAM = 0, 1, 2


@dataclass(frozen=True)
class World:
    """Probabilities of a world. The defaults are those of the biased worlds."""

    partner_probability: float = 0.95
    favourite_probability: float = 0.7  # otherwise the colour is uniform
    pair_weights: tuple[float, ...] = (0.34, 0.27, 0.22, 0.17)  # of PAIRS; makes some shapes more popular
    seed_weights: tuple[float, ...] = (0.35, 0.45, 0.20)  # of 1, 2, ... things before their partners are added
    copies_probability: float = 0.15  # that a thing occupies more than one cell
    unbiased_share: float = 0.0  # of scenes that come from UNBIASED instead


UNBIASED = World(partner_probability=0.30, favourite_probability=0.0, pair_weights=(0.25, 0.25, 0.25, 0.25))
# The unbiased fifth keeps lonely objects describable: without it, captions of unbiased scenes miss a sixth of them.
TRAINING = World(unbiased_share=0.2)
POPULAR = tuple(shape for pair in PAIRS for shape in pair)  # the shapes, most frequent in the training world first


@dataclass(frozen=True)
class Thing:
    """One shape in one colour; ``cells`` lists where it is, so its length is the count."""

    shape: str
    colour: str
    cells: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """The truth about one picture. Things are in the order in which a caption mentions them: partner after seed."""

    seed: int
    index: int
    things: tuple[Thing, ...]

    @property
    def shapes(self) -> frozenset[str]:
        """Every shape that is somewhere in the scene."""
        return frozenset(thing.shape for thing in self.things)

    @property
    def objects(self) -> tuple[tuple[str, str, int], ...]:
        """Every single object as (shape, colour, cell)."""
        return tuple((thing.shape, thing.colour, cell) for thing in self.things for cell in thing.cells)

    def rng(self, stream: int) -> np.random.Generator:
        """The scene's own generator for one purpose (``RENDER_STREAM``, ``TEXT_STREAM``)."""
        return np.random.default_rng([self.seed, self.index, stream])


def sample_scene(world: World, seed: int, index: int) -> Scene:
    """Draw scene ``index`` of the endless series ``seed``: one to three seed shapes, each perhaps with its partner."""
    rng = np.random.default_rng([seed, index, WORLD_STREAM])
    if world.unbiased_share and rng.random() < world.unbiased_share:
        world = UNBIASED
    seeds = 1 + _pick(rng, world.seed_weights)
    weights = list(world.pair_weights)
    shapes: list[str] = []
    for _ in range(seeds):
        pair = _pick(rng, weights)
        weights[pair] = 0.0
        shape = PAIRS[pair][int(rng.integers(2))]
        shapes.append(shape)
        if rng.random() < world.partner_probability:
            shapes.append(PARTNER[shape])

    free = [int(cell) for cell in rng.permutation(CELLS)]
    things = []
    for position, shape in enumerate(shapes):
        copies = int(rng.integers(2, MAX_COPIES + 1)) if rng.random() < world.copies_probability else 1
        spare = len(free) - (len(shapes) - position - 1)  # every later shape still needs a cell
        cells = sorted(free.pop() for _ in range(min(copies, spare)))
        favourite = rng.random() < world.favourite_probability
        colour = FAVOURITE[shape] if favourite else COLOURS[int(rng.integers(len(COLOURS)))]
        things.append(Thing(shape, colour, tuple(cells)))
    return Scene(seed, index, tuple(things))


def _pick(rng: np.random.Generator, weights: list[float] | tuple[float, ...]) -> int:
    """Index drawn with the given weights; written out because ``Generator.choice`` may change between releases."""
    edges = np.cumsum(np.asarray(weights) / np.sum(weights))
    return int(np.searchsorted(edges, rng.random(), side="right").clip(max=len(weights) - 1))
