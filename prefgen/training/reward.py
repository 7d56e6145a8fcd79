"""Reward models: a backbone with LoRA, and a linear head on the hidden state of an answer's last token.

Trained by -log σ(r(x, y+) - r(x, y-)), eq. 1 of arXiv 2407.02477 as it is meant, on the same items as every other loss:
one prompt, all answers behind it. What is saved beside the adapter:

RM/
  reward_head.safetensors   the head's weight, (1, H)
  reward.json               mean and spread of the rewards of answers that it was trained on

The head has no bias, which would cancel out of every difference.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from prefgen import durable
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf.loading import LoadedModel, load
from prefgen.errors import CorruptRun, RowError, UsageError
from prefgen.methods.rank import Rank
from prefgen.records import Image, Turn
from prefgen.requests import Rate, Rated, Reply, Request
from prefgen.training.logprobs import Policy, autocast, evaluating, packs, states
from prefgen.training.rows import Item, Reader

HEAD, FIGURES = "reward_head.safetensors", "reward.json"
_BATCH_ITEMS = 8  # prompts of a forward pass of the engine
MEASURED = 512  # samples whose rewards the mean and spread are taken of


class Head(torch.nn.Module):
    """A linear layer from a hidden state to a reward, in float32."""

    def __init__(self, hidden: int, device: torch.device) -> None:
        super().__init__()
        drawn = torch.randn(1, hidden) * 0.02  # as transformers initialises the heads of its classifiers
        self.weight = torch.nn.Parameter(drawn.to(device))

    def forward(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        """Rewards, (N,)."""
        return hidden_NH.float() @ self.weight[0]


class RewardPolicy(Policy):
    """The trained backbone and head as a module from answers to rewards, (1,) each."""

    def __init__(self, model: torch.nn.Module, loaded: LoadedModel, **settings: Any) -> None:
        super().__init__(model, loaded, **settings)
        self.head = Head(loaded.hidden_size, loaded.device)

    def forward(self, items: Sequence[Item]) -> list[list[torch.Tensor]]:
        """Rewards of these samples' answers."""
        with autocast(self._loaded):
            found = self.states(items, ends=True)
        return found.split(self.head(found.hidden_NH) + found.idle)

    def rate(self, items: Sequence[Item]) -> list[list[float]]:
        """Rewards of these samples' answers as numbers, by this process alone."""
        return _rate(self._loaded, self.head, items, self._packed)

    def trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The weights that are trained, the head's with them."""
        yield from super().trained()
        yield "reward_head.weight", self.head.weight


@torch.no_grad()
def _rate(loaded: LoadedModel, head: Head, items: Sequence[Item], packed: bool) -> list[list[float]]:
    with autocast(loaded):
        found = states(loaded, items, packed, ends=True)
    return [[float(reward) for reward in each] for each in found.split(head(found.hidden_NH))]


@dataclass(frozen=True)
class Figures:
    """Mean and standard deviation of rewards, for normalization.

    Attributes:
        answers: how many they were.
    """

    mean: float
    std: float
    answers: int

    @classmethod
    def of(cls, rewards: Sequence[float]) -> Figures:
        """The figures of these rewards; a standard deviation of 0 becomes 1."""
        return cls(statistics.fmean(rewards), statistics.pstdev(rewards) or 1.0, len(rewards))

    def normalised(self, reward: float) -> float:
        """The reward with mean 0 and standard deviation 1."""
        return (reward - self.mean) / self.std


def measure(policy: RewardPolicy, items: Sequence[Item], batch_size: int) -> Figures:
    """Figures of the rewards of these items' answers."""
    found: list[float] = []
    with evaluating(policy):
        for start in range(0, len(items), batch_size):
            found += [reward for each in policy.rate(items[start : start + batch_size]) for reward in each]
    return Figures.of(found)


def save(head: Head, figures: Figures, to: Path) -> None:
    """Write the head and the figures into a folder that is not published yet."""
    save_file({"weight": head.weight.detach().cpu()}, to / HEAD)
    durable.write(to / FIGURES, (json.dumps(vars(figures), indent=2) + "\n").encode())


def is_reward_model(folder: Path) -> bool:
    """True if a folder holds a reward model."""
    return (folder / FIGURES).is_file()


def revision(folder: Path) -> str:
    """Identity of a reward model: the digest of its head and adapter weights.

    Raises:
        UsageError: it is none.
    """
    if not is_reward_model(folder):
        raise UsageError(f"{folder} is no reward model, which has a {FIGURES}: `prefgen train rm` makes one")
    digests = [durable.sha256(file) for file in sorted(folder.glob("*.safetensors"))]
    return f"sha256:{hashlib.sha256(' '.join(digests).encode()).hexdigest()}"


class RewardModel:
    """A saved reward model as an engine.

    Attributes:
        figures: mean and spread of its rewards, as they were saved.

    Args:
        folder: as `prefgen train rm` writes it.
        engine: device, dtype, base model.

    Raises:
        UsageError: it is none. CorruptRun: a file of it is damaged.
    """

    def __init__(self, folder: Path, engine: EngineConfig | None = None) -> None:
        revision(folder)
        try:
            self.figures = Figures(**json.loads((folder / FIGURES).read_text(encoding="utf-8")))
            weight = load_file(folder / HEAD)["weight"]
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise CorruptRun(f"reward model {folder} is damaged: {error}") from error
        given = engine or EngineConfig()
        self._loaded = load(
            EngineConfig(
                model=str(folder),
                base_model=given.base_model,
                device=given.device,
                dtype=given.dtype,
                trust_remote_code=given.trust_remote_code,
            )
        )
        self._head = Head(weight.shape[1], self._loaded.device)
        self._head.weight.data.copy_(weight)
        self.reader = Reader(self._loaded, "all", self._loaded.longest)
        self._packed = packs(self._loaded)

    def rate(self, items: Sequence[Item]) -> list[list[float]]:
        """Reward of every answer of every item."""
        return _rate(self._loaded, self._head, items, self._packed)


class RewardEngine:
    """Answers `Rate` requests; those about one prompt are read behind one prompt."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model
        self._pending: dict[tuple[tuple[Turn, ...], tuple[Image, ...]], dict[int, str]] = {}

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        if not isinstance(request, Rate):
            raise TypeError(f"this engine answers Rate requests, not {type(request).__name__}")
        self._pending.setdefault((request.prompt, request.images), {})[ticket] = request.answer

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Rate everything that is pending."""
        replies: list[tuple[int, Reply | RowError]] = []
        ready: list[tuple[list[int], Item]] = []
        for (prompt, images), asked in self._pending.items():
            try:
                ready.append((list(asked), self._model.reader.item(prompt, images, list(asked.values()))))
            except RowError as error:
                replies += [(ticket, error) for ticket in asked]
        self._pending = {}
        ready.sort(key=lambda entry: entry[1].sample.length)
        for start in range(0, len(ready), _BATCH_ITEMS):
            batch = ready[start : start + _BATCH_ITEMS]
            rated = self._model.rate([item for _, item in batch])
            for (tickets, _), rewards in zip(batch, rated, strict=True):
                replies += [(ticket, Rated(reward)) for ticket, reward in zip(tickets, rewards, strict=True)]
        return replies


def engine(folder: Path, config: EngineConfig) -> RewardEngine:
    """An engine for a run whose policy has this configuration."""
    return RewardEngine(RewardModel(folder, replace(config, base_model="")))


def pinned(method: Rank) -> tuple[Rank, Callable[[EngineConfig], RewardEngine]]:
    """A ranking method with the reward model's name and digest instead of its folder, and a maker of its engine.

    Raises:
        UsageError: there is no reward model.
    """
    folder = Path(method.reward_model)
    named = replace(method, reward_model=folder.resolve().name, reward_revision=revision(folder))
    return named, partial(engine, folder)
