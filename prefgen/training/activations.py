"""Gradient checkpointing that keeps the results of matrix products and attention while there is memory for them.

They are most of a layer's time and about half of its activations. What lies between them, norms, rotations and
activation functions, is computed again in the backward pass, and so is a whole layer for which no memory is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from prefgen.engines.hf import devices
from prefgen.training import processes

_ATEN = torch.ops.aten
_KEPT: Mapping[Any, Callable[..., int]] = {
    _ATEN.mm.default: lambda one, other: len(one) * other.shape[1] * one.element_size(),
    _ATEN.addmm.default: lambda added, one, other: len(one) * other.shape[1] * one.element_size(),
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default: lambda query, *_: query.nbytes,
    _ATEN._scaled_dot_product_flash_attention.default: lambda query, *_: query.nbytes,
    _ATEN._scaled_dot_product_efficient_attention.default: lambda query, *_: query.nbytes,
    _ATEN._scaled_dot_product_cudnn_attention.default: lambda query, *_: query.nbytes,
}
"""Operations whose results are kept, with their bytes."""
_SHARE = 0.5  # of the free memory; the rest is for the layer in hand, the logits and other programs


def checkpoint(model: Any, device: torch.device) -> None:
    """Switch on checkpointing of the model's layers. Gradients are those without it, bit by bit on a CPU."""
    settings: dict[str, Any] = {"use_reentrant": False}
    if not processes.sharding():  # there, layers wait for each other: all processes have to compute the same again
        kept = _KeptActivations(device, [weight for weight in model.parameters() if weight.requires_grad])
        settings["context_fn"] = kept.contexts
        decoder = model.model.get_decoder()
        decoder.register_forward_pre_hook(lambda *_: kept.begin())
        decoder.register_forward_hook(lambda *_: kept.end())
    model.gradient_checkpointing_enable(settings)
    model.disable_input_require_grads()  # which would carry gradients through all of the frozen vision encoder


class _KeptActivations:
    """The bytes that the layers of a forward pass may still keep."""

    def __init__(self, device: torch.device, trained: Sequence[torch.nn.Parameter]) -> None:
        self._device = device
        self._trained = trained
        self._left = 0.0

    def begin(self) -> None:
        """A pass over the decoder begins: share out what is free beside gradients that are still to come."""
        if torch.is_grad_enabled():
            gradients = sum(weight.nbytes for weight in self._trained if weight.grad is None)
            self._left = _SHARE * (_free_bytes(self._device) - gradients)

    def end(self) -> None:
        """The pass is over; the vision encoder, which is frozen, keeps nothing."""
        self._left = 0.0

    def contexts(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """Contexts of a layer's forward pass and of its second computation."""
        if self._left <= 0:
            return nullcontext(), nullcontext()
        forward, again = create_selective_checkpoint_contexts(self._policy)  # type: ignore[no-untyped-call]
        return forward, again

    def _policy(self, context: Any, operation: Any, *arguments: Any, **_: Any) -> CheckpointPolicy:
        """Keep the result of a product. The same in the second computation, of which some versions of torch ask too."""
        if operation not in _KEPT:
            return CheckpointPolicy.PREFER_RECOMPUTE
        if not context.is_recompute:
            self._left -= _KEPT[operation](*arguments)
        return CheckpointPolicy.MUST_SAVE


def _free_bytes(device: torch.device) -> float:
    """Free memory of a device, that which torch holds in reserve included; of a CPU, this process's share."""
    free = float(devices.free_bytes(str(device)))
    if device.type == "cuda":
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free / processes.count()
