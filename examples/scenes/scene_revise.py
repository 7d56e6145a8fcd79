"""Repair by truth: a chat server on loopback that knows the scenes, where OPA-DPO has GPT-4V.

    python examples/scenes/scene_revise.py --port 8765
    prefgen revise --input examples/scenes/llava_instruct.json --turns first --model examples/scenes/model \
      --judge truth --judge-url http://127.0.0.1:8765/v1 --output revised

It knows the pictures of `llava_instruct.json` by their bytes. A sentence that is not true of the scene is repaired with
as few changes as can be: another colour, place or number, or another shape if one that the answer does not name is in
that place; otherwise it is left out.
"""

import argparse
import functools
import hashlib
import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
from scene_corrupt import Sections, serving
from scenes import instruct_scene

from prefgen.evaluate.scenes.metrics import cells_in, colours_in, shapes_in, yes_or_no
from prefgen.evaluate.scenes.text import NUMBERS, PLACES, thing_sentence
from prefgen.evaluate.scenes.world import COLOURS, PLURAL, SHAPES, Scene, Thing

_IMAGES = Path(__file__).parent / "images"
_NOUN = re.compile(rf"\b({'|'.join(SHAPES)})(?:es|s)?\b", re.IGNORECASE)
_PLACE = re.compile("|".join(sorted((name for names in PLACES for name in names), key=len, reverse=True)), re.I)
_COUNTED = re.compile(rf"\b({'|'.join(NUMBERS)})(?: (?:{'|'.join(COLOURS)}))? (?:{'|'.join(SHAPES)})(?:es|s)?\b", re.I)
_TOTAL = re.compile(rf"\b({'|'.join(NUMBERS)}|a single)(?= objects?\b)", re.IGNORECASE)
_RELATION = re.compile(
    rf"(\w+) is (to the left of|to the right of|above|below) the (?:{'|'.join(COLOURS)}) (\w+)", re.IGNORECASE
)
_NUMBER_OF = {**{word: number for number, word in enumerate(NUMBERS)}, "a single": 1}


def errors(sentence: str, scene: Scene, question: str = "") -> list[str]:
    """Kinds of what a sentence says falsely of a scene, as `prefgen.methods.replies.KINDS` names them.

    Args:
        question: that a leading yes or no answers.
    """
    things = {thing.shape: thing for thing in scene.things}
    named, asked = shapes_in(sentence), shapes_in(question)
    if (said := yes_or_no(sentence)) and asked:
        if (said == "yes") != (asked <= things.keys()):
            return ["object"]
        if said == "no":
            return []
    found = ["object"] if named - things.keys() else []
    if any(shape in things and things[shape].colour != colour for colour, shape in colours_in(sentence)):
        found.append("attribute")
    if (total := _TOTAL.search(sentence)) and _NUMBER_OF[total[1].lower()] != len(scene.objects):
        found.append("count")
    known = [things[shape] for shape in named if shape in things]
    if len(named) == 1 and known:
        if not {*cells_in(sentence)} <= {*known[0].cells}:
            found.append("position")
        if (counted := _COUNTED.search(sentence)) and _NUMBER_OF[counted[1].lower()] != len(known[0].cells):
            found.append("count")
    if (relation := _RELATION.search(sentence)) and len(known) == len(named) == 2:
        found += [] if _relates(things, *relation.groups()) else ["relation"]
    return found


def _relates(things: dict[str, Thing], one: str, word: str, other: str) -> bool:
    (row, column), (other_row, other_column) = (
        divmod(things[shape.lower()].cells[0], 3) if shape.lower() in things else (0, 0) for shape in (one, other)
    )
    holds = {"above": row < other_row, "below": row > other_row, "to the left of": column < other_column}
    return holds.get(word.lower(), column > other_column)


def repaired(sentence: str, scene: Scene, others: str, question: str = "") -> str:
    """A sentence with its errors exchanged for the truth; empty where nothing can be kept.

    Args:
        others: the true sentences of the answer, whose shapes are not described again.
    """
    things = {thing.shape: thing for thing in scene.things}
    if yes_or_no(sentence) and (asked := shapes_in(question)):
        (shape, *_) = sorted(asked)
        thing = things.get(shape)
        return f"Yes, {_lower(thing_sentence(thing, _rng()))}" if thing else f"No, there is no {shape} in the image."
    if len(shapes_in(sentence)) != 1:
        return _TOTAL.sub(NUMBERS[len(scene.objects)], sentence) if _TOTAL.search(sentence) else ""
    (shape,) = shapes_in(sentence)
    if shape not in things:
        there = [thing for thing in scene.things if {*thing.cells} & {*cells_in(sentence)}]
        if not there:
            return ""
        shape = there[0].shape
        sentence = _NOUN.sub(
            lambda noun: _case(noun[0], PLURAL[shape] if noun[0].lower() not in SHAPES else shape), sentence
        )
    if shape in shapes_in(others):
        return ""
    thing = things[shape]
    colour = re.compile(rf"\b({'|'.join(COLOURS)})(?= {shape})", re.IGNORECASE)
    sentence = colour.sub(lambda found: _case(found[0], thing.colour), sentence)
    if not {*cells_in(sentence)} <= {*thing.cells}:
        first, *rest = _PLACE.finditer(sentence)
        place = " and ".join(PLACES[cell][0] for cell in thing.cells)
        sentence = sentence[: first.start()] + _case(first[0], place) + sentence[(rest or [first])[-1].end() :]
    return thing_sentence(thing, _rng()) if errors(sentence, scene) else sentence


def _case(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


@functools.cache
def _scenes() -> dict[str, int]:
    """The indices of the scenes by the digest of their picture."""
    return {hashlib.sha256(path.read_bytes()).hexdigest(): int(path.stem) for path in _IMAGES.glob("*.jpg")}


def reply(sections: Sections) -> str:
    """The reply to a request of `prefgen revise`."""
    scene, question = instruct_scene(_scenes()[sections["picture"]]), sections["question"]
    found: list[dict[str, Any]] = []
    sentences = [line.partition("] ")[2] for line in sections["answer"].split("\n")]
    kept = [sentence for sentence in sentences if not errors(sentence, scene, question)]
    for number, sentence in enumerate(sentences, 1):
        if kinds := errors(sentence, scene, question):
            kept.append(repaired(sentence, scene, " ".join(kept), question))
            found.append({"number": number, "kind": kinds[0], "problem": ", ".join(kinds), "revised": kept[-1]})
    return json.dumps({"sentences": found})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765)
    with serving(parser.parse_args().port, reply) as url:
        print(f"{url}, until Ctrl-C")
        threading.Event().wait()


if __name__ == "__main__":
    main()
