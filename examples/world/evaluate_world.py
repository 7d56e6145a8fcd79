"""Figures of a model on unbiased scenes that no training has seen: CHAIR and POPE, with intervals over scenes.

    PYTHONPATH=.:examples/scenes python examples/world/evaluate_world.py --model DIR --output FILE

The questions and the truth are those of ``prefgen.evaluate.world.export``, the figures those of ``prefgen eval chair``
and ``prefgen eval pope --parser strict``.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from prefgen.evaluate.benchmarks import chair, pope
from prefgen.evaluate.benchmarks.coco_objects import ObjectWords
from prefgen.evaluate.benchmarks.files import Question
from prefgen.evaluate.benchmarks.intervals import drawn, intervals, share
from prefgen.evaluate.scenes.measure import Responder, responder
from prefgen.evaluate.world.claims import Claim, claims_of, read
from prefgen.evaluate.world.export import SPLITS, Frequencies, file_name, pope_rows
from prefgen.evaluate.world.language import DETAIL_QUESTIONS, question
from prefgen.evaluate.world.render import photo
from prefgen.evaluate.world.sample import TRAINING, UNBIASED, sample_scene
from prefgen.evaluate.world.truth import KINDS, TEXT_STREAM, Scene

HELDOUT_SEED, HELDOUT_SCENES = 30_001, 300
ATTRIBUTE_SCENES = 100
FREQUENCY_SEED, FREQUENCY_SCENES = 50_001, 1500
CAPTION_TOKENS, WORD_TOKENS, ANSWER_TOKENS = 200, 3, 24
ATTRIBUTES = ("colour", "count", "action")


def heldout(count: int = HELDOUT_SCENES) -> list[Scene]:
    """The first evaluation scenes."""
    return [sample_scene(UNBIASED, HELDOUT_SEED, index) for index in range(count)]


def figures(respond: Responder, scenes: Sequence[Scene]) -> dict[str, Any]:
    """All figures of a model."""
    pictures = [photo(scene) for scene in scenes]
    shown = {file_name(scene): picture for scene, picture in zip(scenes, pictures, strict=True)}
    words = ObjectWords({name: [kind.plural] for name, kind in KINDS.items()}, "world")
    told = respond(pictures, [DETAIL_QUESTIONS[0]] * len(scenes), CAPTION_TOKENS)
    found: dict[str, Any] = {
        "chair": chair.score(
            [
                chair.judge(number, text, set(scene.kinds), words)
                for number, (scene, text) in enumerate(zip(scenes, told, strict=True))
            ],
            words,
        ),
        "claims": claim_figures(scenes, told),
    }
    frequencies = Frequencies.of(sample_scene(TRAINING, FREQUENCY_SEED, index) for index in range(FREQUENCY_SCENES))
    rows = {split: pope_rows(scenes, split, frequencies) for split in SPLITS}
    asked = {(row["image"], row["text"]): shown[row["image"]] for each in rows.values() for row in each}
    said = dict(zip(asked, respond([*asked.values()], [text for _, text in asked], WORD_TOKENS), strict=True))
    judged = [
        pope.judge(
            Question(split, str(row["question_id"]), row["image"], row["text"], row),
            said[row["image"], row["text"]],
            "strict",
        )
        for split, each in rows.items()
        for row in each
    ]
    found["pope"] = pope.score(judged, "strict")
    found["attributes"] = attribute_figures(respond, scenes[:ATTRIBUTE_SCENES], pictures)
    return found


def claim_figures(scenes: Sequence[Scene], captions: Sequence[str]) -> dict[str, Any]:
    """Share of false claims in captions by attribute: "a red cup" that is blue is a false claim of a colour."""
    attributes = ("colour", "count", "action", "surface", "place")
    counts = []
    for scene, text in zip(scenes, captions, strict=True):
        true = claims_of(scene)
        claims = [claim for claim in read(text) if not claim.subject or Claim(claim.subject, "exists") in true]
        counts.append(
            [
                number
                for attribute in attributes
                for own in [[claim for claim in claims if claim.attribute == attribute]]
                for number in (sum(claim not in true for claim in own), len(own))
            ]
        )
    return by_pairs(counts, [f"{attribute}/false" for attribute in attributes])


def attribute_figures(respond: Responder, scenes: Sequence[Scene], pictures: Sequence[Any]) -> dict[str, Any]:
    """Share of right answers to questions about colour, count and action of things that are there."""
    asked = []
    for number, scene in enumerate(scenes):
        for thing in scene.things:
            for attribute in ATTRIBUTES:
                if attribute != "action" or thing.action:
                    turn = question(scene, attribute, scene.rng(TEXT_STREAM), thing.kind)
                    value = {"colour": thing.colour, "count": str(thing.count), "action": thing.action}[attribute]
                    asked.append((number, turn, Claim(thing.kind, attribute, str(value))))
    replies = respond(
        [pictures[number] for number, _, _ in asked], [turn.question for _, turn, _ in asked], ANSWER_TOKENS
    )
    counts = [[0] * 2 * len(ATTRIBUTES) for _ in scenes]
    for (number, _, claim), reply in zip(asked, replies, strict=True):
        place = 2 * ATTRIBUTES.index(claim.attribute)
        counts[number][place] += claim in read(reply)
        counts[number][place + 1] += 1
    return by_pairs(counts, [f"{attribute}/accuracy" for attribute in ATTRIBUTES])


def by_pairs(counts: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
    """Ratios of numerators and denominators of each scene, with intervals over scenes."""
    import numpy as np

    table = np.array(counts, dtype=np.float64)

    def ratios(sums: Any) -> dict[str, float | None]:
        return {name: share(sums[2 * n], sums[2 * n + 1]) for n, name in enumerate(names)}

    return {**ratios(table.sum(axis=0)), "intervals": intervals(table, ratios, drawn(len(table), 0))}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder of the trained model")
    parser.add_argument("--scenes", type=int, default=HELDOUT_SCENES, help=f"number of scenes ({HELDOUT_SCENES})")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON of all figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    model = AutoModelForImageTextToText.from_pretrained(options.model, dtype=torch.float32).eval()
    respond = responder(model, AutoProcessor.from_pretrained(options.model))
    found = figures(respond, heldout(options.scenes))
    options.output.write_text(json.dumps({"scenes": options.scenes, **found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
