"""LoRA in float32, computed as one product with the merged weight: x (W + s BA)^T for x W^T + s (x A^T) B^T.

Over the thousands of tokens of a pass, merging costs less than the two products of every token with A and B and the
two additions to its output, and fewer activations are kept. In bfloat16 the merged weight would lose most of what was
learned; there, and for a few tokens, PEFT's own computation stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import peft
import torch
from torch.autograd.function import once_differentiable

from prefgen.training import processes


def install(model: torch.nn.Module) -> None:
    """Make the model's LoRA layers compute with merged weights where that is faster."""
    if processes.sharding():  # which follows the use of weights by calls of the modules that have them
        return
    parts: Iterable[Any] = model.modules()
    for part in parts:
        if type(part) is peft.tuners.lora.Linear and type(part.get_base_layer()) is torch.nn.Linear:
            part.__class__ = MergedLinear


class MergedLinear(peft.tuners.lora.Linear):  # type: ignore[misc]  # PEFT has no types
    """PEFT's linear layer with LoRA, in another order of computation."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As the parent's."""
        base, (name, *others) = self.get_base_layer(), self.active_adapters
        usual = not (self.disable_adapters or self.merged or others or self.lora_variant or args or kwargs)
        usual = usual and name in self.lora_A and isinstance(self.lora_dropout[name], torch.nn.Identity)
        inside, outside = base.in_features, base.out_features
        long = x.numel() * (inside + outside) // inside >= 2 * inside * outside
        if not (usual and long and x.dtype == base.weight.dtype == torch.float32):
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        a, b = self.lora_A[name], self.lora_B[name]
        return _Merged.apply(x, base.weight, base.bias, a.weight, b.weight, self.scaling[name])  # type: ignore[no-any-return, no-untyped-call]


class _Merged(torch.autograd.Function):
    """Shapes: N tokens, I inside, O outside, R rank."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        a_RI: torch.Tensor,
        b_OR: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight_OI, a_RI, b_OR)
        ctx.scale = scale
        x_NI, merged_IO = x.reshape(-1, x.shape[-1]), _merged(weight_OI, a_RI, b_OR, scale).t()
        y_NO = x_NI @ merged_IO if bias_O is None else torch.addmm(bias_O, x_NI, merged_IO)
        return y_NO.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight_OI, a_RI, b_OR = ctx.saved_tensors
        x_NI, gradient_NO = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        of_x = of_a = of_b = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient_NO @ _merged(weight_OI, a_RI, b_OR, ctx.scale)).view_as(x)
        if ctx.needs_input_grad[3]:
            (outside, rank), inside = b_OR.shape, a_RI.shape[1]
            # The whole weight's gradient, where it takes fewer multiplications.
            if inside * outside <= 2 * rank * (inside + outside):
                whole_OI = gradient_NO.t() @ x_NI
                of_a, of_b = b_OR.t() @ whole_OI, whole_OI @ a_RI.t()
            else:
                of_a, of_b = (gradient_NO @ b_OR).t() @ x_NI, gradient_NO.t() @ (x_NI @ a_RI.t())
            of_a, of_b = of_a * ctx.scale, of_b * ctx.scale
        return of_x, None, None, of_a, of_b, None


def _merged(weight_OI: torch.Tensor, a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float) -> torch.Tensor:
    """W + s BA. In place, as `prefgen.training.activations` keeps the results of products that are not."""
    return weight_OI.clone().addmm_(b_OR, a_RI, alpha=scale)
