"""Stock `generate` with hidden tokens masked: the slow reference that dropping is tested against."""

from __future__ import annotations

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from prefgen.engines.hf import decoding, vision
from prefgen.engines.hf.decoding import BatchRow
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.sampling import Chooser, Vocabulary


@torch.inference_mode()
def generate_masked(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[BatchRow], *, preserve: bool) -> None:
    """Finish the rows' continuations, in place."""
    for group in vision.alike(loaded.family, (row.pixels for row in rows)):
        _generate_masked(loaded, vocabulary, [rows[index] for index in group], preserve=preserve)


def _generate_masked(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[BatchRow], *, preserve: bool) -> None:
    """One call of stock `generate`; the rows' pixels must have one shape."""
    inputs = decoding.masked_inputs(loaded, rows, preserve=preserve)
    if not (preserve or loaded.family.mrope):
        del inputs["position_ids"]  # `generate` counts what the mask leaves
    chooser = Chooser(vocabulary, [row.continuation for row in rows], loaded.device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max(row.max_new_tokens for row in rows),
        eos_token_id=sorted(loaded.eos_ids),
        pad_token_id=decoding.pad_id(loaded),
    )
    loaded.model.generate(
        **inputs,
        generation_config=settings,
        logits_processor=LogitsProcessorList([_Force(chooser)]),
        stopping_criteria=StoppingCriteriaList([_Finished(chooser)]),
    )


class _Force(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """A logits processor that leaves only the token that was drawn."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        drawn_B = self._chooser.choose(scores)
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn_B[:, None], 0.0)


class _Finished(StoppingCriteria):  # type: ignore[misc]  # transformers has no types
    """A stopping criterion that marks finished rows."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: object) -> torch.Tensor:
        self._chooser.push(input_ids[:, -1].tolist())
        return torch.tensor(self._chooser.finished(), device=input_ids.device)
