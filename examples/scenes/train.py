"""Trains the small LLaVA of the scenes from scratch: tokenizer, vision tower, then captions and questions.

    python examples/scenes/train.py --output DIR --seed 0

The vision tower comes first (train_vision.py) and stays frozen from then on, so that what the model sees is fixed and
what it guesses is learned. Projector and language model are then trained on an endless stream of conversations about
biased scenes, in stages of falling bias. The loss is on answers only, each with its ``</s>``. The figures on the
held-out scenes end up in ``figures.json`` beside the weights; model_card.md explains them.
"""

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scene_model import answer_labels, chat_text, llava_config, make_processor, save, train_tokenizer, vision_config
from train_vision import VisionRecipe, cosine, pixel_values, train_vision
from transformers import (
    CLIPVisionModel,
    GenerationConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.utils import logging as transformers_logging

from prefgen.evaluate.scenes.heldout import heldout
from prefgen.evaluate.scenes.measure import as_json, evaluate, responder
from prefgen.evaluate.scenes.render import photo
from prefgen.evaluate.scenes.text import Mix, SceneQuestion, conversation
from prefgen.evaluate.scenes.world import TEXT_STREAM, TRAINING, Scene, World, sample_scene

log = logging.getLogger(__name__)

THREADS = 2
VALIDATION_SEED, VALIDATION_SCENES = 40_001, 100  # another series than the held-out scenes: nothing is tuned on those
WATCHED = (
    "chair_i",
    "object_recall",
    "partner_hallucination",
    "present/accuracy",
    "absent-popular/accuracy",
    "absent-adversarial/accuracy",
    "colour/accuracy",
    "place/accuracy",
    "count/accuracy",
)

Sample = tuple[Scene, list[SceneQuestion]]
Inputs = dict[str, torch.Tensor]
"""Keyword arguments of the model: input_ids and labels (B, T), pixel_values, and so on."""


@dataclass(frozen=True)
class LanguageRecipe:
    """How a vision-language model is trained on conversations."""

    world: World
    steps: int
    learning_rate: float
    first_scene: int = 0  # of the endless series of training scenes
    batch_size: int = 32
    pool_batches: int = 8
    weight_decay: float = 0.01
    warmup_steps: int = 100
    evaluate_every: int = 400
    mix: Mix = field(default_factory=Mix)


# The bias falls from stage to stage: first the prior, then the places, then objects that come alone.
STAGES = (
    LanguageRecipe(World(partner_probability=0.96), steps=2000, learning_rate=1.2e-3),
    LanguageRecipe(World(partner_probability=0.90), steps=1200, learning_rate=1.0e-3, first_scene=500_000),
    LanguageRecipe(TRAINING, steps=1000, learning_rate=0.8e-3, first_scene=750_000),
)


def training_scenes(seed: int, recipe: LanguageRecipe) -> Iterator[list[Sample]]:
    """Batches of training scenes, each with a conversation, for ever.

    Scenes are drawn in pools and a pool is cut into batches by length of text, which saves a fifth of the padding.
    """
    first = recipe.first_scene
    while True:
        samples = []
        for index in range(first, first + recipe.pool_batches * recipe.batch_size):
            scene = sample_scene(recipe.world, seed, index)
            samples.append((scene, conversation(scene, scene.rng(TEXT_STREAM), recipe.mix)))
        samples.sort(key=lambda sample: sum(len(turn.question) + len(turn.answer) for turn in sample[1]))
        for batch in np.random.default_rng([seed, first]).permutation(recipe.pool_batches):
            yield samples[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
        first += len(samples)


def language_inputs(tokenizer: PreTrainedTokenizerFast, samples: list[Sample]) -> Inputs:
    """A batch for the base model, right-padded."""
    texts = [chat_text(tokenizer, turns) for _, turns in samples]
    padded = tokenizer(texts, padding=True, pad_to_multiple_of=16, padding_side="right", return_tensors="pt")
    input_ids = padded["input_ids"]
    # No attention mask: padding lies behind everything that has a label, and causal attention never looks ahead.
    return {
        "input_ids": input_ids,
        "labels": answer_labels(tokenizer, input_ids),
        "pixel_values": pixel_values([photo(scene) for scene, _ in samples]),
    }


def fit(
    model: PreTrainedModel, processor: ProcessorMixin, recipe: LanguageRecipe, batches: Iterator[Inputs], output: Path
) -> None:
    """Train all parameters that require a gradient; matrix products in bfloat16, everything else in float32.

    Every evaluation also saves to ``output``, so that a run that is stopped leaves something to look at.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    schedule = cosine(optimizer, recipe.steps, recipe.warmup_steps)
    validation = heldout(VALIDATION_SCENES, VALIDATION_SEED)
    start, losses = time.monotonic(), []
    for step in range(1, recipe.steps + 1):
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**next(batches)).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0:
            mean = sum(losses[-50:]) / 50
            log.info("language step %d/%d loss %.4f (%.0f s)", step, recipe.steps, mean, time.monotonic() - start)
        if step % recipe.evaluate_every == 0:
            figures = evaluate(responder(model.eval(), processor), validation)
            log.info("  %s", ", ".join(f"{name} {100 * figures[name].value:.1f}" for name in WATCHED))
            save(model, processor, output)
    model.eval()


def new_model(tower: CLIPVisionModel, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """An untrained projector and language model on top of a trained vision tower, which is frozen."""
    model = LlavaForConditionalGeneration(llava_config(tokenizer))
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    model.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def train(output: Path, seed: int, keep: Path | None = None) -> None:
    """Train everything and save a folder that ``from_pretrained`` reads.

    ``keep`` is a folder for the result of each stage; a stage whose result is already there is not trained again.
    """
    torch.set_num_threads(THREADS)
    start = time.monotonic()
    torch.manual_seed(seed)
    tower = CLIPVisionModel(vision_config())
    _stage(tower, keep and keep / "vision.pt", lambda: train_vision(tower, VisionRecipe(), seed))

    tokenizer = train_tokenizer(STAGES[0].world, seed)
    processor = make_processor(tokenizer)
    torch.manual_seed(seed)
    model = new_model(tower, tokenizer)

    def train_language(recipe: LanguageRecipe) -> None:
        batches = (language_inputs(tokenizer, samples) for samples in training_scenes(seed, recipe))
        fit(model, processor, recipe, batches, output)

    for number, recipe in enumerate(STAGES, start=1):
        _stage(model, keep and keep / f"language-{number}.pt", partial(train_language, recipe))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    log.info("%d parameters, trained in %.1f minutes", parameters, (time.monotonic() - start) / 60)
    save(model, processor, output)
    (output / "figures.json").write_text(as_json(evaluate(responder(model, processor), heldout())) + "\n")


def _stage(module: torch.nn.Module, kept: Path | None, train_it: Callable[[], None]) -> None:
    """Load what an earlier run kept, or train and keep it."""
    if kept is not None and kept.exists():
        module.load_state_dict(torch.load(kept, weights_only=True))
        return
    train_it()
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), kept)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the trained model")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and training scenes (default 0)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the result of each stage here, or start from it")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    transformers_logging.set_verbosity_error()
    train(options.output, options.seed, options.keep)


if __name__ == "__main__":
    main()
