"""Held-out scenes of the unbiased world, redrawn from their seeds, with their questions."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from prefgen.evaluate.scenes.render import photo
from prefgen.evaluate.scenes.text import CAPTION_QUESTIONS, NUMBERS, absent_partner, absent_popular, question
from prefgen.evaluate.scenes.world import TEXT_STREAM, UNBIASED, Scene, World, sample_scene

HELDOUT_SEED, HELDOUT_SCENES = 30_001, 600
CAPTION_QUESTION = CAPTION_QUESTIONS[0]
PRESENT_PROBES = 2  # per scene at most; about as many as there are absent ones


@dataclass(frozen=True)
class Probe:
    """A yes/no question. ``split`` is present, absent-popular or absent-adversarial."""

    split: str
    question: str
    answer: str


@dataclass(frozen=True)
class Attribute:
    """A question of kind colour, place or count; ``answer`` is the bare value ("red", cell "4", "two")."""

    kind: str
    question: str
    answer: str


@dataclass(frozen=True)
class Heldout:
    """One evaluation scene with its questions."""

    scene: Scene
    probes: tuple[Probe, ...]
    attributes: tuple[Attribute, ...]

    def picture(self, scale: int = 1) -> Image.Image:
        """The scene's picture, drawn again from its seed, 64*scale pixels wide."""
        return photo(self.scene, scale=scale)


def heldout(count: int = HELDOUT_SCENES, seed: int = HELDOUT_SEED, world: World = UNBIASED) -> list[Heldout]:
    """The first ``count`` evaluation scenes of a series."""
    return [_heldout(sample_scene(world, seed, index)) for index in range(count)]


def _heldout(scene: Scene) -> Heldout:
    rng = scene.rng(TEXT_STREAM)
    shapes = [thing.shape for thing in scene.things]
    asked = [("present", shapes[int(i)]) for i in rng.permutation(len(shapes))[:PRESENT_PROBES]]
    asked.append(("absent-popular", absent_popular(scene)))
    partner = absent_partner(scene)
    if partner:
        asked.append(("absent-adversarial", partner))
    probes = []
    for split, shape in asked:
        kind = "yes" if split == "present" else "no"
        probes.append(Probe(split, question(scene, kind, shape, rng).question, kind))
    attributes = []
    for thing in scene.things:
        values = {"colour": thing.colour, "count": NUMBERS[len(thing.cells)]}
        if len(thing.cells) == 1:
            values["place"] = str(thing.cells[0])
        attributes += [
            Attribute(kind, question(scene, kind, thing.shape, rng).question, values[kind]) for kind in values
        ]
    return Heldout(scene, tuple(probes), tuple(attributes))
