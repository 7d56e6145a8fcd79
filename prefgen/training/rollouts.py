"""Training on sampled answers: the policy with a value head, losses and metrics of a batch, and signs of collapse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from prefgen.engines.hf.loading import LoadedModel
from prefgen.training.config import Objective
from prefgen.training.logprobs import Policy, autocast, evaluating, logps
from prefgen.training.policy_gradient import (
    NOT_WHITENED,
    Surrogate,
    Whitening,
    ppo,
    rloo,
    sequence_kl,
    token_advantages,
)
from prefgen.training.reward import Head
from prefgen.training.rows import Item

_WINDOW = 5  # steps that collapse is looked for in
_ALIKE, _SHRUNK, _ENDLESS = 0.9, 0.25, 0.9


class ValuePolicy(Policy):
    """A policy with a linear value head on its states: log-probability and value of each answer's tokens, (T, 2)."""

    def __init__(self, model: torch.nn.Module, loaded: LoadedModel, **settings: Any) -> None:
        super().__init__(model, loaded, **settings)
        self.head = Head(loaded.hidden_size, loaded.device)
        torch.nn.init.zeros_(self.head.weight)  # nothing is expected before anything was seen

    def forward(self, items: Sequence[Item]) -> list[list[torch.Tensor]]:
        """Log-probabilities and values of these samples' answers."""
        with autocast(self._loaded):
            found = self.states(items)
            logps_N = logps(self._loaded, found)
        return found.split(torch.stack([logps_N, self.head(found.hidden_NH)], dim=-1))

    def trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The weights that are trained, the head's with them."""
        yield from super().trained()
        yield "value_head.weight", self.head.weight


@torch.no_grad()
def read(policy: Policy, items: Sequence[Item]) -> list[dict[str, list[list[float]]]]:
    """Log-probabilities and values of sampled answers, as a `prefgen.training.policy_gradient.Rollout` holds them."""
    with evaluating(policy):
        said = policy(items)
    found = []
    for answers in said:
        parts = {"logps": [own[:, 0] if own.dim() == 2 else own for own in answers]}
        if isinstance(policy, ValuePolicy):
            parts["values"] = [own[:, 1] for own in answers]
        found.append({name: [own.tolist() for own in each] for name, each in parts.items()})
    return found


def whitening(objective: Objective, items: Sequence[Item]) -> Whitening:
    """The whitening of PPO's advantages of a step.

    Args:
        items: all of the step, with reference log-probabilities and what the sampling policy said of their answers.
    """
    settings = Surrogate(objective.beta, objective.clip)
    advantages: list[torch.Tensor] = []
    for item in items:
        assert item.rollout
        scores_K = torch.tensor(item.rollout.scores)
        reference = [answer.cpu() for answer in item.reference]
        advantages += token_advantages(item.rollout.logps, item.rollout.values, reference, scores_K, settings)
    return Whitening.of(torch.cat(advantages)) if advantages else NOT_WHITENED


def losses(
    objective: Objective,
    items: Sequence[Item],
    found: Sequence[Sequence[torch.Tensor]],
    whitened: Whitening = NOT_WHITENED,
) -> tuple[torch.Tensor, dict[str, list[float]]]:
    """The loss of each prompt's answers, (B,), and metrics: one value a prompt, under TRL's names where it has one.

    ``kl`` is of a whole answer, in nats, where TRL's is a token's. ``entropy`` is estimated by the sampled tokens'
    negative log-probability. ``alike`` is 1 where all answers of a prompt are.

    Args:
        whitened: how PPO's advantages are.
    """
    each: list[torch.Tensor] = []
    measured: dict[str, list[float]] = {}

    def note(name: str, value: float | torch.Tensor) -> None:
        measured.setdefault(name, []).append(float(value.detach() if isinstance(value, torch.Tensor) else value))

    for item, answers in zip(items, found, strict=True):
        rollout = item.rollout
        assert rollout is not None
        device = answers[0].device
        own = [answer[:, 0] if answer.dim() == 2 else answer for answer in answers]
        old = [answer.to(device) for answer in rollout.logps] or [answer.detach() for answer in own]
        reference = [answer.to(device) for answer in item.reference]
        scores_K = torch.tensor(rollout.scores, device=device)
        if objective.loss == "rloo":
            loss, advantages_K = rloo(own, old, reference, scores_K, objective.beta, objective.clip)
            note("advantage", advantages_K.abs().mean())
        else:
            values = [answer[:, 1] for answer in answers]
            expected = [answer.to(device) for answer in rollout.values]
            settings = Surrogate(objective.beta, objective.clip)
            advantages = token_advantages(old, expected, reference, scores_K, settings)
            loss, of_values = ppo(own, values, old, expected, advantages, whitened, settings)
            note("advantage", torch.cat(advantages).abs().mean())
            note("loss/value", of_values)
        each.append(loss)
        lengths = [len(answer) for answer in own]
        note("reward", fmean(rollout.rewards))
        note("reward_std", torch.tensor(rollout.rewards).std(correction=0))
        note("kl", sequence_kl([answer.detach() for answer in own], reference).mean())
        note("entropy", -torch.cat(own).mean())
        note("completions/mean_length", fmean(lengths))
        note("completions/clipped_ratio", fmean(rollout.cut))
        note("alike", rollout.alike)
        ratios = [(answer.detach() - before).sum().exp() for answer, before in zip(own, old, strict=True)]
        note("clip_ratio/region_mean", fmean(abs(float(ratio) - 1) > objective.clip for ratio in ratios))
    return torch.stack(each), measured


def collapse(history: Sequence[Mapping[str, float]]) -> str:
    """The way in which a run's answers have collapsed; empty if they have not.

    Args:
        history: the lines of ``metrics.jsonl``.
    """
    steps = [entry for entry in history if "alike" in entry]
    if len(steps) < 2 * _WINDOW:
        return ""

    def means(name: str) -> tuple[float, float]:
        first, last = steps[:_WINDOW], steps[-_WINDOW:]
        return fmean(entry[name] for entry in first), fmean(entry[name] for entry in last)

    step = int(steps[-1]["step"])
    (_, alike), (before, after) = means("alike"), means("completions/mean_length")
    cut_before, cut_after = means("completions/clipped_ratio")
    if alike >= _ALIKE:
        return (
            f"by step {step} all answers to a prompt are alike for {alike:.0%} of the prompts: nothing is left to learn"
        )
    if after <= _SHRUNK * before:
        return f"by step {step} answers have shrunk from {before:.1f} to {after:.1f} tokens"
    if cut_after >= _ENDLESS and cut_before < _ENDLESS / 2:
        return f"by step {step} {cut_after:.0%} of the answers run on to the limit of tokens"
    return ""
