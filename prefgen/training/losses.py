"""Losses of section 5 and appendix A of arXiv 2407.02477, as functions of log-probabilities.

Shapes: B samples, R rejected answers of each. With l(y) = Σ_t w_t log π_θ(y_t | x, y_<t), w_t being 1 for the tokens
that count (other weights: `prefgen.training.spans`), and l_ref(y) the same under the reference, r(y) = l(y) - l_ref(y)
is an answer's log-ratio and Δ = r(y+) - r(y-) a pair's margin; β r(y) is what DPO calls the reward of y.

* DPO, eq. 3 (Rafailov et al., NeurIPS 2023): -log σ(βΔ). With label smoothing ε (Mitchell, 2023):
  -(1-ε) log σ(βΔ) - ε log σ(-βΔ).
* IPO (Azar et al., AISTATS 2024): (Δ - 1/(2β))². ``ipo`` divides each r(y) by its number of tokens, as TRL does on its
  authors' word; ``ipo-sum`` does not.
* SLiC: max(0, 1 - βΔ), the hinge in the unified form of Tang et al. (ICML 2024); TRL calls it ``hinge``.
* Several rejected answers, eq. 5: γ L(y+, y-) + (1-γ) L(y+, ỹ-); the other form, of POVID's paper, puts the weighted
  mean of the margins into one L. A sample's R - 1 further answers share 1-γ.
* A mix, eq. 4: α L(y+, y-) + (1-α) L(ỹ+, ỹ-), α ~ Bernoulli(p) for each sample.
* A reward model, eq. 1 as it is meant: -log σ(r(x, y+) - r(x, y-)); the paper prints another logarithm inside, of
  which a negative difference has none.
* The SFT term adds w times the chosen answer's negative log-likelihood per token. ``sft`` is that alone, with w = 1.
* The quality term of MPO (Wang et al., arXiv:2411.10442, eq. 4; BCO, Jung et al., arXiv:2404.04656) tells a good answer
  from a bad one by itself: -log σ(β r(y+) - δ) - log σ(δ - β r(y-)). δ is the mean of the rewards so far, over batches,
  as in TRL before it left δ out. MPO is 0.8 DPO + 0.2 quality + SFT.
* The anchor of mDPO (Wang et al., arXiv:2406.11839) keeps the chosen answer likely: -log σ(β r(y+) - δ). mDPO adds it
  to DPO of answers and to DPO of pictures, the same y+ under its picture and under a spoilt one, which is a pair here
  as any other, r(y-) being that of the spoilt picture. With as many answers as pictures, its three terms weigh
  alike at 0.5. Departure: a picture is spoilt once, where mDPO's trainer draws it anew, for policy and reference apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

from prefgen import seeds
from prefgen.training.config import Objective


@dataclass(frozen=True)
class Answers:
    """Log-probabilities of a batch's answers. Missing rejected answers have ``present`` False.

    Attributes:
        chosen, chosen_ref: l(y+) and l_ref(y+) in nats, (B,); of a reward model its reward and 0.
        chosen_tokens: the tokens' weights in sum, (B,).
        rejected, rejected_ref, rejected_tokens: likewise, (B, R).
        present: bool, (B, R).
    """

    chosen: torch.Tensor
    chosen_ref: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected: torch.Tensor
    rejected_ref: torch.Tensor
    rejected_tokens: torch.Tensor
    present: torch.Tensor


class Shift:
    """δ of the quality term: the running mean of the batches' mean rewards."""

    def __init__(self, mean: float = 0.0, batches: int = 0) -> None:
        self.mean = mean
        self.batches = batches

    def add(self, reward: float) -> None:
        """Add a batch."""
        self.batches += 1
        self.mean += (reward - self.mean) / self.batches


def losses(objective: Objective, answers: Answers, shift: float = 0.0) -> torch.Tensor:
    """The loss of each sample, (B,). `shift`: δ of the quality term."""
    if objective.loss == "sft":
        return sft(answers)
    margins_BR = _margins(objective, answers)
    weights_BR = weights(objective.gamma, answers.present)
    if objective.average == "losses":
        loss_B = (weights_BR * pair_loss(objective, margins_BR)).sum(-1)  # eq. 5
    else:
        loss_B = pair_loss(objective, (weights_BR * margins_BR).sum(-1))  # eq. 5, inside σ
    loss_B = objective.pair_weight * loss_B
    if objective.quality_weight:
        loss_B = loss_B + objective.quality_weight * quality(objective, answers, shift)
    if objective.anchor_weight:
        loss_B = loss_B + objective.anchor_weight * anchor(objective, answers)
    if objective.sft_weight:
        loss_B = loss_B + objective.sft_weight * sft(answers)
    return loss_B


def sft(answers: Answers) -> torch.Tensor:
    """Negative log-likelihood of the chosen answers per token, (B,)."""
    return -answers.chosen / answers.chosen_tokens.clamp(min=1)


def quality(objective: Objective, answers: Answers, shift: float) -> torch.Tensor:
    """The quality term, (B,), of the chosen answers and of the weighted mean of the rejected ones."""
    chosen_B, rejected_BR = rewards(objective, answers)
    worse_B = (weights(objective.gamma, answers.present) * logsigmoid(shift - rejected_BR)).sum(-1)
    return -logsigmoid(chosen_B - shift) - worse_B


def anchor(objective: Objective, answers: Answers) -> torch.Tensor:
    """The anchor, (B,), of the chosen answers."""
    chosen_B, _ = rewards(objective, answers)
    return -logsigmoid(chosen_B - objective.anchor)


@torch.no_grad()
def mean_reward(objective: Objective, answers: Answers) -> float:
    """A batch's mean reward; a sample's rejected answers weigh as much as its chosen one."""
    chosen_B, rejected_BR = rewards(objective, answers)
    rejected_B = (weights(objective.gamma, answers.present) * rejected_BR).sum(-1)
    return float((chosen_B + rejected_B).mean() / 2)


def rewards(objective: Objective, answers: Answers) -> tuple[torch.Tensor, torch.Tensor]:
    """β r of the chosen answers, (B,), and of the rejected ones, (B, R)."""
    chosen_B, rejected_BR = _log_ratios(objective, answers)
    return objective.beta * chosen_B, objective.beta * rejected_BR


def pair_loss(objective: Objective, margin: torch.Tensor) -> torch.Tensor:
    """The loss L of pairs with margins Δ, of any shape."""
    scaled = objective.scale * margin
    if objective.loss in ("dpo", "rm"):  # eq. 1 is eq. 3 of rewards that are outputs
        smoothing = objective.label_smoothing
        return -(1 - smoothing) * logsigmoid(scaled) - smoothing * logsigmoid(-scaled)  # eq. 3
    if objective.loss == "slic":
        return torch.relu(1 - scaled)
    return (margin - 1 / (2 * objective.beta)) ** 2  # IPO


def weights(gamma: float, present_BR: torch.Tensor) -> torch.Tensor:
    """Weights of a sample's rejected answers, (B, R): γ for the first, equal shares for the rest; 1 for a lone one."""
    counts_B1 = present_BR.sum(-1, keepdim=True)
    first = torch.zeros_like(present_BR)
    first[:, 0] = True
    shared = torch.where(first, gamma, (1 - gamma) / (counts_B1 - 1).clamp(min=1))
    return torch.where(counts_B1 == 1, 1.0, shared) * present_BR


def takes_offline(probability: float, seed: int, epoch: int, row: str) -> bool:
    """α of equation 4: Bernoulli(p) for each row and epoch; the stored pair is used where it is 1."""
    return bool(seeds.generator(seeds.derive(seed, row, epoch, "alpha")).random() < probability)


def _margins(objective: Objective, answers: Answers) -> torch.Tensor:
    """Δ of every pair, (B, R)."""
    chosen_B, rejected_BR = _log_ratios(objective, answers)
    return chosen_B[:, None] - rejected_BR


def _log_ratios(objective: Objective, answers: Answers) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-ratios r of the chosen answers, (B,), and of the rejected ones, (B, R)."""
    chosen_B = answers.chosen - answers.chosen_ref
    rejected_BR = answers.rejected - answers.rejected_ref
    if objective.loss == "ipo" or objective.length_normalised:
        chosen_B = chosen_B / answers.chosen_tokens.clamp(min=1)
        rejected_BR = rejected_BR / answers.rejected_tokens.clamp(min=1)
    return chosen_B, rejected_BR
