"""Decoding with the model's own cache: the batch ends when its last row is finished.

For layers that carry a running state from token to token, which has no places that another row could take as keys and
values have in `RunningBatch`. And for masked rows of types that no table lists: their own `generate` may number tokens
otherwise than asked, as that of Exaone 4.5 does.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from prefgen.engines.hf import decoding, loading, vision
from prefgen.engines.hf.decoding import BatchRow, Prefilled
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.sampling import Chooser, Vocabulary


@torch.inference_mode()
def generate(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[BatchRow], *, drop: bool, preserve: bool) -> None:
    """Finish the rows' continuations, in place.

    Args:
        drop: take hidden image tokens out of the sequence, otherwise mask them.
        preserve: keep tokens' own positions.
    """
    groups = [list(range(len(rows)))] if drop else vision.alike(loaded.family, (row.pixels for row in rows))
    for group in groups:
        own = [rows[index] for index in group]
        _finish(
            loaded,
            vocabulary,
            own,
            (decoding.prefill if drop else decoding.prefill_masked)(loaded, own, preserve=preserve),
        )


def _finish(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[BatchRow], read: Prefilled) -> None:
    chooser = Chooser(vocabulary, [row.continuation for row in rows], loaded.device)
    logits_BV, attention, position = read.logits, read.attention, read.position
    while True:
        token_B = chooser.choose(logits_BV)
        chooser.push(token_B.tolist())
        if all(chooser.finished()):
            return
        attention = functional.pad(attention, (0, 1), value=1)
        position = position + 1
        logits_BV = loaded.model(
            input_ids=token_B[:, None],
            attention_mask=attention,
            position_ids=position[..., None],
            **loading.cache_argument(loaded.model, read.cache),
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
