"""Attention of samples that stand behind each other in one row, each by itself and in two parts.

Given any mask at all, `scaled_dot_product_attention` computes the scores of all pairs of tokens, also of those that may
not see each other. A prompt's rows need none, as they are plainly causal: half the pairs, and on a GPU the flash
kernel. Only the answers' few rows are left for the mask. No sample is padded to the length of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from prefgen.engines.hf.loading import LoadedModel

NAME = "prefgen_blocks"


def install(loaded: LoadedModel) -> None:
    """Make the decoder's layers call `attend`, which is transformers' own unless `segments` are passed."""
    config = loaded.model.config.get_text_config()
    if config._attn_implementation != NAME:
        transformers.AttentionInterface.register(NAME, attend)
        transformers.AttentionMaskInterface.register(NAME, sdpa_mask)
        config._attn_implementation = NAME


@dataclass(frozen=True)
class Segment:
    """A sample's tokens in the row that all samples of a batch share.

    Attributes:
        prompt: their number in the prompt.
        answers: in its answers together.
    """

    prompt: int
    answers: int


def attend(
    module: torch.nn.Module,
    query_BHLD: torch.Tensor,
    key_BHLD: torch.Tensor,
    value_BHLD: torch.Tensor,
    mask: torch.Tensor | None,
    segments: Sequence[Segment] = (),
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with transformers' interface, (B, L, H, D).

    Args:
        mask: what is added to the scores, (B, 1, L, L); of segments to those of their answers' rows behind each other,
            (1, 1, rows, tokens of the longest segment).
        segments: whose tokens see only their own; none: the batch is none of segments.
    """
    if not segments or mask is None:
        found, _ = sdpa_attention_forward(module, query_BHLD, key_BHLD, value_BHLD, mask, **settings)
        return found, None
    # Splitting, not slicing, whose gradient would fill and add a whole row for each part.
    queries = iter(torch.split(query_BHLD, [part for one in segments for part in (one.prompt, one.answers)], dim=2))
    lengths = [one.prompt + one.answers for one in segments]
    keys, values = (torch.split(states, lengths, dim=2) for states in (key_BHLD, value_BHLD))
    masks = torch.split(mask, [one.answers for one in segments], dim=2)
    parts = []
    for segment, length, key, value, own_mask in zip(segments, lengths, keys, values, masks, strict=True):
        front = key[:, :, : segment.prompt], value[:, :, : segment.prompt]
        causal, _ = sdpa_attention_forward(module, next(queries), *front, None, **{**settings, "is_causal": True})
        behind = next(queries)
        parts.append(causal)
        if segment.answers:
            masked, _ = sdpa_attention_forward(module, behind, key, value, own_mask[..., :length], **settings)
            parts.append(masked)
    return torch.cat(parts, dim=1), None
