"""RLOO and PPO, eq. 2 of arXiv 2407.02477, over answers that the policy sampled: functions of log-probabilities.

Shapes: K answers of a prompt, T tokens of an answer. R is the reward of an answer, normalised by the mean and spread
that rewards had before training; l is log π of an answer's tokens under the policy, l_old under the policy that sampled
it, l_ref under the reference.

* RLOO (Ahmadian et al., ACL 2024): a whole answer is one action. The reward is R - β Σ_t (l_old - l_ref)_t, and an
  answer's advantage is that minus the mean of its K - 1 siblings. The loss is -min(ρ A, clip(ρ, 1-ε, 1+ε) A) with
  ρ = exp(Σ_t (l - l_old)_t), as in TRL: where every step has new answers ρ is 1, and the gradient is -A ∇ log π.
* PPO (Schulman et al., 2017; Stiennon et al., NeurIPS 2020): a token is an action. Its reward is -β (l_old - l_ref)_t,
  R is added at the last one, and advantages are those of GAE (γ = 1, λ) with the values V of a linear head on the
  policy's states, whitened over all tokens of a step: (A - mean) / sqrt(variance + 1e-8), as OpenAI's code does.
  Values are fitted to V plus the advantage as it was before. The losses are clipped: of the policy by ρ_t, of the
  values by their change.

Departure: an answer that the limit of tokens cut is rated as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Rollout:
    """Answers of a prompt as they were sampled and rated.

    Attributes:
        rewards: as they are measured, (K,). scores: normalised, (K,).
        logps: l_old of each answer, (T,) each; empty in RLOO where the policy that is trained is the one that sampled
            them.
        values: V of each answer's tokens at that time; empty in RLOO.
        cut: which of them the limit of tokens ended.
        alike: whether all texts are the same.
    """

    rewards: tuple[float, ...]
    scores: tuple[float, ...]
    cut: tuple[bool, ...]
    alike: bool
    logps: tuple[torch.Tensor, ...] = ()
    values: tuple[torch.Tensor, ...] = ()


def leave_one_out(rewards_K: torch.Tensor) -> torch.Tensor:
    """Each reward minus the mean of the others, (K,)."""
    count = len(rewards_K)
    return (count * rewards_K - rewards_K.sum()) / (count - 1)


def sequence_kl(old: Sequence[torch.Tensor], reference: Sequence[torch.Tensor]) -> torch.Tensor:
    """Σ_t (l_old - l_ref)_t of each answer, (K,): an estimate of KL(π, π_ref) from its sample."""
    return torch.stack([(own - before).sum() for own, before in zip(old, reference, strict=True)])


def rloo(
    logps: Sequence[torch.Tensor],
    old: Sequence[torch.Tensor],
    reference: Sequence[torch.Tensor],
    scores_K: torch.Tensor,
    beta: float,
    clip: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of a prompt's answers, their mean, and their advantages, (K,)."""
    advantages_K = leave_one_out(scores_K - beta * sequence_kl(old, reference))
    ratio_K = torch.stack([(own - before).sum() for own, before in zip(logps, old, strict=True)]).exp()
    return _clipped(ratio_K, advantages_K, clip).mean(), advantages_K


def gae(rewards_T: torch.Tensor, values_T: torch.Tensor, lam: float) -> torch.Tensor:
    """Generalised advantage estimates with γ = 1, (T,); the answer's end is worth nothing more."""
    following_T = torch.cat([values_T[1:], values_T.new_zeros(1)])
    deltas_T = rewards_T + following_T - values_T
    advantages_T = torch.empty_like(deltas_T)
    running = deltas_T.new_zeros(())
    for place in range(len(deltas_T) - 1, -1, -1):
        running = deltas_T[place] + lam * running
        advantages_T[place] = running
    return advantages_T


@dataclass(frozen=True)
class Surrogate:
    """PPO's settings.

    Attributes:
        beta: β of the KL penalty. clip: ε of both ratios. lam: λ of GAE. value_weight: of the value loss.
    """

    beta: float
    clip: float
    lam: float = 0.95
    value_weight: float = 0.1


@dataclass(frozen=True)
class Whitening:
    """Mean and variance of the advantages of a step's tokens."""

    mean: float
    variance: float

    @classmethod
    def of(cls, advantages_T: torch.Tensor) -> Whitening:
        """The figures of these advantages, without bias; of fewer than two there is no variance."""
        if len(advantages_T) < 2:
            return NOT_WHITENED
        return cls(float(advantages_T.mean()), float(advantages_T.var()))

    def __call__(self, advantages_T: torch.Tensor) -> torch.Tensor:
        """The advantages with mean 0 and variance 1."""
        return (advantages_T - self.mean) / math.sqrt(self.variance + 1e-8)


NOT_WHITENED = Whitening(0.0, 1.0)


def token_advantages(
    old: Sequence[torch.Tensor],
    old_values: Sequence[torch.Tensor],
    reference: Sequence[torch.Tensor],
    scores_K: torch.Tensor,
    settings: Surrogate,
) -> list[torch.Tensor]:
    """Advantages of each answer's tokens, (T,) each, before they are whitened."""
    found = []
    for before, expected, first, score in zip(old, old_values, reference, scores_K, strict=True):
        rewards_T = -settings.beta * (before - first)
        rewards_T[-1] += score
        found.append(gae(rewards_T, expected, settings.lam))
    return found


def ppo(
    logps: Sequence[torch.Tensor],
    values: Sequence[torch.Tensor],
    old: Sequence[torch.Tensor],
    old_values: Sequence[torch.Tensor],
    advantages: Sequence[torch.Tensor],
    whitening: Whitening,
    settings: Surrogate,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of a prompt's answers, the mean over their tokens, and the value loss in it."""
    policy, value = [], []
    for own, worth, before, expected, advantages_T in zip(logps, values, old, old_values, advantages, strict=True):
        returns_T = advantages_T + expected
        policy.append(_clipped((own - before).exp(), whitening(advantages_T), settings.clip))
        near_T = expected + (worth - expected).clamp(-settings.clip, settings.clip)
        value.append(0.5 * torch.maximum((worth - returns_T) ** 2, (near_T - returns_T) ** 2))
    of_values = torch.cat(value).mean()
    return torch.cat(policy).mean() + settings.value_weight * of_values, of_values


def _clipped(ratio: torch.Tensor, advantages: torch.Tensor, clip: float) -> torch.Tensor:
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
