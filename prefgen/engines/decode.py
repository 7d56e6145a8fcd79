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
    def group(self) -> tuple[object, ...]:
        """Equal for rows whose prompts begin alike: the same conversation, images and view."""
        request = self.continuation.request
        return (request.prompt, request.images, request.view)

    @property
    def max_new_tokens(self) -> int:
        """Limit of what is generated."""
        return self.continuation.request.sampling.max_new_tokens


@dataclass(frozen=True)
class Padded:
    """Sequences as left-padded arrays; all (B, L).

    Attributes:
        attention: 1 where the token may be attended to.
        positions: the token's position; 0 for padding.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class Tokens:
    """One sequence; all (L,).

    Attributes:
        attention: 1 where the token may be attended to.
        positions: each token's position.
    """

    ids: npt.NDArray[np.int64]
    attention: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]

    def __getitem__(self, part: slice) -> Tokens:
        """A stretch of the sequence."""
        return Tokens(self.ids[part], self.attention[part], self.positions[part])


def whole_sequence(row: Row, image_token_id: int) -> Tokens:
    """The row with its hidden image tokens masked, every token at its own position."""
    ids = np.array(row.ids, dtype=np.int64)
    attention = np.ones(len(ids), dtype=np.int64)
    attention[ids == image_token_id] = row.visible
    return Tokens(ids, attention, np.arange(len(ids)))


def kept_sequence(row: Row, image_token_id: int, *, preserve: bool) -> Tokens:
    """The row without its hidden image tokens; positions count what is left unless they are preserved."""
    whole = whole_sequence(row, image_token_id)
    keep = whole.attention.astype(np.bool_)
    positions = whole.positions[keep] if preserve else np.arange(int(keep.sum()))
    return Tokens(whole.ids[keep], whole.attention[keep], positions)


def pad(sequences: list[Tokens], pad_id: int, device: torch.device) -> Padded:
    """Pad sequences on the left to one length."""
    length = max(len(sequence.ids) for sequence in sequences)

    def stack(arrays: list[npt.NDArray[np.int64]], fill: int) -> torch.Tensor:
        padded = [np.pad(array, (length - len(array), 0), constant_values=fill) for array in arrays]
        return torch.from_numpy(np.stack(padded)).to(device)

    return Padded(
        stack([sequence.ids for sequence in sequences], pad_id),
        stack([sequence.attention for sequence in sequences], 0),
        stack([sequence.positions for sequence in sequences], 0),
    )


def prefill_inputs(loaded: LoadedModel, rows: list[Row], *, preserve: bool) -> dict[str, torch.Tensor]:
    """Model inputs of a batch without its hidden tokens: ``inputs_embeds`` (B, L, H), mask and positions."""
    sequences = [kept_sequence(row, loaded.image_token_id, preserve=preserve) for row in rows]
    padded = pad(sequences, pad_id(loaded), loaded.device)
    embeds_BLH = loaded.model.get_input_embeddings()(padded.ids)
    kept = [torch.cat(row.features)[torch.from_numpy(row.visible)] for row in rows if row.features]
    if kept:
        is_image_BL = (padded.ids == loaded.image_token_id) & padded.attention.bool()
        embeds_BLH[is_image_BL] = torch.cat(kept).to(loaded.device, embeds_BLH.dtype)
    return {"inputs_embeds": embeds_BLH, "attention_mask": padded.attention, "position_ids": padded.positions}


@dataclass(frozen=True)
class Prefilled:
    """A batch whose prompts have been read.

    Attributes:
        logits: next-token logits, (B, V). cache: keys and values, B rows.
        attention: (B, slots of the cache). position: of the last token, (B,).
    """

    logits: torch.Tensor
    cache: Any
    attention: torch.Tensor
    position: torch.Tensor


def prefill(loaded: LoadedModel, rows: list[Row], *, preserve: bool) -> Prefilled:
    """Read the prompts of a batch; what rows of one sample have in common is read once.

    The sentences of a sample are completed after growing stretches of the same answer. The longest is prefilled; the
    others take a copy of its keys and values, hide what lies behind the last token they share with it, and read only
    their own few tokens from there on.
    """
    leader_of = _leaders(rows)
    leaders = sorted(set(leader_of))
    inputs = prefill_inputs(loaded, [rows[leader] for leader in leaders], preserve=preserve)
    output = loaded.model(**inputs, use_cache=True, logits_to_keep=1)
    attention, positions = inputs["attention_mask"], inputs["position_ids"]
    if len(leaders) == len(rows):
        return Prefilled(output.logits[:, -1], output.past_key_values, attention, positions[:, -1])

    sequences = [kept_sequence(row, loaded.image_token_id, preserve=preserve) for row in rows]
    shared = [_shared(row, sequences[leader]) for row, leader in zip(sequences, leader_of, strict=True)]
    own = pad([row[count:] for row, count in zip(sequences, shared, strict=True)], pad_id(loaded), loaded.device)
    copies = torch.tensor([leaders.index(leader) for leader in leader_of], device=loaded.device)
    cache, attention = output.past_key_values, attention[copies]
    cache.batch_select_indices(copies)
    slots = attention.shape[1]
    for row, (leader, count) in enumerate(zip(leader_of, shared, strict=True)):
        attention[row, slots - len(sequences[leader].ids) + count :] = 0
    attention = torch.cat([attention, own.attention], dim=-1)
    output = loaded.model(
        input_ids=own.ids,
        attention_mask=attention,
        position_ids=own.positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return Prefilled(output.logits[:, -1], cache, attention, own.positions[:, -1])


def _leaders(rows: list[Row]) -> list[int]:
    """For each row the longest one of the same prompt, images and view, by index."""
    longest: dict[object, int] = {}
    for index, row in enumerate(rows):
        leader = longest.setdefault(row.group, index)
        if row.length > rows[leader].length:
            longest[row.group] = index
    return [longest[row.group] for row in rows]


def _shared(row: Tokens, leader: Tokens) -> int:
    """Number of leading tokens that both have; one is always left to be read."""
    most = min(len(row.ids) - 1, len(leader.ids))
    differs = np.flatnonzero(row.ids[:most] != leader.ids[:most])
    return int(differs[0]) if len(differs) else most


@torch.inference_mode()
def generate_dropped(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[Row], *, preserve: bool) -> None:
    """Generate with the hidden tokens removed; the continuations of `rows` are filled in place."""
    read = prefill(loaded, rows, preserve=preserve)
    logits_BV, cache, attention_BL, position_B = read.logits, read.cache, read.attention, read.position
    chooser = _Chooser(vocabulary, [row.continuation for row in rows], loaded.device)
    while True:
        token_B = chooser.choose(logits_BV)
        if chooser.push(token_B.tolist()):
            return
        active = chooser.shrink()
        if active is not None:  # finished rows leave the batch once they are a quarter of it
            token_B, position_B, attention_BL = token_B[active], position_B[active], attention_BL[active]
            cache.batch_select_indices(active)
        position_B = position_B + 1
        attention_BL = torch.cat([attention_BL, attention_BL.new_ones(len(attention_BL), 1)], dim=-1)
        logits_BV = loaded.model(
            input_ids=token_B[:, None],
            attention_mask=attention_BL,
            position_ids=position_B[:, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


@torch.inference_mode()
def generate_masked(loaded: LoadedModel, vocabulary: Vocabulary, rows: list[Row], *, preserve: bool) -> None:
    """Generate with stock `generate` over the full sequence, hidden tokens masked."""
    sequences = [whole_sequence(row, loaded.image_token_id) for row in rows]
    padded = pad(sequences, pad_id(loaded), loaded.device)
    inputs: dict[str, Any] = {"input_ids": padded.ids, "attention_mask": padded.attention}
    pixels = [image for row in rows for image in row.pixels]
    if pixels:
        inputs |= vision.model_inputs(loaded, pixels)
    if preserve:
        inputs["position_ids"] = padded.positions
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
        self._eos_ids = sorted(vocabulary.eos_ids)

    def choose(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """The next token of every row, finished rows included; (B,)."""
        allowed_BV = logits_BV.float().index_fill(-1, self._forbidden, -torch.inf)
        for index, row in enumerate(self._continuations):
            if len(row.ids) < row.request.sampling.min_new_tokens:
                allowed_BV[index, self._eos_ids] = -torch.inf
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
