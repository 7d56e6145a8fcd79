"""Repair by truth: a chat server on loopback that knows the scenes, where OPA-DPO has GPT-4V.

    python examples/scenes/scene_revise.py --port 8765
    prefgen revise --input examples/scenes/llava_instruct.json --turns first --model examples/scenes/model \
      --judge truth --judge-url http://127.0.0.1:8765/v1 --output revised

It knows the pictures of `llava_instruct.json` by their bytes. A sentence that is not true of the scene is repaired by
exchanging words, such as a colour, a number or a surface; where that does not do, it gives way to a true sentence about
the same thing or about one that the answer does not name, or is left out.
"""

import argparse
import functools
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from scene_corrupt import Sections, serving
from scene_edits import exchanged
from scenes import instruct_scene

from prefgen.evaluate.scenes.claims import SceneClaim, claims_of, is_carried, kinds_in, read
from prefgen.evaluate.scenes.language import PRESENCE, sentence_about
from prefgen.evaluate.scenes.metrics import yes_or_no
from prefgen.evaluate.scenes.truth import Scene
from prefgen.methods.replies import KINDS

_IMAGES = Path(__file__).parent / "images"
_ERROR = {
    "exists": "object",
    **dict.fromkeys(("colour", "action", "light", "weather"), "attribute"),
    "count": "count",
    **dict.fromkeys(("surface", "side", "place"), "position"),
}  # all others are relations


def errors(sentence: str, scene: Scene, question: str = "") -> list[str]:
    """Kinds of what a sentence says falsely of a scene, as `prefgen.methods.replies.KINDS` names them.

    Args:
        question: that a leading yes or no answers.
    """
    asked, said = PRESENCE.get(question.strip()), yes_or_no(sentence)
    if asked and said and (said == "yes") != (asked in scene.kinds):
        return ["object"]
    return sorted({_ERROR.get(claim.attribute, "relation") for claim in _false(sentence, scene)}, key=KINDS.index)


def _false(sentence: str, scene: Scene) -> list[SceneClaim]:
    """False claims of a sentence; of a thing that is not there, only that it is."""
    return [
        claim
        for claim in sorted(read(sentence) - claims_of(scene))
        if claim.attribute == "exists" or claim.subject in ("", *scene.kinds)
    ]


def repaired(sentence: str, scene: Scene, others: str, question: str = "") -> str:
    """A sentence with its errors exchanged for the truth; empty where nothing can be kept.

    Args:
        others: the true sentences of the answer, whose things are not described again.
    """
    things = {thing.kind: thing for thing in scene.things}
    if yes_or_no(sentence) and (asked := PRESENCE.get(question.strip())):
        if asked not in things:
            return f"No, there is no {asked} in the image."
        return f"Yes, {_lower(sentence_about(scene, things[asked], _rng()))}"
    mended = sentence
    for claim in _false(sentence, scene):
        if value := _truth(claim, scene):
            mended = exchanged(mended, claim, value)
    if not errors(mended, scene):
        return mended
    left = [thing for thing in scene.things if thing.kind not in kinds_in(others)]
    surfaces = {claim.value for claim in read(sentence) if claim.attribute == "surface"}
    about = [thing for thing in left if thing.kind in kinds_in(sentence)]
    about = about or [thing for thing in left if thing.surface in surfaces]
    return sentence_about(scene, about[0], _rng()) if about else ""


def _truth(claim: SceneClaim, scene: Scene) -> str | None:
    """The true value of a claim; None if it has none that could be put in its place."""
    if not claim.subject:
        return {"place": scene.place, "light": scene.light, "weather": scene.weather}[claim.attribute]
    thing = next((thing for thing in scene.things if thing.kind == claim.subject), None)
    if thing is None:
        return None
    surface = None if is_carried(thing) else thing.surface
    values = {"colour": thing.colour, "action": thing.action, "count": str(thing.count), "surface": surface}
    return values.get(claim.attribute)


def _lower(text: str) -> str:
    return text if text.startswith("I ") else text[0].lower() + text[1:]


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
