"""Judges that know the truth of the scenes: replies for `scene_corrupt.serving`, where others ask a chat model.

The captions of the scenes are true and complete, so that a row's own caption, which the prompts hold as the reference,
says which shapes and colours its picture has. No judge here draws anything: same request, same reply.
"""

import json
import re

from scene_corrupt import Sections

from prefgen.evaluate.scenes.metrics import colours_in, shapes_in

VERDICT_PROMPT = """=== user ===
--- $fence question
$question
--- $fence reference
$reference
--- $fence answer A
$first
--- $fence answer B
$second
--- $fence end
"""
"""For `prefgen rank --by api`: without words, for `verdict` reads the sections alone."""

_SENTENCE = re.compile(r"[^.]+\.\s*")


def claims(sections: Sections) -> str:
    """Each shape that an answer names, as a statement and the question that the scenes' model knows."""
    named = sorted(shapes_in(sections["answer"]))
    return "\n".join(f"There is a {shape}. | Is there a {shape} in the image?" for shape in named) or "none"


def verdict(sections: Sections) -> str:
    """Of two answers, the one with fewer shapes invented or missed."""
    true = shapes_in(sections["reference"])
    errors = [len(shapes_in(sections[f"answer {each}"]) ^ true) for each in "AB"]
    better = "tie" if errors[0] == errors[1] else "AB"[errors[1] < errors[0]]
    return json.dumps({"reason": f"{errors[0]} and {errors[1]} wrong", "verdict": better})


def repair(sections: Sections) -> str:
    """An answer without the sentences about shapes that are not there, and with the colours of those that are."""
    colours = {shape: colour for colour, shape in colours_in(sections["reference answer"])}
    kept = [each for each in _SENTENCE.findall(sections["answer"]) if shapes_in(each) <= colours.keys()]
    text = "".join(kept).strip()
    for colour, shape in colours_in(text):
        text = re.sub(rf"\b{colour} (?={shape})", f"{colours[shape]} ", text, flags=re.IGNORECASE)
    return text or sections["answer"]
