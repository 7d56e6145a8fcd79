"""Measures hallucination of a model on the held-out scenes, against the exact truth.

    python examples/scenes/evaluate.py --model examples/scenes/model [--limit 200] [--blank] [--json]

Greedy decoding with the stock ``generate`` of transformers. Intervals are 95% bootstrap intervals over scenes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from rich.console import Console
from transformers import AutoModelForImageTextToText, AutoProcessor

from prefgen.evaluate.scenes.heldout import HELDOUT_SCENES, heldout
from prefgen.evaluate.scenes.measure import Responder, as_json, as_table, evaluate, responder


def blindfolded(respond: Responder) -> Responder:
    """A responder that shows grey pictures, so that a model says what it expects and not what it sees."""

    def respond_blindly(pictures: Sequence[Image.Image], questions: Sequence[str], max_new_tokens: int) -> list[str]:
        grey = [Image.new("RGB", picture.size, "grey") for picture in pictures]
        return respond(grey, questions, max_new_tokens)

    return respond_blindly


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or name of a transformers vision-language model")
    parser.add_argument("--limit", type=int, default=HELDOUT_SCENES, help="number of held-out scenes (default all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default 0)")
    parser.add_argument("--scale", type=int, default=1, help="draw pictures this many times larger (default 1)")
    parser.add_argument("--blank", action="store_true", help="show grey pictures instead, to measure the model's prior")
    parser.add_argument("--no-attributes", action="store_true", help="leave out questions about attributes and places")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()

    model = AutoModelForImageTextToText.from_pretrained(options.model).eval()
    processor = AutoProcessor.from_pretrained(options.model)
    respond = responder(model, processor)
    if options.blank:
        respond = blindfolded(respond)
    items = heldout(options.limit)
    if options.no_attributes:
        items = [replace(item, attributes=()) for item in items]
    figures = evaluate(respond, items, options.seed, options.scale)
    if not options.json:
        Console().print(as_table(figures, f"{Path(options.model).name} on {options.limit} unbiased scenes"))
    print(as_json(figures))


if __name__ == "__main__":
    main()
