"""Log-probabilities under the reference, the model before its first step: computed once and saved.

It is read as it is about to be trained, LoRA's matrices in it and still without effect: in bfloat16 the same weights
rounded otherwise would not give the same numbers, and the first step's margins would not be 0. Every token has its own
log-probability, so that they serve every objective and mask. No adapter has to be switched off for them, no second
model kept in memory, and a projector that is trained cannot change them.

Answers that the policy makes while it is trained are not known before. They are read by the same reference, `Live`: the
model with LoRA switched off and the projector as it was, an adapter that is trained further as it was, or a copy of a
model that is trained whole.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from prefgen import durable
from prefgen.engines.hf.loading import LoadedModel
from prefgen.errors import CorruptRun
from prefgen.training import processes
from prefgen.training.logprobs import evaluating, token_logps
from prefgen.training.rows import Item, TrainingSample

Logps = tuple[torch.Tensor, ...]
"""Of each answer of a sample, (T,) each, float32 on the CPU."""


def path(folder: Path, loaded: LoadedModel, runs: Sequence[str], samples: Sequence[TrainingSample], kind: str) -> Path:
    """The file of saved log-probabilities, named by model, kind of training, digests of the runs and tokens."""
    tokens = hashlib.sha256()
    for sample in samples:
        tokens.update(json.dumps([sample.id, sample.prompt, [answer.ids for answer in sample.answers]]).encode())
    key = json.dumps([loaded.name, loaded.revision, str(loaded.dtype), kind, *runs, tokens.hexdigest()])
    return folder / f"reference-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"


def compute(
    loaded: LoadedModel,
    samples: Sequence[TrainingSample],
    item: Callable[[int], Item],
    batch_size: int,
    *,
    packed: bool,
    progress: Callable[[int], None],
) -> list[Logps]:
    """Compute every sample once; with several processes, each computes its share.

    Args:
        item: a sample by its number.
        progress: told how many samples are done.
    """
    batches = [range(len(samples))[start : start + batch_size] for start in range(0, len(samples), batch_size)]
    found: dict[int, Logps] = {}
    for batch in batches[processes.number() :: processes.count()]:
        with torch.no_grad():
            logps = token_logps(loaded, [item(number) for number in batch], packed=packed)
        found |= {number: tuple(own.cpu() for own in each) for number, each in zip(batch, logps, strict=True)}
        progress(min(len(found) * processes.count(), len(samples)))
    everywhere = {number: logps for each in processes.gathered(found) for number, logps in each.items()}
    return [everywhere[number] for number in range(len(samples))]


class Live:
    """The reference during training, for answers that were not computed before.

    Args:
        model: before its first step: PEFT's wrapper, or one that is trained whole and is copied.
        packed: see `token_logps`.
    """

    def __init__(self, model: Any, loaded: LoadedModel, *, packed: bool) -> None:
        self._packed = packed
        if isinstance(model, peft.PeftModel):
            first = _First(model) if loaded.adapter else None
            self._as_it_was, self._loaded = first.restored if first else model.disable_adapter, loaded
        else:
            self._as_it_was = nullcontext
            self._loaded = replace(loaded, model=copy.deepcopy(loaded.model).requires_grad_(False))

    @torch.no_grad()
    def __call__(self, items: Sequence[Item]) -> list[Logps]:
        """Compute samples without using their stored reference."""
        with evaluating(self._loaded.model), self._as_it_was():
            found = token_logps(self._loaded, items, packed=self._packed)
        return [tuple(logps.cpu() for logps in each) for each in found]


class _First:
    """A copy of the trained weights before the first step."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._kept = [(weight, weight.detach().clone()) for weight in model.parameters() if weight.requires_grad]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put the copied weights into the model for a while."""
        trained = [weight.data for weight, _ in self._kept]
        for weight, first in self._kept:
            weight.data = first
        try:
            yield
        finally:
            for (weight, _), own in zip(self._kept, trained, strict=True):
                weight.data = own


def save(file: Path, found: Sequence[Logps]) -> None:
    """Save log-probabilities atomically."""
    part = file.with_suffix(".part")
    save_file({"logps": torch.cat([logps for each in found for logps in each])}, part)
    durable.sync(part)
    durable.publish(part, file)


def load(file: Path, samples: Sequence[TrainingSample]) -> list[Logps]:
    """Load what `save` wrote for these samples.

    Raises:
        CorruptRun: it is damaged.
    """
    try:
        flat = load_file(file)["logps"]
    except SafetensorError as error:
        raise CorruptRun(f"{file} is damaged ({error}): delete it, and it is computed again") from error
    each = iter(torch.split(flat, [len(answer.ids) for sample in samples for answer in sample.answers]))
    return [tuple(next(each) for _ in sample.answers) for sample in samples]
