"""Trains the small LLaVA of the scenes from scratch: pictures, vision tower, then captions and questions.

    python examples/scenes/train.py --work DIR --output DIR --seed 0

The same command goes on where it was stopped: pools of pictures, features and checkpoints are kept in the work folder.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch
from language_model import LanguageRecipe, features_of, new_model, train_language, train_tokenizer
from pictures import load, pools
from scene_model import make_processor, save
from tower import TowerRecipe, train_tower
from transformers import AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from prefgen.evaluate.scenes.heldout import heldout
from prefgen.evaluate.scenes.measure import as_json, evaluate, responder


def train(work: Path, output: Path, seed: int, tower_recipe: TowerRecipe, recipe: LanguageRecipe) -> None:
    """Train everything and save a folder that ``from_pretrained`` reads, with the figures beside the weights."""
    work.mkdir(parents=True, exist_ok=True)
    sources = pools(seed)
    validation = load(work, sources["validation"])
    tower = train_tower(load(work, sources["vision"]), validation, tower_recipe, seed, work / "tower.pt")
    pictures = load(work, sources["language"])
    features = features_of(tower, pictures.pixels, work / "features.npy")
    tokenizer = train_tokenizer(pictures.scenes)
    torch.manual_seed(seed)
    model = new_model(tower, tokenizer)
    seen = heldout(sources["validation"].size, sources["validation"].seed)
    seen = [replace(item, attributes=()) for item in seen]  # the last figures have them
    train_language(model, tokenizer, pictures, features, seen, recipe, seed, work / "language.pt")
    model.requires_grad_(True)
    processor = make_processor(tokenizer)
    save(model, processor, output, stored_as=torch.float16)
    saved = AutoModelForImageTextToText.from_pretrained(output)
    (output / "figures.json").write_text(as_json(evaluate(responder(saved, processor), heldout())) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder of what is made on the way")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the trained model")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and scenes (default 0)")
    parser.add_argument("--tower-steps", type=int, default=TowerRecipe.steps)
    parser.add_argument("--language-steps", type=int, default=LanguageRecipe.steps)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers_logging.set_verbosity_error()
    train(
        options.work,
        options.output,
        options.seed,
        TowerRecipe(steps=options.tower_steps),
        LanguageRecipe(steps=options.language_steps),
    )


if __name__ == "__main__":
    main()
