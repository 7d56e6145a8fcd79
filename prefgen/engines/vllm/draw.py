"""Token draws of the transformers engine inside vLLM: one uniform number per token, from the request's own stream.

vLLM loads this class by its name, in every process that samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from prefgen.engines.hf import sampling

FORBIDDEN = "prefgen_forbidden_ids"  # key in vLLM's `additional_config`
_DRAW = "prefgen_draw"  # key in a request's `extra_args`


def params(request_seed: int, settings: Any, eos_ids: set[int]) -> SamplingParams:
    """The sampling parameters of a request for vLLM: greedy, over the one token that `Draw` leaves.

    Args:
        settings: `prefgen.requests.Sampling`.
        eos_ids: the only tokens that vLLM itself stops at; where a sentence ends is not for it to say.
    """
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0.0,
        max_tokens=settings.max_new_tokens,
        stop_token_ids=sorted(eos_ids),
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        extra_args={_DRAW: (request_seed, settings.temperature, settings.top_p)},
    )


@dataclass(frozen=True)
class _Row:
    """A running request; `drawn` is vLLM's own list of its generated tokens."""

    temperature: float
    top_p: float
    uniforms: npt.NDArray[np.float64]
    drawn: list[int]


class Draw(LogitsProcessor):  # type: ignore[misc]  # vLLM is not seen by mypy
    """A logits processor that masks forbidden tokens and leaves each sampled row only its drawn token."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._forbidden = torch.tensor(vllm_config.additional_config[FORBIDDEN], dtype=torch.int64, device=device)
        self._rows: dict[int, _Row] = {}

    def is_argmax_invariant(self) -> bool:
        """False: it decides the token."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests as vLLM moves them in its batch."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._rows.pop(index, None)
        for index, params, _, drawn in batch_update.added:
            seed, temperature, top_p = params.extra_args[_DRAW]
            uniforms = sampling.uniforms(seed, params.max_tokens)
            self._rows[index] = _Row(temperature, top_p, uniforms, drawn)
        for source, target, direction in batch_update.moved:
            moved, displaced = self._rows.pop(source, None), self._rows.pop(target, None)
            if moved is not None:
                self._rows[target] = moved
            if displaced is not None and direction == MoveDirectionality.SWAP:
                self._rows[source] = displaced

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """(B, V) logits with one token left per row, or for a greedy batch with forbidden tokens masked."""
        allowed_BV = logits.index_fill_(-1, self._forbidden, -torch.inf)
        rows = [self._rows[index] for index in range(len(logits))]
        if not any(row.temperature for row in rows):
            return allowed_BV

        def column(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float64, device=logits.device)

        drawn_B = sampling.draw(
            allowed_BV,
            column([float(row.uniforms[min(len(row.drawn), len(row.uniforms) - 1)]) for row in rows]),
            column([row.temperature for row in rows]),
            column([row.top_p for row in rows]),
        )
        return torch.full_like(logits, -torch.inf).scatter_(-1, drawn_B[:, None], 0.0)
