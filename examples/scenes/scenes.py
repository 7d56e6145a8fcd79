"""Writes the data set of the rendered scenes: the training rows in LLaVA-Instruct shape and the held-out truth.

    python examples/scenes/scenes.py --write DIR

rewrites ``llava_instruct.json``, ``images/``, ``heldout.json`` and the objects of the pictures (``instances.json``, in
COCO's form, and ``words.txt``) byte for byte. The rows come from the biased training
world, the held-out scenes from the unbiased one; held-out pictures are not stored but drawn again from their seed.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, Heldout, heldout
from prefgen.evaluate.scenes.render import jpeg
from prefgen.evaluate.scenes.text import Mix, conversation
from prefgen.evaluate.scenes.world import PLURAL, SHAPES, TEXT_STREAM, TRAINING, Scene, sample_scene

INSTRUCT_SEED, INSTRUCT_ROWS = 20_001, 500
INSTRUCT_MIX = Mix(caption_probability=0.85, questions_after_caption=(1, 3), questions_alone=(2, 3))
TEXT_ONLY_ROW = 250  # the one row without an image, as LLaVA's mix665k has many


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
    """Write all files of the data set into a folder."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows = [instruct_row(index) for index in range(INSTRUCT_ROWS)]
    for index, row in enumerate(rows):
        if "image" in row:
            (images / row["image"]).write_bytes(jpeg(instruct_scene(index)))
    write_rows(folder / "llava_instruct.json", rows)
    write_rows(folder / "heldout.json", [heldout_row(item) for item in heldout()])
    pictures = [index for index, row in enumerate(rows) if "image" in row]
    (folder / "instances.json").write_text(json.dumps(instances(pictures)) + "\n", encoding="utf-8")
    (folder / "words.txt").write_text("".join(f"{shape}, {PLURAL[shape]}\n" for shape in SHAPES), encoding="utf-8")


def instances(indices: list[int]) -> dict[str, Any]:
    """The shapes of training scenes, in the form of COCO's instances."""
    shapes = {index: sorted({thing.shape for thing in instruct_scene(index).things}) for index in indices}
    return {
        "images": [{"id": index, "file_name": f"{index:012d}.jpg"} for index in indices],
        "annotations": [
            {"image_id": index, "category_id": SHAPES.index(shape)} for index in indices for shape in shapes[index]
        ],
        "categories": [{"id": number, "name": shape} for number, shape in enumerate(SHAPES)],
    }


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
