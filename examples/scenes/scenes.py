"""Writes the data set of the drawn scenes: training rows in LLaVA-Instruct shape, their truth, and held-out scenes.

    python examples/scenes/scenes.py --write DIR

rewrites byte for byte the files of ``prefgen.evaluate.scenes.export`` (``llava_instruct.json``, ``images/``, the truth
in JSON, POPE's and COCO's form) and ``heldout.json``. The rows come from the biased training world, the held-out scenes
from the unbiased one; held-out pictures are not stored but drawn again from their seed.
"""

import argparse
from pathlib import Path
from typing import Any

from prefgen.evaluate.scenes import export
from prefgen.evaluate.scenes.export import truth_row, write_rows
from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, Heldout, heldout
from prefgen.evaluate.scenes.sample import TRAINING, sample_scene
from prefgen.evaluate.scenes.truth import Scene

INSTRUCT_SEED, INSTRUCT_ROWS = 20_001, 500
TEXT_ONLY_ROW = 250  # the one row without an image, as LLaVA's mix665k has many


def instruct_row(index: int) -> dict[str, Any]:
    """Row ``index`` of llava_instruct.json; its picture is that of the scene with the same index."""
    if index == TEXT_ONLY_ROW:
        turns = [("human", "What is two plus three?"), ("gpt", "Two plus three is five.")]
        return {"id": f"{index:012d}", "conversations": [{"from": who, "value": text} for who, text in turns]}
    return export.instruct_row(instruct_scene(index))


def instruct_scene(index: int) -> Scene:
    """The scene behind row ``index`` of llava_instruct.json."""
    return sample_scene(TRAINING, INSTRUCT_SEED, index)


def heldout_row(item: Heldout) -> dict[str, Any]:
    """One row of heldout.json: a scene's truth, and its questions."""
    row = truth_row(item.scene)
    del row["image"]
    return {
        **row,
        "question": CAPTION_QUESTION,
        "probes": [vars(probe) for probe in item.probes],
        "attributes": [vars(attribute) for attribute in item.attributes],
    }


def write(folder: Path) -> None:
    """Write all files of the data set into a folder."""
    rows = [instruct_row(index) for index in range(INSTRUCT_ROWS)]
    scenes = [instruct_scene(index) for index, row in enumerate(rows) if "image" in row]
    export.write(folder, scenes, export.Frequencies.of(scenes), rows)
    write_rows(folder / "heldout.json", [heldout_row(item) for item in heldout()])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, required=True, metavar="DIR", help="folder to write the data set into")
    write(parser.parse_args().write)


if __name__ == "__main__":
    main()
