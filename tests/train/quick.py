"""A training run of three steps on the scenes' model."""

from __future__ import annotations

from prefgen.training.config import Optimisation
from tests.trainers.sets import SCENES

MODEL = SCENES / "model"
QUICK = Optimisation(
    lr=1e-3,
    projector_lr=0,
    batch_size=2,
    grad_accum=1,
    max_steps=3,
    save_steps=100,
    lora_r=4,
    lora_alpha=8,
    gradient_checkpointing=False,
    save="adapter",
)
