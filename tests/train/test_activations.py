"""Gradient checkpointing that keeps products: the same gradients, fewer computations."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from prefgen.engines.hf import devices
from prefgen.training import processes
from prefgen.training.config import Optimisation
from prefgen.training.logprobs import Policy
from prefgen.training.model import attach
from tests.engines.zoo import ZOO
from tests.train.pairs import item, row

HOW = Optimisation(projector_lr=1e-3, lora_r=4, lora_alpha=8)
_MM = torch.ops.aten.mm.default


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[Any] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func] += 1
        return func(*args, **(kwargs or {}))


def gradients(how: Optimisation, name: str = "llava") -> tuple[dict[str, torch.Tensor], Counter[Any]]:
    """Gradients of a sample's log-probabilities, and the operations of the backward pass."""
    loaded = ZOO[name]()
    policy = Policy(attach(loaded, how), loaded, packed=True)
    policy.train()
    total = torch.cat([logps for each in policy([item(loaded, row())]) for logps in each]).sum()
    with Counted() as counted:
        torch.autograd.backward(total)
    return {name: weight.grad for name, weight in policy.trained() if weight.grad is not None}, counted.calls


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.parametrize("name", ["llava", "internvl"])
def test_gradients_are_those_without_checkpointing_and_no_product_is_computed_twice(name: str, lora: bool) -> None:
    how = replace(HOW, lora=lora)
    plain, needed = gradients(replace(how, gradient_checkpointing=False), name)
    kept, computed = gradients(how, name)
    assert plain.keys() == kept.keys()
    assert all(torch.equal(plain[name], kept[name]) for name in plain)
    assert computed[_MM] == needed[_MM]
    attention = {operation for operation in computed if "scaled_dot_product" in str(operation)}
    assert {str(operation) for operation in attention} == {str(op) for op in needed if "scaled_dot_product" in str(op)}


def test_without_memory_for_them_layers_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, needed = gradients(HOW)
    monkeypatch.setattr(devices, "free_bytes", lambda device: 0)
    again, computed = gradients(HOW)
    assert computed[_MM] > needed[_MM]
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_memory_for_some_layers_keeps_those(monkeypatch: pytest.MonkeyPatch) -> None:
    _, all_kept = gradients(HOW)
    loaded = ZOO["llava"]()
    weights = attach(loaded, HOW).parameters()
    trained = sum(weight.nbytes for weight in weights if weight.requires_grad)
    found = []
    for free in (trained + 2, trained - 2):  # gradients take as much
        monkeypatch.setattr(devices, "free_bytes", lambda device, free=free: free)
        found.append(gradients(HOW)[1][_MM])
    assert all_kept[_MM] < found[0] < found[1]


def test_processes_that_share_weights_out_compute_all_layers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the others' layers, so none may skip one."""
    _, kept = gradients(HOW)
    monkeypatch.setattr(processes, "sharding", lambda: "fsdp")
    _, again = gradients(HOW)
    assert again[_MM] > kept[_MM]


def test_no_gradient_goes_through_the_frozen_vision_encoder() -> None:
    loaded = ZOO["llava"]()
    policy = Policy(attach(loaded, HOW), loaded, packed=True)
    policy.train()
    seen: list[bool] = []
    tower = loaded.model.model.vision_tower
    tower.register_forward_hook(lambda _, __, output: seen.append(output.last_hidden_state.requires_grad))
    policy([item(loaded, row())])
    assert seen == [False]
