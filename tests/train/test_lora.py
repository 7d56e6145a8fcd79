"""LoRA with merged weights against PEFT's own computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import peft
import pytest
import torch

from prefgen.training import lora, processes


def layers(inside: int, outside: int, rank: int, *, bias: bool = False, **settings: Any) -> Iterator[Any]:
    """Two wrapped linear layers with the same weights, of which the second computes with the merged weight."""
    for merged in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(inside, outside, bias=bias))
        config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["0"], init_lora_weights=False, **settings)
        wrapped = peft.get_peft_model(model, config)
        if merged:
            lora.install(wrapped)
        yield wrapped


def read(layer: Any, x: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients of the input and of both matrices."""
    given = x.clone().requires_grad_()
    found = layer(given)
    trained = [weight for weight in layer.parameters() if weight.requires_grad]
    assert len(trained) == 2
    return [found, *torch.autograd.grad((found * weights).sum(), [given, *trained])]


@pytest.mark.parametrize(("inside", "outside", "rank"), [(24, 40, 16), (48, 96, 4)], ids=["whole", "by factors"])
@pytest.mark.parametrize("bias", [False, True])
def test_output_and_gradients_are_those_of_peft(inside: int, outside: int, rank: int, bias: bool) -> None:
    x, weights = torch.randn(3, 50, inside), torch.randn(3, 50, outside)
    stock, merged = layers(inside, outside, rank, bias=bias)
    with patch.object(lora._Merged, "apply", wraps=lora._Merged.apply) as used:
        ours = read(merged, x, weights)
    assert used.call_count == 1
    for one, other in zip(read(stock, x, weights), ours, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(one.detach().abs().max()))


def test_the_weight_is_merged_only_where_that_is_exact_and_faster() -> None:
    merged: Any
    _, merged = layers(24, 40, 4)
    long, few = torch.randn(2, 30, 24), torch.randn(2, 1, 24)
    with patch.object(lora._Merged, "apply", side_effect=AssertionError):
        merged(few)
        with merged.disable_adapter():
            assert torch.equal(merged(long), merged.get_base_model()[0].get_base_layer()(long))
        merged.to(torch.bfloat16)(long.bfloat16())
        _, dropping = layers(24, 40, 4, lora_dropout=0.5)
        dropping(long)
        _, otherwise = layers(24, 40, 4, use_dora=True)
        otherwise(long)
        with patch.object(processes, "sharding", lambda: "fsdp"):
            _, shared = layers(24, 40, 4)
        shared(long)


def test_an_adapter_without_effect_leaves_the_output_as_it_is() -> None:
    """So that the first step's margins are 0, whatever the reference was computed with."""
    merged: Any
    _, merged = layers(24, 40, 4)
    for name, weight in merged.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(weight)
    x = torch.randn(2, 30, 24)
    for context in (merged.disable_adapter(), nullcontext()):
        with context:
            assert torch.equal(merged(x), merged.get_base_model()[0].get_base_layer()(x))
