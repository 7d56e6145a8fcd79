"""What a training run is asked to do. Plain data: the command line reads its defaults here without importing torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from prefgen.errors import UsageError

Loss = Literal["dpo", "ipo", "ipo-sum", "slic"]
LossMask = Literal["all", "no-eos", "spans"]
Average = Literal["losses", "margins"]
Saved = Literal["merged", "adapter"]
LOSSES: tuple[Loss, ...] = ("dpo", "ipo", "ipo-sum", "slic")
LOSS_MASKS: tuple[LossMask, ...] = ("all", "no-eos", "spans")
AVERAGES: tuple[Average, ...] = ("losses", "margins")
SAVED: tuple[Saved, ...] = ("merged", "adapter")


@dataclass(frozen=True)
class Objective:
    """The loss of a pair, see `prefgen.train.losses`.

    Attributes:
        beta: β: strength of the pull towards the reference; for IPO, half the inverse of the margin that is aimed at.
        gamma: γ of equation 5: weight of a sample's first rejected answer; the others share the rest.
        average: what is averaged over several rejected answers: their losses, or their margins inside one loss.
        label_smoothing: share of pairs taken to be the wrong way round (DPO only), in [0, 0.5).
        sft_weight: weight of the chosen answer's negative log-likelihood per token, added to the loss.
        length_normalised: divide an answer's log-ratio by its number of tokens (IPO always does; ``ipo-sum`` never).
    """

    loss: Loss = "dpo"
    beta: float = 0.1
    gamma: float = 0.5
    average: Average = "losses"
    label_smoothing: float = 0.0
    sft_weight: float = 0.0
    length_normalised: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UsageError: naming the option and its value.
        """
        _check_choice("loss", self.loss, LOSSES)
        _check_choice("average", self.average, AVERAGES)
        _check_range("beta", self.beta, 0, math.inf, positive=True)
        _check_range("gamma", self.gamma, 0, 1)
        _check_range("sft-weight", self.sft_weight, 0, math.inf)
        if not 0 <= self.label_smoothing < 0.5:
            raise UsageError(f"--label-smoothing {self.label_smoothing:g} must be at least 0 and below 0.5")
        if self.label_smoothing and self.loss != "dpo":
            raise UsageError(f"--label-smoothing belongs to dpo; {self.loss} has none")
        if self.length_normalised and self.loss.startswith("ipo"):
            raise UsageError("--length-normalised belongs to dpo and slic; `ipo` is per token, `ipo-sum` is not")


@dataclass(frozen=True)
class Optimisation:
    """How the objective is pursued. Defaults lie in the paper's search space (appendix A); LoRA is its 128 / 256.

    Attributes:
        loss_mask: tokens that count: ``all``, all but the end token, or only those in which the answers differ.
        lr: of LoRA's matrices, or of the language model with `lora` off. projector_lr: of the projector; 0 freezes it.
        batch_size: samples of a forward pass. grad_accum: passes of a step.
        max_length: tokens of prompt and answer at most; 0: as many as the model has positions. Longer rows are dropped.
        max_steps: stop after so many steps; 0: after `epochs`.
        save_steps: steps between checkpoints.
        qlora: LoRA beside a language model in 4 bit (NF4), as in arXiv 2305.14314.
    """

    loss_mask: LossMask = "all"
    lr: float = 1e-6
    projector_lr: float = 2e-6
    epochs: float = 3.0
    batch_size: int = 4
    grad_accum: int = 8
    max_steps: int = 0
    max_length: int = 0
    save_steps: int = 100
    lora: bool = True
    lora_r: int = 128
    lora_alpha: int = 256
    qlora: bool = False
    gradient_checkpointing: bool = True
    save: Saved = "merged"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UsageError: naming the option and its value.
        """
        _check_choice("loss-mask", self.loss_mask, LOSS_MASKS)
        _check_choice("save", self.save, SAVED)
        _check_range("lr", self.lr, 0, math.inf, positive=True)
        _check_range("projector-lr", self.projector_lr, 0, math.inf)
        _check_range("epochs", self.epochs, 0, math.inf, positive=True)
        for option in ("batch_size", "grad_accum", "save_steps", "lora_r", "lora_alpha"):
            _check_range(option.replace("_", "-"), getattr(self, option), 1, math.inf)
        for option in ("max_steps", "max_length"):
            _check_range(option.replace("_", "-"), getattr(self, option), 0, math.inf)
        if self.save == "adapter" and not self.lora:
            raise UsageError("--save adapter needs --lora: a whole model has no adapter")
        if self.qlora and not self.lora:
            raise UsageError("--qlora needs --lora: weights in 4 bit cannot be trained")
        if self.qlora and self.save != "adapter":
            raise UsageError("--qlora trains an adapter of a model in 4 bit, which is no other's: say --save adapter")


def _check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"--{option} {value!r} is unknown; choose from {', '.join(known)}")


def _check_range(option: str, value: float, least: float, most: float, *, positive: bool = False) -> None:
    if not least <= value <= most or (positive and value == least) or math.isinf(value):
        above = "above" if positive else "at least"
        most_said = "" if math.isinf(most) else f" and at most {most:g}"
        raise UsageError(f"--{option} {value:g} must be {above} {least:g}{most_said}")
