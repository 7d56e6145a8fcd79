"""Model inputs of a batch: sequences without their hidden tokens, padded, with shared prefixes prefilled once.

Shapes: B rows, L prompt tokens (padded on the left), V vocabulary.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from prefgen.engines.hf import loading, vision
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.sampling import Continuation

_HOST_TOKENS = 2048  # of the prompts that a CPU reads at a time
_IMAGE_TYPES = ("token_type_ids", "mm_token_type_ids")  # 1 where an image's token is


@dataclass(frozen=True)
class BatchRow:
    """A request as a sequence of the batch.

    Attributes:
        ids: token ids of prompt and prefix, every image expanded.
        positions: of these tokens, see `vision.positions`; (tokens,) or (4, tokens).
        pixels: what the model receives for the images.
        features: (visible image tokens, hidden) computed from them, on the model's device; None where stock `generate`
            will.
        visible: bool (image tokens of all images,).
    """

    ticket: int
    ids: list[int]
    positions: npt.NDArray[np.int64]
    pixels: vision.Pixels
    features: torch.Tensor | None
    visible: npt.NDArray[np.bool_]
    continuation: Continuation

    @functools.cached_property
    def length(self) -> int:
        """Number of tokens that can be attended to."""
        return len(self.ids) - len(self.visible) + int(self.visible.sum())

    @property
    def group(self) -> tuple[object, ...]:
        """Equal for rows with the same conversation, images and view."""
        request = self.continuation.request
        return (request.prompt, request.images, request.view)

    @property
    def max_new_tokens(self) -> int:
        """Limit of generated tokens."""
        return self.continuation.request.sampling.max_new_tokens


@dataclass(frozen=True)
class Padded:
    """Sequences as padded arrays, (B, L).

    Attributes:
        attention: 1 where the token may be attended to.
        positions: the token's position, 0 for padding; (4, B, L) under M-RoPE.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    positions: torch.Tensor


@dataclass(frozen=True)
class Tokens:
    """One sequence, (L,).

    Attributes:
        attention: 1 where the token may be attended to.
        positions: each token's position; (4, L) under M-RoPE.
    """

    ids: npt.NDArray[np.int64]
    attention: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]

    def __getitem__(self, part: slice | npt.NDArray[np.bool_]) -> Tokens:
        return Tokens(self.ids[part], self.attention[part], self.positions[..., part])


def whole_sequence(row: BatchRow, image_token_id: int) -> Tokens:
    """The row with all image tokens, the hidden ones masked, every token at its own position."""
    ids = np.array(row.ids, dtype=np.int64)
    attention = np.ones(len(ids), dtype=np.int64)
    attention[ids == image_token_id] = row.visible
    return Tokens(ids, attention, row.positions)


def kept_sequence(row: BatchRow, image_token_id: int, *, preserve: bool) -> Tokens:
    """The row without its hidden image tokens; positions are compact unless they are preserved.

    Coordinates (M-RoPE) are always preserved: there is nothing to count.
    """
    whole = whole_sequence(row, image_token_id)
    kept = whole[whole.attention.astype(np.bool_)]
    if preserve or kept.positions.ndim > 1:
        return kept
    return Tokens(kept.ids, kept.attention, np.arange(len(kept.ids)))


def pad(sequences: list[Tokens], pad_id: int, device: torch.device, *, right: bool = False) -> Padded:
    """Pad sequences to one length, on the left or on the right."""
    length = max(len(sequence.ids) for sequence in sequences)

    def stack(arrays: list[npt.NDArray[np.int64]], fill: int) -> torch.Tensor:
        padded = []
        for array in arrays:
            missing = length - array.shape[-1]
            widths = [(0, 0)] * (array.ndim - 1) + [(0, missing) if right else (missing, 0)]
            padded.append(np.pad(array, widths, constant_values=fill))
        return torch.from_numpy(np.stack(padded, axis=-2)).to(device)

    return Padded(
        stack([sequence.ids for sequence in sequences], pad_id),
        stack([sequence.attention for sequence in sequences], 0),
        stack([sequence.positions for sequence in sequences], 0),
    )


def prefill_inputs(loaded: LoadedModel, rows: list[BatchRow], *, preserve: bool) -> dict[str, Any]:
    """Model inputs of a batch without its hidden tokens: embeddings, mask and positions."""
    sequences = [kept_sequence(row, loaded.image_token_id, preserve=preserve) for row in rows]
    padded = pad(sequences, pad_id(loaded), loaded.device)
    kept = [row.features for row in rows if row.features is not None]
    return {
        **vision.merged(loaded, padded.ids, torch.cat(kept) if kept else None),
        **token_types(loaded, padded.ids),
        "attention_mask": padded.attention,
        "position_ids": padded.positions,
    }


def masked_inputs(loaded: LoadedModel, rows: list[BatchRow], *, preserve: bool) -> dict[str, Any]:
    """Model inputs of a batch as stock transformers takes them: full sequences with pixels, hidden tokens masked.

    The rows' pixels must be `vision.alike`.
    """
    padded = pad([whole_sequence(row, loaded.image_token_id) for row in rows], pad_id(loaded), loaded.device)
    own = preserve or loaded.family.mrope
    return {
        "input_ids": padded.ids,
        "attention_mask": padded.attention,
        "position_ids": padded.positions if own else (padded.attention.cumsum(-1) - 1).clamp(min=0),
        **vision.model_inputs(loaded, [row.pixels for row in rows]),
        **token_types(loaded, padded.ids),
    }


def token_types(loaded: LoadedModel, ids_BL: torch.Tensor) -> dict[str, torch.Tensor]:
    """Token types for models that treat image tokens differently, from the processor where it gives them."""
    found = {}
    marked = {loaded.image_token_id, *(getattr(loaded.processor, "image_token_ids", None) or ())}  # tags, too
    for name in loaded.family.token_types:
        made = getattr(loaded.processor, f"create_{name}", None) if name not in _IMAGE_TYPES else None
        if made is not None:
            found[name] = torch.tensor(made(ids_BL.tolist())).to(ids_BL)
        elif name == "mm_token_type_ids":
            found[name] = torch.isin(ids_BL, torch.tensor(sorted(marked), device=ids_BL.device)).long()
        else:
            found[name] = (ids_BL == loaded.image_token_id).long()
    return found


@dataclass(frozen=True)
class Prefilled:
    """A batch after prefill.

    Attributes:
        logits: next-token logits, (B, V).
        cache: keys and values of the sequences that were read.
        attention: (B, slots of the cache), 1 for those of its sequence that a row attends to.
        position: of the last token, (B,), or (4, B) under M-RoPE.
        sequences: of each row, (B,), if several rows share one; None: each has its own, in their order.
    """

    logits: torch.Tensor
    cache: Any
    attention: torch.Tensor
    position: torch.Tensor
    sequences: torch.Tensor | None = None

    def expanded(self) -> Prefilled:
        """The same with a copy of its sequence for each row."""
        if self.sequences is None:
            return self
        for layer in self.cache.layers:
            layer.batch_select_indices(self.sequences.to(layer.keys.device))
        return replace(self, sequences=None)


def parts(loaded: LoadedModel, rows: list[BatchRow]) -> list[list[BatchRow]]:
    """Rows to prefill together, of samples in order of their length.

    On a CPU few at a time, so that little is padded and activations stay in its caches.
    """
    if loaded.device.type != "cpu":
        return [rows]
    found: list[list[BatchRow]] = []
    prompts = longest = 0
    for _, group in itertools.groupby(rows, key=lambda row: row.group):
        own = list(group)
        longest = max(longest, *(row.length for row in own))
        if found and (prompts + 1) * longest <= _HOST_TOKENS:
            found[-1] += own
            prompts += 1
        else:
            found.append(own)
            prompts, longest = 1, max(row.length for row in own)
    return found


def prefill(loaded: LoadedModel, rows: list[BatchRow], *, preserve: bool) -> Prefilled:
    """Prefill the prompts of a batch; what rows of one sample share is computed once.

    The sentences of a sample are completed after growing stretches of the same answer. The longest is read first. Then
    the few tokens that each of the others has of its own are read behind it, all in one sequence: they attend to what
    their row shares with the longest, and to one another within a row.
    """
    sequences = [kept_sequence(row, loaded.image_token_id, preserve=preserve) for row in rows]
    leader_of = list(range(len(rows))) if loaded.family.state else _leaders(rows)  # a state cannot be cut back
    shared = [_shared(row, sequences[leader]) for row, leader in zip(sequences, leader_of, strict=True)]
    if loaded.window is not None:
        read = max(len(sequence.ids) for sequence in sequences)
        own_read = max(_own_lengths(sequences, shared, leader_of).values())
        if read + own_read + max(row.max_new_tokens for row in rows) > loaded.window:
            leader_of = list(range(len(rows)))  # the slots hidden between both parts would use up the window
    leaders = sorted(set(leader_of))
    inputs = prefill_inputs(loaded, [rows[leader] for leader in leaders], preserve=preserve)
    output = loaded.model(**inputs, **_new_cache(loaded), use_cache=True, logits_to_keep=1)
    attention, positions = inputs["attention_mask"], inputs["position_ids"]
    if len(leaders) == len(rows):
        return Prefilled(output.logits[:, -1], loading.cache_of(output), attention, positions[..., -1])

    slots, device = attention.shape[1], loaded.device
    longest = max(_own_lengths(sequences, shared, leader_of).values())
    sequence_of = torch.tensor([leaders.index(leader) for leader in leader_of])
    ids = torch.full((len(leaders), longest), pad_id(loaded))
    own_positions = torch.zeros((*positions.shape[:-2], *ids.shape), dtype=torch.int64)
    seen_BS = torch.zeros((len(rows), slots + longest), dtype=torch.int64)
    seen_LTS = torch.zeros((len(leaders), longest, slots + longest), dtype=torch.bool)
    last_B = torch.zeros(len(rows), dtype=torch.int64)
    ends = [0] * len(leaders)
    for row, (sequence, count, at) in enumerate(zip(sequences, shared, sequence_of.tolist(), strict=True)):
        own = sequence[count:]
        start, end = ends[at], ends[at] + len(own.ids)
        first = slots - len(sequences[leaders[at]].ids)
        ids[at, start:end] = torch.from_numpy(own.ids)
        own_positions[..., at, start:end] = torch.from_numpy(own.positions)
        seen_BS[row, first : first + count] = 1
        seen_LTS[at, start:end] = seen_BS[row].bool()
        seen_LTS[at, start:end, slots + start : slots + end] = torch.ones(end - start, end - start).tril().bool()
        seen_BS[row, slots + start : slots + end] = 1
        ends[at], last_B[row] = end, end - 1
    low = torch.finfo(loaded.dtype).min
    cache, wanted = loading.cache_of(output), sorted(set(last_B.tolist()))
    output = loaded.model(
        input_ids=ids.to(device),
        attention_mask=torch.where(seen_LTS, 0.0, low).to(device, loaded.dtype)[:, None],
        position_ids=own_positions.to(device),
        **loading.cache_argument(loaded.model, cache),
        use_cache=True,
        logits_to_keep=torch.tensor(wanted, device=device),
    )
    which_B = torch.tensor([wanted.index(last) for last in last_B.tolist()])
    logits_BV = output.logits[sequence_of.to(device), which_B.to(device)]
    position_B = own_positions[..., sequence_of, last_B]
    return Prefilled(logits_BV, cache, seen_BS.to(device), position_B.to(device), sequence_of.to(device))


def _own_lengths(sequences: list[Tokens], shared: list[int], leader_of: list[int]) -> Counter[int]:
    """Number of tokens that the rows of each leader do not share with it."""
    found: Counter[int] = Counter()
    for row, count, leader in zip(sequences, shared, leader_of, strict=True):
        found[leader] += len(row.ids) - count
    return found


def _new_cache(loaded: LoadedModel) -> dict[str, Any]:
    """An empty cache as `generate` makes it; some models do not create one themselves."""
    if loaded.family.is_listed:
        return {}
    cache = transformers.DynamicCache(config=loaded.model.config.get_text_config(decoder=True))
    return loading.cache_argument(loaded.model, cache)


def prefill_masked(loaded: LoadedModel, rows: list[BatchRow], *, preserve: bool) -> Prefilled:
    """Prefill the prompts of a batch with their hidden tokens masked; the rows' pixels must be `vision.alike`."""
    inputs = masked_inputs(loaded, rows, preserve=preserve)
    output = loaded.model(**inputs, **_new_cache(loaded), use_cache=True, logits_to_keep=1)
    positions = inputs["position_ids"]
    return Prefilled(output.logits[:, -1], loading.cache_of(output), inputs["attention_mask"], positions[..., -1])


def _leaders(rows: list[BatchRow]) -> list[int]:
    """For each row the index of the longest row with the same prompt, images and view."""
    longest: dict[object, int] = {}
    for index, row in enumerate(rows):
        leader = longest.setdefault(row.group, index)
        if row.length > rows[leader].length:
            longest[row.group] = index
    return [longest[row.group] for row in rows]


def _shared(row: Tokens, leader: Tokens) -> int:
    """Number of leading tokens that both share; one token is always left to compute."""
    most = min(len(row.ids) - 1, len(leader.ids))
    differs = np.flatnonzero(row.ids[:most] != leader.ids[:most])
    return int(differs[0]) if len(differs) else most


def pad_id(loaded: LoadedModel) -> int:
    """The padding token, or the end token for tokenizers without one."""
    tokenizer = loaded.processor.tokenizer
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
