"""Contrastive decoding: two views of the same prompt are decoded together and their logits combined.

Both views of all rows are one batch that no row leaves before the last is finished: a place of `RunningBatch` has one
view and goes on alone.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from prefgen.engines.hf import decoding, loading, vision
from prefgen.engines.hf.decoding import BatchRow, Prefilled
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.sampling import Chooser, Vocabulary
from prefgen.requests import Contrast


@torch.inference_mode()
def generate(
    loaded: LoadedModel,
    vocabulary: Vocabulary,
    rows: list[BatchRow],
    others: list[BatchRow],
    *,
    drop: bool,
    preserve: bool,
) -> None:
    """Finish the rows' continuations, in place.

    Args:
        rows: of `Contrast` requests.
        others: the same rows under the views that they are contrasted with.
        drop: take hidden image tokens out of the sequence, otherwise mask them.
        preserve: keep tokens' own positions.
    """
    groups = [list(range(len(rows)))] if drop else vision.alike(loaded.family, (row.pixels for row in rows))
    for group in groups:
        seen = [rows[index] for index in group]
        both = seen + [others[index] for index in group]
        read = (decoding.prefill if drop else decoding.prefill_masked)(loaded, both, preserve=preserve)
        _finish(loaded, vocabulary, seen, read.expanded())


def _finish(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[BatchRow], read: Prefilled) -> None:
    """Draw tokens until all rows are finished; `read` holds each row twice, and both copies get the same tokens."""
    chooser = Chooser(vocabulary, [row.continuation for row in rows], loaded.device)
    requests = [row.continuation.request for row in rows]
    contrasts = [request for request in requests if isinstance(request, Contrast)]
    logits, attention, position = read.logits, read.attention, read.position
    while True:
        seen_BV, other_BV = logits.chunk(2)
        token_B = chooser.choose(combine(chooser.allowed(seen_BV), other_BV, contrasts))
        chooser.push(token_B.tolist())
        if all(chooser.finished()):
            return
        attention = functional.pad(attention, (0, 1), value=1)
        position = position + 1
        logits = loaded.model(
            input_ids=token_B.repeat(2)[:, None],
            attention_mask=attention,
            position_ids=position[..., None],
            **loading.cache_argument(loaded.model, read.cache),
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


def combine(seen_BV: torch.Tensor, other_BV: torch.Tensor, requests: Sequence[Contrast]) -> torch.Tensor:
    """The combined logits, float32 (B, V), as in the code of VCD (arXiv 2311.16922).

    Args:
        seen_BV: under each request's view, -inf where a token must not be drawn.
        other_BV: under the views that are taken away.
    """
    alpha_B1, beta_B1 = seen_BV.new_tensor([(own.alpha, own.plausibility) for own in requests]).T[..., None]
    combined_BV: torch.Tensor = (1 + alpha_B1) * seen_BV - alpha_B1 * other_BV.float()
    likeliest_B1 = seen_BV.max(dim=-1, keepdim=True).values
    return combined_BV.masked_fill(seen_BV < likeliest_B1 + beta_B1.log(), -torch.inf)
