"""Stage 1 of the training: teaches the CLIP vision tower what is where, before any language.

Every patch token predicts which grid cell it lies in, and the shape and colour of whatever that cell holds ("nothing"
is a class of its own). The first looks pointless, but without it the tower drops its position embedding on the way, and
a language model on top names shapes and colours long before it can say where anything is.
Scenes are unbiased and crowded, so that the tower learns to see and not to guess. Without this stage the language model
learns the prior long before the features become readable.
"""

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionModel

from prefgen.evaluate.scenes.render import IMAGE_SIZE, photo
from prefgen.evaluate.scenes.world import CELLS, COLOURS, SHAPES, Scene, World, sample_scene

log = logging.getLogger(__name__)

PATCH_SIZE = 8
PATCHES = IMAGE_SIZE // PATCH_SIZE  # per side
IMAGE_MEAN = IMAGE_STD = 0.25
CROWDED = World(0.5, 0.0, (0.25,) * 4, (0.1, 0.2, 0.3, 0.4))
CLASSES = [1 + len(SHAPES), 1 + len(COLOURS), CELLS]  # of the three predictions: shape, colour, place
SEED_OFFSET = 1_000_003  # the series of vision scenes, relative to the training seed


@dataclass(frozen=True)
class VisionRecipe:
    """Stage 1: the vision tower alone."""

    steps: int = 1600
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100


def pixel_values(images: list[Image.Image]) -> torch.Tensor:
    """What the saved ``CLIPImageProcessor`` gives for 64x64 pictures, without its overhead: float (B, 3, 64, 64)."""
    pixels = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return torch.from_numpy((pixels / 255 - IMAGE_MEAN) / IMAGE_STD).permute(0, 3, 1, 2).contiguous()


def patch_labels(scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Shape class, colour class and place of the cell of every patch, int64 (B, 64) each; 0 is "nothing there"."""
    shapes = torch.zeros(len(scenes), CELLS, dtype=torch.long)
    colours = torch.zeros(len(scenes), CELLS, dtype=torch.long)
    for row, scene in enumerate(scenes):
        for shape, colour, cell in scene.objects:
            shapes[row, cell] = 1 + SHAPES.index(shape)
            colours[row, cell] = 1 + COLOURS.index(colour)
    cells = patch_cells()
    return shapes[:, cells], colours[:, cells], cells.expand(len(scenes), -1)


def patch_cells() -> torch.Tensor:
    """The cell in which the middle of each patch lies, int64 (64,)."""
    third = torch.div((torch.arange(PATCHES) + 0.5) * 3, PATCHES, rounding_mode="floor").long()
    return (third[:, None] * 3 + third[None, :]).flatten()


def train_vision(tower: CLIPVisionModel, recipe: VisionRecipe, seed: int) -> None:
    """Train a fresh vision tower; its last hidden state is what the language model will read."""
    tower.train()
    head = nn.Linear(tower.config.hidden_size, sum(CLASSES))
    parameters = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = cosine(optimizer, recipe.steps, recipe.warmup_steps)
    start = time.monotonic()
    for step in range(1, recipe.steps + 1):
        first = (step - 1) * recipe.batch_size
        scenes = [sample_scene(CROWDED, seed + SEED_OFFSET, first + i) for i in range(recipe.batch_size)]
        labels = patch_labels(scenes)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = tower(pixel_values([photo(scene) for scene in scenes])).last_hidden_state
            logits = head(hidden[:, 1:]).float().split(CLASSES, dim=-1)
        loss = torch.stack(
            [functional.cross_entropy(a.flatten(0, 1), b.flatten()) for a, b in zip(logits, labels, strict=True)]
        ).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            recall, false_alarms = _detection(logits[0], labels[0])
            log.info(
                "vision step %d/%d loss %.3f shape recall %.3f false alarms %.4f (%.0f s)",
                step, recipe.steps, loss.item(), recall, false_alarms, time.monotonic() - start,
            )  # fmt: skip
    tower.eval()


def cosine(
    optimizer: torch.optim.Optimizer, steps: int, warmup_steps: int, floor: float = 0.05
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then half a cosine down to `floor`, a share of the peak."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, steps - warmup_steps)
        return floor + (1 - floor) * 0.5 * (1 + float(np.cos(np.pi * min(1.0, progress))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _detection(logits: torch.Tensor, shapes: torch.Tensor) -> tuple[float, float]:
    """Share of occupied patches with the right shape, and of empty patches with any shape."""
    predicted = logits.argmax(-1)
    occupied = shapes > 0
    right = (predicted == shapes)[occupied].float().mean().item()
    return right, (predicted > 0)[~occupied].float().mean().item()
