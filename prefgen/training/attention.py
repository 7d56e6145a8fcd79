"""Attention under a block mask, computed in two parts, as the prompts' rows need no mask.

Given any mask at all, `scaled_dot_product_attention` computes the scores of all pairs of tokens, also of those that may
not see each other. In a batch that is padded on the right, the first rows are prompts' in all sequences and plainly
causal: half the pairs, and on a GPU the flash kernel. Only the answers' few rows are left for the mask.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from prefgen.engines.hf.loading import LoadedModel

NAME = "prefgen_blocks"


def install(loaded: LoadedModel) -> None:
    """Make the decoder's layers call `attend`, which is transformers' own unless `causal_rows` is passed."""
    config = loaded.model.config.get_text_config()
    if config._attn_implementation != NAME:
        transformers.AttentionInterface.register(NAME, attend)
        transformers.AttentionMaskInterface.register(NAME, sdpa_mask)
        config._attn_implementation = NAME


def attend(
    module: torch.nn.Module,
    query_BHLD: torch.Tensor,
    key_BHLD: torch.Tensor,
    value_BHLD: torch.Tensor,
    mask: torch.Tensor | None,
    causal_rows: int = 0,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with transformers' interface, (B, L, H, D).

    Args:
        mask: what is added to the scores, (B, 1, L, L).
        causal_rows: rows at whose beginning it is the causal one.
    """
    if not causal_rows or mask is None:
        found, _ = sdpa_attention_forward(module, query_BHLD, key_BHLD, value_BHLD, mask, **settings)
        return found, None
    front = (states[:, :, :causal_rows] for states in (query_BHLD, key_BHLD, value_BHLD))
    causal, _ = sdpa_attention_forward(module, *front, None, **{**settings, "is_causal": True})
    masked, _ = sdpa_attention_forward(
        module, query_BHLD[:, :, causal_rows:], key_BHLD, value_BHLD, mask[:, :, causal_rows:], **settings
    )
    return torch.cat([causal, masked], dim=1), None
