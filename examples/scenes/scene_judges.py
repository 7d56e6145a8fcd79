"""Judges that know the truth of the scenes: replies for `scene_corrupt.serving`, where others ask a chat model.

Detailed captions of the scenes are true and complete, so that a row's own caption, which the prompts hold as the
reference, says which things its picture has, and most of their colours. No judge here draws anything: same request,
same reply.
"""

import json
import re

from scene_corrupt import Sections
from scene_edits import exchanged

from prefgen.evaluate.scenes.claims import kinds_in, read
from prefgen.evaluate.scenes.language import PRESENCE_QUESTIONS
from prefgen.evaluate.scenes.truth import KINDS

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
    """Each kind that an answer names, as a statement and the question that the scenes' model knows."""
    named = [f"{KINDS[kind].article} {kind}" for kind in sorted(kinds_in(sections["answer"]))]
    return "\n".join(f"There is {a}. | {PRESENCE_QUESTIONS[0].format(a=a)}" for a in named) or "none"


def verdict(sections: Sections) -> str:
    """Of two answers, the one with fewer kinds invented or missed."""
    true = kinds_in(sections["reference"])
    errors = [len(kinds_in(sections[f"answer {each}"]) ^ true) for each in "AB"]
    better = "tie" if errors[0] == errors[1] else "AB"[errors[1] < errors[0]]
    return json.dumps({"reason": f"{errors[0]} and {errors[1]} wrong", "verdict": better})


def repair(sections: Sections) -> str:
    """An answer without the sentences about things that are not there, and with the colours of those that are."""
    true = read(sections["reference answer"])
    colours = {claim.subject: claim.value for claim in true if claim.attribute == "colour"}
    there = kinds_in(sections["reference answer"])
    text = "".join(each for each in _SENTENCE.findall(sections["answer"]) if kinds_in(each) <= there).strip()
    for claim in sorted(read(text)):
        if claim.attribute == "colour" and colours.get(claim.subject, claim.value) != claim.value:
            text = exchanged(text, claim, colours[claim.subject])
    return text or sections["answer"]
