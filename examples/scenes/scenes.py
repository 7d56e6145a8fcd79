"""Writes the data set of the rendered scenes: the training rows in LLaVA-Instruct shape and the held-out truth.

    python examples/scenes/scenes.py --write DIR

rewrites ``llava_instruct.json``, ``images/`` and ``heldout.json`` byte for byte. The rows come from the biased training
world, the held-out scenes from the unbiased one; held-out pictures are not stored but drawn again from their seed.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from scene_render import jpeg, photo
from scene_text import CAPTION_QUESTIONS, NUMBERS, Mix, absent_partner, absent_popular, conversation, question
from scene_world import TEXT_STREAM, TRAINING, UNBIASED, Scene, World, sample_scene

INSTRUCT_SEED, INSTRUCT_ROWS = 20_001, 500
HELDOUT_SEED, HELDOUT_SCENES = 30_001, 600
INSTRUCT_MIX = Mix(caption_probability=0.85, questions_after_caption=(1, 3), questions_alone=(2, 3))
TEXT_ONLY_ROW = 250  # the one row without an image, as LLaVA's mix665k has many
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


def instruct_row(index: int) -> dict[str, Any]:
    """Row ``index`` of llava_instruct.json; its picture is that of the scene with the same index."""
    if index == TEXT_ONLY_ROW:
        turns = [("What is two plus three?", "Two plus three is five.")]
        return {"id": f"{index:012d}", "conversations": _conversations(turns)}
    return conversation_row(instruct_scene(index), INSTRUCT_MIX)


def conversation_row(scene: Scene, mix: Mix) -> dict[str, Any]:
    """A row about a scene, in LLaVA-Instruct shape, and named by its index."""
    rng = scene.rng(TEXT_STREAM)
    turns = [(turn.question, turn.answer) for turn in conversation(scene, rng, mix)]
    first = f"<image>\n{turns[0][0]}" if rng.random() < 0.5 else f"{turns[0][0]}\n<image>"
    turns[0] = (first, turns[0][1])
    name = f"{scene.index:012d}"
    return {"id": name, "image": f"{name}.jpg", "conversations": _conversations(turns)}


def instruct_scene(index: int) -> Scene:
    """The scene behind row ``index`` of llava_instruct.json."""
    return sample_scene(TRAINING, INSTRUCT_SEED, index)


def write(folder: Path) -> None:
    """Write llava_instruct.json, images/ and heldout.json into a folder."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows = [instruct_row(index) for index in range(INSTRUCT_ROWS)]
    for index, row in enumerate(rows):
        if "image" in row:
            (images / row["image"]).write_bytes(jpeg(instruct_scene(index)))
    write_rows(folder / "llava_instruct.json", rows)
    write_rows(folder / "heldout.json", [heldout_row(item) for item in heldout()])


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


def heldout_row(item: Heldout) -> dict[str, Any]:
    """One row of heldout.json."""
    scene = item.scene
    return {
        "id": f"scene-{scene.index:06d}",
        "seed": scene.seed,
        "index": scene.index,
        "question": CAPTION_QUESTION,
        "objects": [{"shape": shape, "colour": colour, "cell": cell} for shape, colour, cell in scene.objects],
        "probes": [vars(probe) for probe in item.probes],
        "attributes": [vars(attribute) for attribute in item.attributes],
    }


def _conversations(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"from": speaker, "value": text}
        for asked, answer in turns
        for speaker, text in (("human", asked), ("gpt", answer))
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """One row per line: valid JSON, and a readable diff."""
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, required=True, metavar="DIR", help="folder to write the data set into")
    write(parser.parse_args().write)


if __name__ == "__main__":
    main()
