"""Turns the base model into a LLaVA-NeXT one, which sees an overview of the picture and its tiles (AnyRes).

    python examples/scenes/anyres.py --model examples/scenes/model --output DIR --seed 0

``build_anyres`` only changes the architecture: same weights, a new ``image_newline`` vector, and a processor that cuts
tiles. A short fine-tuning then teaches the language model to read five times as many image tokens: a square picture,
enlarged to 288x288 where it is smaller, takes 144 of overview, 576 of its four tiles and 24 line ends. Training sees
pictures of 144x144 and of 288x288.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pictures import PATCH_SIZE
from scene_model import CHAT_TEMPLATE, IMAGE_MEAN, IMAGE_STD, answer_labels, messages, save
from torch import nn
from tower import Optimiser, Recipe, elapsed, resume, save_checkpoint
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.utils import logging as transformers_logging

from prefgen.evaluate.scenes.heldout import heldout
from prefgen.evaluate.scenes.language import Mix, SceneTurn, conversation
from prefgen.evaluate.scenes.measure import as_json, evaluate, responder
from prefgen.evaluate.scenes.render import photo
from prefgen.evaluate.scenes.sample import TRAINING, sample_scene
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, TEXT_STREAM, Scene

log = logging.getLogger(__name__)

GRID_PINPOINTS = [[2 * IMAGE_SIZE] * 2]  # height, width; the only choice, so that pictures of 144x144 are enlarged too
RECIPE = Recipe(steps=100, batch_size=12, learning_rate=2e-3, other_rate=4e-4, warmup_steps=30, compiled=False)
FIRST_SCENE = 1_000_000  # behind the scenes of the base model's training
MIX = Mix(detail=0.7, brief=0.1, more=(1, 3))

Sample = tuple[Scene, list[SceneTurn]]


def build_anyres(model_dir: Path, seed: int = 0) -> tuple[LlavaNextForConditionalGeneration, LlavaNextProcessor]:
    """The LLaVA-NeXT form of a saved base model, untrained but for what it inherits."""
    base = LlavaForConditionalGeneration.from_pretrained(model_dir)
    config = LlavaNextConfig(
        vision_config=base.config.vision_config,
        text_config=base.config.text_config,
        image_token_index=base.config.image_token_id,
        image_seq_length=base.config.image_seq_length,
        image_grid_pinpoints=GRID_PINPOINTS,
        vision_feature_layer=base.config.vision_feature_layer,
        vision_feature_select_strategy=base.config.vision_feature_select_strategy,
        pad_token_id=base.config.text_config.pad_token_id,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = LlavaNextForConditionalGeneration(config)
    model.load_state_dict(base.state_dict() | {"model.image_newline": model.model.image_newline.detach()})
    model.generation_config = base.generation_config
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    image_processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size=side,
        image_mean=[IMAGE_MEAN] * 3,
        image_std=[IMAGE_STD] * 3,
        image_grid_pinpoints=GRID_PINPOINTS,
    )
    processor = LlavaNextProcessor(
        image_processor=image_processor,
        tokenizer=AutoProcessor.from_pretrained(model_dir).tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    return model.eval(), processor


def samples(seed: int, step: int, count: int) -> list[Sample]:
    """Training scenes of a step, each with a conversation."""
    first = FIRST_SCENE + step * count
    scenes = [sample_scene(TRAINING, seed, index) for index in range(first, first + count)]
    return [(scene, conversation(scene, scene.rng(TEXT_STREAM), MIX)) for scene in scenes]


def anyres_inputs(processor: LlavaNextProcessor, given: Sequence[Sample], scale: int) -> dict[str, torch.Tensor]:
    """A batch for the AnyRes model, right-padded, with pictures 144*scale pixels wide."""
    inputs = processor(
        images=[photo(scene, scale=scale) for scene, _ in given],
        text=[processor.apply_chat_template(messages(turns)) for _, turns in given],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    return {**inputs, "labels": answer_labels(processor.tokenizer, inputs["input_ids"])}


def fine_tune(
    model: LlavaNextForConditionalGeneration,
    processor: LlavaNextProcessor,
    recipe: Recipe,
    seed: int,
    checkpoint: Path,
    every: int = 50,
) -> None:
    """Train the whole model on pictures of either size in turn, or go on from a checkpoint."""
    blocks = nn.ModuleList([model.model.vision_tower.encoder, model.model.language_model.layers])
    optimiser = Optimiser(blocks, [*model.parameters()], recipe)
    parts = {"model": model, "optimiser": optimiser}
    start, losses = (time.monotonic(), time.process_time()), []
    model.set_attn_implementation("eager")  # in training, faster than SDPA
    model.train()
    for step in range(resume(checkpoint, parts), recipe.steps):
        inputs = anyres_inputs(processor, samples(seed, step, recipe.batch_size), 1 + step % 2)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**inputs).loss
        optimiser.step(loss)
        losses.append(loss.item())
        if (step + 1) % every == 0:
            log.info("anyres %d/%d loss %.4f (%s)", step + 1, recipe.steps, np.mean(losses[-every:]), elapsed(start))
        if (step + 1) % every == 0 or step + 1 == recipe.steps:
            save_checkpoint(checkpoint, step + 1, parts)
    model.eval()


def train_anyres(model_dir: Path, output: Path, seed: int, recipe: Recipe = RECIPE) -> None:
    """Build, fine-tune (vision tower included) and save in half precision, with the figures beside the weights."""
    model, processor = build_anyres(model_dir, seed)
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = output / "checkpoint.pt"
    fine_tune(model, processor, recipe, seed, checkpoint)
    save(model, processor, output, stored_as=torch.float16)  # half the size in the repository
    saved = AutoModelForImageTextToText.from_pretrained(output)
    (output / "figures.json").write_text(as_json(evaluate(responder(saved, processor), heldout())) + "\n")
    checkpoint.unlink()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder of the trained base model")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the AnyRes model")
    parser.add_argument("--seed", type=int, default=0, help="seed of image_newline and training scenes (default 0)")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers_logging.set_verbosity_error()
    train_anyres(options.model, options.output, options.seed, replace(RECIPE, steps=options.steps))


if __name__ == "__main__":
    main()
