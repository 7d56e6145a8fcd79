"""Held-out scenes of the unbiased world, redrawn from their seeds, with their questions."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from prefgen.evaluate.scenes.claims import NUMBERS
from prefgen.evaluate.scenes.language import DETAIL_QUESTIONS, question
from prefgen.evaluate.scenes.render import photo
from prefgen.evaluate.scenes.sample import POPULAR, UNBIASED, World, absent_partners, sample_scene
from prefgen.evaluate.scenes.truth import KINDS, TEXT_STREAM, Scene

HELDOUT_SEED, HELDOUT_SCENES = 30_001, 600
CAPTION_QUESTION = DETAIL_QUESTIONS[0]
PRESENT_PROBES = 2  # per scene at most; about as many as there are absent ones


@dataclass(frozen=True)
class Probe:
    """A yes/no question.

    Attributes:
        split: present; absent-random, absent-popular (a frequent kind of the training world) or absent-adversarial (one
            that comes along with what is there).
    """

    split: str
    question: str
    answer: str


@dataclass(frozen=True)
class Attribute:
    """A question of kind colour, count, action or place; ``answer`` is the bare value ("red", "two", "kitchen")."""

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
        """The scene's picture, drawn again from its seed, 144*scale pixels wide."""
        return photo(self.scene, scale=scale)


def heldout(count: int = HELDOUT_SCENES, seed: int = HELDOUT_SEED, world: World = UNBIASED) -> list[Heldout]:
    """The first ``count`` evaluation scenes of a series."""
    return [_heldout(sample_scene(world, seed, index)) for index in range(count)]


def _heldout(scene: Scene) -> Heldout:
    rng = scene.rng(TEXT_STREAM)
    present = sorted(scene.kinds)
    asked = [("present", present[int(i)]) for i in rng.permutation(len(present))[:PRESENT_PROBES]]
    partners = absent_partners(scene)
    absent = [kind for kind in KINDS if kind not in (*scene.kinds, *partners)]
    for split, kinds in (
        ("absent-random", absent),
        ("absent-popular", [kind for kind in POPULAR if kind in absent]),
        ("absent-adversarial", partners),
    ):
        if kinds:
            asked.append((split, kinds[int(rng.integers(len(kinds)))]))
    probes = []
    for split, kind in asked:
        answer = "yes" if split == "present" else "no"
        probes.append(Probe(split, question(scene, answer, rng, kind).question, answer))
    attributes = [Attribute("place", question(scene, "place", rng).question, scene.place)]
    for thing in scene.things:
        values = {"colour": thing.colour, "count": NUMBERS[thing.count], "action": thing.action}
        attributes += [
            Attribute(of, question(scene, of, rng, thing.kind).question, value) for of, value in values.items() if value
        ]
    return Heldout(scene, tuple(probes), tuple(attributes))
