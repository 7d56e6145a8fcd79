"""A batch that stays full: finished rows leave it, others take their places, and nobody waits for the longest.

Keys and values stand in buffers with room to grow, so that a step writes one slot instead of copying all of them. On a
GPU the step is recorded once as a CUDA graph and replayed: hundreds of small kernels are then no longer started one by
one from Python, which takes longer than they do.

Shapes: B rows, S slots of a buffer, V vocabulary. All rows end at the same slot; each has its own first one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, StaticLayer

from prefgen.engines import decode
from prefgen.engines.decode import Prefilled, Row
from prefgen.engines.loading import LoadedModel
from prefgen.engines.sampling import Chooser, Vocabulary

ROOM = 64  # slots that a buffer grows by; also what its size is a multiple of, which attention kernels want
_log = logging.getLogger(__name__)


class _Filled(StaticLayer):  # type: ignore[misc]  # transformers has no types
    """Keys and values of one layer, (B, heads, S, size) each, of which the first `filled` slots are taken."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, filled: int) -> None:
        super().__init__(keys.shape[2])
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.cumulative_length = torch.tensor(filled, device=keys.device)
        self.is_initialized = True


@dataclass
class _State:
    """What one step reads and writes.

    Attributes:
        token: to be read next, (B, 1). position: of the token before it, (B, 1), or (4, B, 1) under M-RoPE.
        mask: added to the attention scores, (B, 1, 1, S). slot: the next one, (1,).
    """

    token: torch.Tensor
    position: torch.Tensor
    mask: torch.Tensor
    slot: torch.Tensor
    cache: Cache


class RunningBatch:
    """Rows that are decoded together.

    Attributes:
        rows: those in the batch, finished ones among them until the next `admit`.
    """

    def __init__(self, loaded: LoadedModel, vocabulary: Vocabulary, *, preserve: bool) -> None:
        self.rows: list[Row] = []
        self._loaded = loaded
        self._vocabulary = vocabulary
        self._preserve = preserve
        self._starts: list[int] = []
        self._slots = 0
        self._state: _State | None = None
        self._chooser = Chooser(vocabulary, [], loaded.device)
        self._replay: Callable[[], torch.Tensor] | None = None
        self._steps = 0
        self._records = loaded.device.type == "cuda"

    @property
    def active(self) -> list[Row]:
        """The rows that are still going."""
        return [row for row in self.rows if row.continuation.finish is None]

    def clear(self) -> None:
        """Forget everything."""
        self.rows, self._starts, self._slots, self._state, self._replay = [], [], 0, None, None

    @torch.inference_mode()
    def admit(self, rows: list[Row]) -> None:
        """Read the prompts of new rows, give them the places of finished ones and draw their first tokens."""
        read = decode.prefill(self._loaded, rows, preserve=self._preserve)
        self._rebuild(read, rows)
        chooser = Chooser(self._vocabulary, [row.continuation for row in rows], self._loaded.device)
        token_B = chooser.choose(read.logits)
        chooser.push(token_B.tolist())
        assert self._state is not None
        self._state.token[-len(rows) :, 0] = token_B

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for every row."""
        if self._state is None or self._slots == self._state.mask.shape[-1]:
            self._rebuild(None, [])
        assert self._state is not None
        logits_BV = self._forward()
        self._slots += 1
        token_B = self._chooser.choose(logits_BV)
        self._chooser.push(token_B.tolist())
        self._state.token[:, 0] = token_B

    def _forward(self) -> torch.Tensor:
        """Next-token logits, (B, V). The first step after a change runs as it is; the second is recorded."""
        self._steps += 1
        if self._records and self._replay is None and self._steps > 1:
            self._record()
        return self._replay() if self._replay else self._advance()

    def _advance(self) -> torch.Tensor:
        state = self._state
        assert state is not None
        state.position += 1
        state.mask.index_fill_(-1, state.slot, 0.0)
        state.slot += 1
        logits_BV: torch.Tensor = self._loaded.model(
            input_ids=state.token,
            attention_mask=state.mask,
            position_ids=state.position,
            past_key_values=state.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits_BV

    def _record(self) -> None:
        """Record a step as a CUDA graph; a model whose step cannot be recorded runs as it is."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                logits_BV = self._advance()
        except RuntimeError as error:
            self._records = False
            torch.cuda.synchronize()
            _log.warning(
                "decoding of %s cannot be recorded as a CUDA graph, so it is slower: %s", self._loaded.name, error
            )
            return

        def replay() -> torch.Tensor:
            graph.replay()
            return logits_BV

        self._replay = replay

    def _rebuild(self, read: Prefilled | None, rows: list[Row]) -> None:
        """New buffers: the unfinished rows and the new ones, right-aligned, with room for some steps."""
        old, self._replay, self._steps = self._state, None, 0
        kept = [index for index, row in enumerate(self.rows) if row.continuation.finish is None]
        new_width = read.attention.shape[1] if read else 0
        width = max([self._slots - self._starts[index] for index in kept] + [new_width])
        slots = -(-(width + ROOM) // ROOM) * ROOM
        device, dtype = self._loaded.device, self._loaded.dtype
        mask = torch.full((len(kept) + len(rows), 1, 1, slots), torch.finfo(dtype).min, device=device, dtype=dtype)
        sources: list[tuple[Any, torch.Tensor, int, int]] = []  # see `_merged`
        tokens, positions = [], []
        if kept and old:
            index = torch.tensor(kept, device=device)
            taken = min(width, self._slots)
            mask[: len(kept), ..., width - taken : width] = old.mask[index, ..., self._slots - taken : self._slots]
            sources.append((old.cache, index, self._slots, taken))
            tokens.append(old.token[index])
            positions.append(old.position[..., index, :])
        if read:
            hidden = read.attention[:, None, None] == 0
            mask[len(kept) :, ..., width - new_width : width].masked_fill_(~hidden, 0.0)
            sources.append((read.cache, torch.arange(len(rows), device=device), new_width, new_width))
            tokens.append(torch.zeros(len(rows), 1, dtype=torch.int64, device=device))
            positions.append(read.position[..., None])
        layers = [
            _merged([(cache.layers[layer], *wanted) for cache, *wanted in sources], width, slots)
            for layer in range(len(sources[0][0].layers))
        ]
        self._starts = [width - self._slots + self._starts[index] for index in kept]
        if read:
            self._starts += [width - new_width + first for first in read.attention.argmax(dim=-1).tolist()]
        self.rows = [self.rows[index] for index in kept] + rows
        self._slots = width
        slot = torch.tensor([width], device=device)
        self._state = _State(torch.cat(tokens), torch.cat(positions, dim=-2), mask, slot, Cache(layers=layers))
        self._chooser = Chooser(self._vocabulary, [row.continuation for row in self.rows], device)


def _merged(sources: list[tuple[Any, torch.Tensor, int, int]], width: int, slots: int) -> _Filled:
    """One layer's buffers: rows of each source behind each other, their last slots at `width`. The sources are emptied.

    Args:
        sources: a layer, which of its rows, the end of its taken slots, and how many before that are wanted.
    """
    count = sum(len(index) for _, index, _, _ in sources)
    buffers = []
    for part in ("keys", "values"):
        like = getattr(sources[0][0], part)
        buffer = like.new_zeros(count, like.shape[1], slots, like.shape[3])
        at = 0
        for layer, index, end, taken in sources:
            held = getattr(layer, part)
            buffer[at : at + len(index), :, width - taken : width] = held[:, :, end - taken : end][index]
            at += len(index)
            setattr(layer, part, None)
        buffers.append(buffer)
    return _Filled(buffers[0], buffers[1], width)
