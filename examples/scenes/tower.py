"""Stage 1 of the training: teaches the CLIP vision tower what is where, before any language.

Every patch token predicts the kind, the colour and the action of the object that covers most of it ("nothing" is a kind
of its own) and the middle of that object, or of the patch itself where there is none, so that the tower does not
drop its position embedding on the way. The mean of all predicts place, light and weather. Scenes are unbiased and
crowded, so that the tower learns to see and not to guess; half of them are mirrored.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pictures import PATCHES, Pictures
from scene_model import IMAGE_MEAN, IMAGE_STD, vision_config
from torch import nn
from torch.nn import functional
from transformers import CLIPVisionModel

from prefgen.evaluate.scenes.truth import ACTIONS, COLOURS, IMAGE_SIZE, KINDS, LIGHTS, PLACES, WEATHERS, Scene

log = logging.getLogger(__name__)

OBJECT_HEADS = (1 + len(KINDS), len(COLOURS), 1 + len(ACTIONS), 2)  # kind, colour, action, middle
SCENE_HEADS = (len(PLACES), len(LIGHTS), len(WEATHERS))
MIDDLE_WEIGHT, SCENE_WEIGHT = 4.0, 0.2
LAST_RATE = 0.01  # share of the learning rate at the last step


@dataclass(frozen=True)
class Recipe:
    """The options of training that both stages have.

    Attributes:
        learning_rate: Of Muon, for the matrices of the transformer. other_rate: Of AdamW, for everything else.
        compiled: Whether the transformer runs through ``torch.compile``, 1.4 times as fast and in need of a compiler.
    """

    steps: int
    batch_size: int
    learning_rate: float
    other_rate: float
    weight_decay: float = 0.05
    warmup_steps: int = 100
    compiled: bool = True


@dataclass(frozen=True)
class TowerRecipe(Recipe):
    """Stage 1: the vision tower alone."""

    steps: int = 2400
    batch_size: int = 64
    learning_rate: float = 1e-2
    other_rate: float = 2.5e-3


@dataclass(frozen=True)
class Labels:
    """Truth of the patches of a pool, (N, 144) each and middles (N, 144, 2) in 0..1; of its scenes, (N, 3)."""

    kinds: torch.Tensor
    colours: torch.Tensor
    actions: torch.Tensor
    middles: torch.Tensor
    scenes: torch.Tensor


def pixel_values(pixels: np.ndarray) -> torch.Tensor:
    """Pixels as the saved ``CLIPImageProcessor`` gives them: uint8 (B, 144, 144, 3) to float (B, 3, 144, 144)."""
    return ((torch.from_numpy(pixels).float() / 255 - IMAGE_MEAN) / IMAGE_STD).permute(0, 3, 1, 2).contiguous()


def labels_of(pictures: Pictures) -> Labels:
    """The truth that patches are trained on."""
    count, patches = pictures.owners.shape
    kinds = np.zeros((count, patches), np.int64)
    colours, actions = np.zeros_like(kinds), np.zeros_like(kinds)
    rows, columns = np.divmod(np.arange(patches), PATCHES)
    own = (np.stack([columns, rows], axis=-1) + 0.5) / PATCHES
    middles = np.broadcast_to(own, (count, patches, 2)).astype(np.float32)
    for row, scene in enumerate(pictures.scenes):
        table, centres = object_table(scene)
        owner = pictures.owners[row].astype(int)
        kinds[row], colours[row], actions[row] = table[owner].T
        middles[row][owner > 0] = centres[owner[owner > 0]]
    facts = [
        (list(PLACES).index(scene.place), LIGHTS.index(scene.light), WEATHERS.index(scene.weather))
        for scene in pictures.scenes
    ]
    of_patches = (torch.from_numpy(each) for each in (kinds, colours, actions, middles, np.array(facts)))
    return Labels(*of_patches)


def object_table(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Kind, colour and action of "nothing" and of every object, (1 + O, 3), and their middles in 0..1, (1 + O, 2)."""
    facts, middles = [(0, 0, 0)], [(0.0, 0.0)]
    for thing in scene.things:
        action = 1 + ACTIONS.index(thing.action) if thing.action else 0
        for instance in thing.instances:
            left, top, right, bottom = instance.box
            facts.append((1 + list(KINDS).index(thing.kind), COLOURS.index(thing.colour), action))
            middles.append(((left + right) / 2 / IMAGE_SIZE, (top + bottom) / 2 / IMAGE_SIZE))
    return np.array(facts), np.array(middles, np.float32)


def cosine(
    optimiser: torch.optim.Optimizer, steps: int, warmup_steps: int, floor: float = LAST_RATE
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then half a cosine down to `floor`, a share of the peak."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, steps - warmup_steps)
        return floor + (1 - floor) * 0.5 * (1 + float(np.cos(np.pi * min(1.0, progress))))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


class Optimiser:
    """Muon for the matrices of a transformer, AdamW for all else, both on half a cosine after a warm-up.

    Muon reaches in a few hundred steps what AdamW needs two thousand for.
    """

    def __init__(self, blocks: nn.Module, parameters: Sequence[nn.Parameter], recipe: Recipe) -> None:
        matrices = {id(each): each for each in blocks.parameters() if each.ndim == 2 and each.requires_grad}
        others = [each for each in parameters if id(each) not in matrices]
        decay = recipe.weight_decay
        self.parameters = list(parameters)
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                [*matrices.values()], recipe.learning_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, recipe.other_rate, betas=(0.9, 0.98), weight_decay=decay, fused=True),
        ]
        self.schedules = [cosine(optimiser, recipe.steps, recipe.warmup_steps) for optimiser in self.optimisers]
        self._stepped: list[Any] = [*self.optimisers, *self.schedules]

    def step(self, loss: torch.Tensor) -> None:
        """One step down the gradient of a loss."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it untyped
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for each in self._stepped:
            each.step()

    def state_dict(self) -> dict[str, Any]:
        """State of optimisers and schedules."""
        return {str(number): each.state_dict() for number, each in enumerate(self._stepped)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of `state_dict`."""
        for number, each in enumerate(self._stepped):
            each.load_state_dict(state[str(number)])


class Heads(nn.Module):
    """Predictions from the last hidden state of the tower."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.objects = nn.Linear(width, sum(OBJECT_HEADS))
        self.scene = nn.Linear(width, sum(SCENE_HEADS))

    def losses(self, hidden: torch.Tensor, labels: Labels) -> dict[str, torch.Tensor]:
        """Weighted losses of patches, (B, 144, D) without the class token."""
        kinds, colours, actions, middles = self.objects(hidden).float().split(OBJECT_HEADS, dim=-1)
        occupied = labels.kinds > 0
        losses = {
            "patch": functional.cross_entropy(kinds.flatten(0, 1), labels.kinds.flatten()),
            "kind": functional.cross_entropy(kinds[occupied], labels.kinds[occupied]),  # a fifth of the patches
            "colour": functional.cross_entropy(colours[occupied], labels.colours[occupied]) * 0.5,
            "action": functional.cross_entropy(actions[occupied], labels.actions[occupied]) * 0.3,
            "middle": functional.smooth_l1_loss(middles, labels.middles, beta=0.05) * MIDDLE_WEIGHT,
        }
        facts = self.scene(hidden.mean(1)).float().split(SCENE_HEADS, dim=-1)
        for number, (name, logits) in enumerate(zip(("place", "light", "weather"), facts, strict=True)):
            losses[name] = functional.cross_entropy(logits, labels.scenes[:, number]) * SCENE_WEIGHT
        return losses

    def kinds(self, hidden: torch.Tensor) -> torch.Tensor:
        """The most likely kind of every patch, 0 for nothing."""
        kinds: torch.Tensor = self.objects(hidden)[..., : OBJECT_HEADS[0]]
        return kinds.argmax(-1)


def batches(count: int, size: int, seed: int, first_step: int) -> Iterator[np.ndarray]:
    """Indices of the batches of an endless, shuffled series of epochs, from a step on."""
    per_epoch = count // size
    step = first_step
    while True:
        order = np.random.default_rng([seed, step // per_epoch]).permutation(count)
        for number in range(step % per_epoch, per_epoch):
            yield order[number * size : (number + 1) * size]
            step += 1


def mirrored(pixels: np.ndarray, labels: Labels, flip: np.ndarray) -> tuple[np.ndarray, Labels]:
    """A batch with some pictures mirrored."""
    pixels = np.where(flip[:, None, None, None], pixels[:, :, ::-1], pixels)
    turned = torch.from_numpy(flip)

    def patches(values: torch.Tensor) -> torch.Tensor:
        grid = values.view(len(values), PATCHES, PATCHES, *values.shape[2:])
        shape = [-1] + [1] * (grid.dim() - 1)
        return torch.where(turned.view(shape), grid.flip(2), grid).flatten(1, 2)

    middles = patches(labels.middles)
    middles[..., 0] = torch.where(turned[:, None], 1 - middles[..., 0], middles[..., 0])
    return pixels, Labels(
        patches(labels.kinds), patches(labels.colours), patches(labels.actions), middles, labels.scenes
    )


def train_tower(
    pictures: Pictures,
    validation: Pictures,
    recipe: TowerRecipe,
    seed: int,
    checkpoint: Path,
    every: int = 200,
    stop_after: int | None = None,
) -> CLIPVisionModel:
    """Train a fresh vision tower, or go on from a checkpoint.

    Args:
        every: Steps between two checkpoints. stop_after: Step at which to leave off before the recipe's last.
    """
    torch.manual_seed(seed)
    tower = CLIPVisionModel._from_config(vision_config(), attn_implementation="eager")  # in training, faster than SDPA
    heads = Heads(tower.config.hidden_size)
    parameters = [*tower.parameters(), *heads.parameters()]
    optimiser = Optimiser(tower.encoder, parameters, recipe)
    parts = {"tower": tower, "heads": heads, "optimiser": optimiser}
    done = resume(checkpoint, parts)
    see = torch.compile(tower) if recipe.compiled else tower
    truth, seen = labels_of(pictures), labels_of(validation)
    start = time.monotonic(), time.process_time()
    indices = batches(len(pictures.scenes), recipe.batch_size, seed, done)
    tower.train()
    for step in range(done + 1, (stop_after or recipe.steps) + 1):
        chosen = next(indices)
        flip = np.random.default_rng([seed, step]).random(len(chosen)) < 0.5
        pixels, labels = mirrored(pictures.pixels[chosen], take(truth, chosen), flip)
        with torch.autocast("cpu", torch.bfloat16):
            losses = heads.losses(see(pixel_values(pixels)).last_hidden_state[:, 1:], labels)
        optimiser.step(torch.stack([*losses.values()]).sum())
        if step % 50 == 0:
            told = " ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
            log.info("tower %d/%d %s (%s)", step, recipe.steps, told, elapsed(start))
        if step % every == 0 or step in (recipe.steps, stop_after):
            log.info("  %s", told_detection(tower, heads, validation, seen))
            save_checkpoint(checkpoint, step, parts)
    return tower.eval()


def take(labels: Labels, chosen: np.ndarray) -> Labels:
    """The labels of some scenes."""
    index = torch.from_numpy(chosen)
    return Labels(*(value[index] for value in vars(labels).values()))


@torch.no_grad()
def told_detection(tower: CLIPVisionModel, heads: Heads, pictures: Pictures, labels: Labels) -> str:
    """Shares of right patches, recall and false alarms of kinds in a picture, and the kinds that are found worst."""
    tower.eval()
    found = torch.cat(
        [
            heads.kinds(tower(pixel_values(pictures.pixels[at : at + 64])).last_hidden_state[:, 1:])
            for at in range(0, len(pictures.scenes), 64)
        ]
    )
    tower.train()
    occupied = labels.kinds > 0
    patches = (found == labels.kinds)[occupied].float().mean().item()
    empty = (found > 0)[~occupied].float().mean().item()
    names = list(KINDS)
    present, seen = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    invented = mentioned = 0
    for scene, row in zip(pictures.scenes, found, strict=True):
        counts = torch.bincount(row, minlength=1 + len(names))[1:]
        here = {names[int(number)] for number in (counts > 0).nonzero()}
        invented, mentioned = invented + len(here - scene.kinds), mentioned + len(here)
        for kind in scene.kinds:
            present[kind] += 1
            seen[kind] += kind in here
    recall = sum(seen.values()) / sum(present.values())
    worst = sorted((kind for kind in names if present[kind]), key=lambda kind: seen[kind] / present[kind])[:6]
    return (
        f"patches {patches:.3f} false {empty:.3f} recall {recall:.3f} invented {invented / max(1, mentioned):.3f} "
        f"worst {', '.join(f'{kind} {seen[kind]}/{present[kind]}' for kind in worst)}"
    )


def elapsed(start: tuple[float, float]) -> str:
    """Seconds since the monotonic clock and the clock of this process stood at ``start``."""
    return f"{time.monotonic() - start[0]:.0f} s, cpu {time.process_time() - start[1]:.0f} s"


def save_checkpoint(path: Path, step: int, parts: dict[str, object]) -> None:
    """Write a checkpoint in one step, so that a kill leaves the one before."""
    partial = path.with_suffix(".partial")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, partial)  # type: ignore[attr-defined]
    partial.rename(path)


def resume(path: Path, parts: dict[str, object]) -> int:
    """Load a checkpoint if there is one; the number of steps that it had done."""
    if not path.exists():
        return 0
    kept = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(kept[name])  # type: ignore[attr-defined]
    return int(kept["step"])
