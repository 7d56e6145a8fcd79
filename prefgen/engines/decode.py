"""Generating a batch: our loop over the kept tokens, and stock `generate` with a mask as the reference.

Shapes: B rows, L prompt tokens (padded on the left), V vocabulary, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from prefgen.engines import sampling, vision
from prefgen.engines.loading import LoadedModel
from prefgen.engines.sampling import Continuation, Vocabulary


@dataclass(frozen=True)
class Row:
    """One request, ready for a batch.

    Attributes:
        ids: token ids of prompt and prefix, a placeholder for every image token.
        features: (image tokens, hidden) per image. pixels: what they were computed from.
        visible: bool (image tokens of all images,).
    """

    ticket: int
    ids: list[int]
    features: list[torch.Tensor]
    pixels: list[vision.Pixels]
    visible: npt.NDArray[np.bool_]
    continuation: Continuation

    @property
    def length(self) -> int:
        """Tokens that can be attended to."""
        return len(self.ids) - len(self.visible) + int(self.visible.sum())

    @property
    def max_new_tokens(self) -> int:
        """Limit of what is generated."""
        return self.continuation.request.sampling.max_new_tokens


@dataclass(frozen=True)
class Padded:
    """Rows as left-padded arrays; all (B, L).

    Attributes:
        attention: 1 where the token may be attended to.
        positions: position of each token before any hidden token is taken out; 0 for padding.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    positions: torch.Tensor


def _pad(rows: list[npt.NDArray[np.int64]], fill: int) -> torch.Tensor:
    length = max(len(row) for row in rows)
    return torch.from_numpy(np.stack([np.pad(row, (length - len(row), 0), constant_values=fill) for row in rows]))


def pad_rows(rows: list[Row], image_token_id: int, pad_id: int, *, drop: bool) -> Padded:
    """Left-pad the rows, hidden image tokens dropped or masked."""
    ids, attention, positions = [], [], []
    for row in rows:
        full = np.array(row.ids, dtype=np.int64)
        visible = np.ones(len(full), dtype=np.bool_)
        visible[full == image_token_id] = row.visible
        keep = visible if drop else np.ones_like(visible)
        ids.append(full[keep])
        attention.append(visible[keep].astype(np.int64))
        positions.append(np.arange(len(full))[keep])
    return Padded(_pad(ids, pad_id), _pad(attention, 0), _pad(positions, 0))


def compact_positions(attention_BL: torch.Tensor) -> torch.Tensor:
    """Positions that count visible tokens only."""
    return (attention_BL.cumsum(dim=-1) - 1).clamp(min=0)


def prefill_inputs(loaded: LoadedModel, rows: list[Row], *, preserve: bool) -> dict[str, torch.Tensor]:
    """Model inputs of a batch without its hidden tokens: ``inputs_embeds`` (B, L, H), mask and positions."""
    padded = pad_rows(rows, loaded.image_token_id, pad_id(loaded), drop=True)
    ids, attention = padded.ids.to(loaded.device), padded.attention.to(loaded.device)
    embeds_BLH = loaded.model.get_input_embeddings()(ids)
    kept = [torch.cat(row.features)[torch.from_numpy(row.visible)] for row in rows if row.features]
    if kept:
        is_image_BL = (ids == loaded.image_token_id) & attention.bool()
        embeds_BLH[is_image_BL] = torch.cat(kept).to(loaded.device, embeds_BLH.dtype)
    positions = padded.positions.to(loaded.device) if preserve else compact_positions(attention)
    return {"inputs_embeds": embeds_BLH, "attention_mask": attention, "position_ids": positions}


@torch.inference_mode()
def generate_dropped(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[Row], *, preserve: bool) -> None:
    """Generate with the hidden tokens removed; the continuations of `rows` are filled in place."""
    inputs = prefill_inputs(loaded, rows, preserve=preserve)
    attention_BL, position_B = inputs["attention_mask"], inputs["position_ids"][:, -1]
    chooser = _Chooser(vocabulary, [row.continuation for row in rows], loaded.device)
    output = loaded.model(**inputs, use_cache=True, logits_to_keep=1)
    while True:
        token_B = chooser.choose(output.logits[:, -1])
        if chooser.push(token_B.tolist()):
            return
        cache = output.past_key_values
        active = chooser.shrink()
        if active is not None:  # finished rows leave the batch once they are a quarter of it
            token_B, position_B, attention_BL = token_B[active], position_B[active], attention_BL[active]
            cache.batch_select_indices(active)
        position_B = position_B + 1
        attention_BL = torch.cat([attention_BL, attention_BL.new_ones(len(attention_BL), 1)], dim=-1)
        output = loaded.model(
            input_ids=token_B[:, None],
            attention_mask=attention_BL,
            position_ids=position_B[:, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )


@torch.inference_mode()
def generate_masked(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[Row], *, preserve: bool) -> None:
    """Generate with stock `generate` over the full sequence, hidden tokens masked."""
    padded = pad_rows(rows, loaded.image_token_id, pad_id(loaded), drop=False)
    inputs: dict[str, Any] = {
        "input_ids": padded.ids.to(loaded.device),
        "attention_mask": padded.attention.to(loaded.device),
    }
    pixels = [image for row in rows for image in row.pixels]
    if pixels:
        inputs |= vision.model_inputs(loaded, pixels)
    if preserve:
        inputs["position_ids"] = padded.positions.to(loaded.device)
    chooser = _Chooser(vocabulary, [row.continuation for row in rows], loaded.device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max(row.max_new_tokens for row in rows),
        eos_token_id=sorted(loaded.eos_ids),
        pad_token_id=pad_id(loaded),
    )
    loaded.model.generate(
        **inputs,
        generation_config=settings,
        logits_processor=LogitsProcessorList([_Force(chooser)]),
        stopping_criteria=StoppingCriteriaList([_Finished(chooser)]),
    )


def pad_id(loaded: LoadedModel) -> int:
    """The padding token, or the end token for tokenizers without one."""
    tokenizer = loaded.processor.tokenizer
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


class _Chooser:
    """Draws tokens for the rows that are still going, each from its own stream."""

    def __init__(self, vocabulary: Vocabulary, continuations: list[Continuation], device: torch.device) -> None:
        settings = [continuation.request.sampling for continuation in continuations]
        self._continuations = continuations
        self._device = device
        self._temperature_B = torch.tensor([s.temperature for s in settings], dtype=torch.float64, device=device)
        self._top_p_B = torch.tensor([s.top_p for s in settings], dtype=torch.float64, device=device)
        self._forbidden = torch.tensor(vocabulary.forbidden_ids, dtype=torch.int64, device=device)

    def choose(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """The next token of every row, finished rows included; (B,)."""
        allowed_BV = logits_BV.float().index_fill(-1, self._forbidden, -torch.inf)
        uniforms = [0.0 if row.finish else row.uniforms[len(row.ids)] for row in self._continuations]
        uniform_B = torch.tensor(uniforms, dtype=torch.float64, device=self._device)
        return sampling.draw(allowed_BV, uniform_B, self._temperature_B, self._top_p_B)

    def push(self, tokens: list[int]) -> bool:
        """Hand the tokens to their rows; True when all rows are finished."""
        for continuation, token in zip(self._continuations, tokens, strict=True):
            if continuation.finish is None:
                continuation.push(token)
        return all(continuation.finish for continuation in self._continuations)

    def finished(self) -> list[bool]:
        """Which rows are finished."""
        return [continuation.finish is not None for continuation in self._continuations]

    def shrink(self) -> torch.Tensor | None:
        """Indices of the unfinished rows once it pays to go on with them alone, else None."""
        active = [index for index, done in enumerate(self.finished()) if not done]
        if 4 * len(active) > 3 * len(self._continuations):
            return None
        self._continuations = [self._continuations[index] for index in active]
        indices = torch.tensor(active, device=self._device)
        self._temperature_B, self._top_p_B = self._temperature_B[indices], self._top_p_B[indices]
        return indices


class _Force(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """Leaves `generate` no choice but the token that was drawn."""

    def __init__(self, chooser: _Chooser) -> None:
        self._chooser = chooser

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        drawn_B = self._chooser.choose(scores)
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn_B[:, None], 0.0)


class _Finished(StoppingCriteria):  # type: ignore[misc]  # transformers has no types
    """Tells `generate` which rows are finished."""

    def __init__(self, chooser: _Chooser) -> None:
        self._chooser = chooser

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: object) -> torch.Tensor:
        self._chooser.push(input_ids[:, -1].tolist())
        return torch.tensor(self._chooser.finished(), device=input_ids.device)
