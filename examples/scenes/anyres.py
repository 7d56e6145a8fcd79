"""Turns the base model into a LLaVA-NeXT one, which sees an overview of the picture and its tiles (AnyRes).

    python examples/scenes/anyres.py --model examples/scenes/model --output DIR --seed 0

``build_anyres`` only changes the architecture: same weights, a new ``image_newline`` vector, and a processor that cuts
tiles. A short fine-tuning then teaches the language model to read several times as many image tokens. A 64x64 picture
takes 64 tokens of overview, 64 of tiles and 8 line ends; a 128x128 one 64 + 256 + 16. Training sees both sizes.
"""

import argparse
import logging
import time
from itertools import cycle
from pathlib import Path

import torch
from scene_model import CHAT_TEMPLATE, answer_labels, messages, save
from train import THREADS, Inputs, LanguageRecipe, Sample, fit, training_scenes
from train_vision import IMAGE_MEAN, IMAGE_STD, PATCH_SIZE
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
from prefgen.evaluate.scenes.measure import as_json, evaluate, responder
from prefgen.evaluate.scenes.render import IMAGE_SIZE, photo
from prefgen.evaluate.scenes.world import TRAINING

log = logging.getLogger(__name__)

GRID_PINPOINTS = [[64, 128], [128, 64], [128, 128]]  # height, width
RECIPE = LanguageRecipe(
    TRAINING,
    steps=300,
    learning_rate=4e-4,
    first_scene=1_000_000,  # behind the scenes of the base model's training
    batch_size=16,
    warmup_steps=30,
    evaluate_every=150,
)


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


def anyres_inputs(processor: LlavaNextProcessor, samples: list[Sample], scale: int) -> Inputs:
    """A batch for the AnyRes model, right-padded, with pictures 64*scale pixels wide."""
    inputs = processor(
        images=[photo(scene, scale=scale) for scene, _ in samples],
        text=[processor.apply_chat_template(messages(turns)) for _, turns in samples],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    return {**inputs, "labels": answer_labels(processor.tokenizer, inputs["input_ids"])}


def train_anyres(model_dir: Path, output: Path, seed: int) -> None:
    """Build, fine-tune (vision tower included) and save in half precision, with the figures beside the weights."""
    torch.set_num_threads(THREADS)
    start = time.monotonic()
    model, processor = build_anyres(model_dir, seed)
    scenes = training_scenes(seed, RECIPE)
    batches = (anyres_inputs(processor, samples, scale) for samples, scale in zip(scenes, cycle((1, 2)), strict=False))
    fit(model, processor, RECIPE, batches, output)
    log.info("fine-tuned in %.1f minutes", (time.monotonic() - start) / 60)
    save(model, processor, output, stored_as=torch.float16)  # half the size in the repository
    saved = AutoModelForImageTextToText.from_pretrained(output)
    (output / "figures.json").write_text(as_json(evaluate(responder(saved, processor), heldout())) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder of the trained base model")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the AnyRes model")
    parser.add_argument("--seed", type=int, default=0, help="seed of image_newline and training scenes (default 0)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers_logging.set_verbosity_error()
    train_anyres(options.model, options.output, options.seed)


if __name__ == "__main__":
    main()
