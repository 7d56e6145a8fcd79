"""Continuous batching: finished sequences leave the batch and waiting ones take their slots.

Keys and values stand in buffers of so many places and slots. A step writes one slot instead of copying all of them, and
a new row is written into the place of a finished one. On a GPU the buffers stay where they are, so that a step can be
recorded once as a CUDA graph and replayed: hundreds of small kernels are then no longer started one by one from
Python, which takes longer than they do. On a CPU, where every place and slot costs time, a step works on the part of
the buffers that is in use: the last rows move into the places of finished ones, and rows are written without gaps.

Shapes: P places, S slots, V vocabulary. All rows end at the same slot; each has its own first one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from transformers.cache_utils import Cache, StaticLayer

from prefgen.engines.hf import decoding, loading
from prefgen.engines.hf.decoding import BatchRow, Prefilled
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.sampling import Chooser, Vocabulary

ROOM = 64  # slots left free behind the longest row; also what S is a multiple of, which attention kernels want
_PACKED = 7 / 8  # rows are moved together once so few places of those in use have one
_log = logging.getLogger(__name__)


class _Layer(StaticLayer):  # type: ignore[misc]  # transformers has no types
    """Key/value buffers of one layer, (P, heads, S, size) each; `slot`, (1,), is the next slot to write.

    Attributes:
        used: the slots that attention reads.
    """

    used = slice(None)

    def __init__(self, places: int, slots: int, like: Any, slot: torch.Tensor) -> None:
        super().__init__(slots)
        self.keys, self.values = (
            part.new_zeros(places, part.shape[1], slots, part.shape[3]) for part in (like.keys, like.values)
        )
        self.slot = slot
        self.is_initialized = True
        self._whole: tuple[torch.Tensor, ...] = (self.keys, self.values)

    def narrow(self, places: int) -> None:
        """Use the first places alone."""
        self.keys, self.values = (part[:places] for part in self._whole)

    def free(self) -> None:
        """Free the buffers."""
        self.keys = self.values = None
        self._whole = ()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token of every row; under autocast, keys and values may have different data types."""
        slot = self.slot.to(self.keys.device)  # where a model is spread over several, each layer has its own
        self.keys.index_copy_(2, slot, key_states.to(self.keys.dtype))
        self.values.index_copy_(2, slot, value_states.to(self.values.dtype))
        return self.keys[:, :, self.used], self.values[:, :, self.used]

    def get_seq_length(self) -> torch.Tensor:
        """Number of used slots."""
        return self.slot[0]


class _PendingTokens:
    """Tokens whose copy from the device is pending, (P,)."""

    def __init__(self, token_P: torch.Tensor) -> None:
        on_gpu = token_P.device.type == "cuda"
        self._host = torch.empty(token_P.shape, dtype=token_P.dtype, pin_memory=on_gpu)
        self._host.copy_(token_P, non_blocking=on_gpu)
        self._there = torch.cuda.current_stream().record_event() if on_gpu else None

    def tokens(self) -> list[int]:
        """The tokens; waits for the copy."""
        if self._there is not None:
            self._there.synchronize()
        return self._host.tolist()


class RunningBatch:
    """The batch of rows that are decoded together.

    Attributes:
        places: rows at most.

    Args:
        tokens: places times slots at most, unless one row alone takes more.
        fixed: keep the buffers in place although fewer rows would do; by default on a GPU.
    """

    # On the device, read and written by every step:
    _token: torch.Tensor  # to be read next, (P, 1)
    _position: torch.Tensor  # of the token before it, (P, 1), or (4, P, 1) under M-RoPE
    _mask: torch.Tensor  # added to the attention scores, (P, 1, 1, S)
    _slot: torch.Tensor  # to be written next, (1,)
    _warm: bool  # whether a step has run on these buffers
    _buffers: tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # mask, token and position of all places

    def __init__(
        self,
        loaded: LoadedModel,
        vocabulary: Vocabulary,
        places: int,
        tokens: int,
        *,
        preserve: bool,
        fixed: bool | None = None,
    ) -> None:
        self._loaded = loaded
        self._vocabulary = vocabulary
        self._preserve = preserve
        self.places = places
        self._tokens = tokens
        on_gpu = loaded.device.type == "cuda"
        self._fixed = on_gpu if fixed is None else fixed
        self._records = on_gpu and not loaded.is_spread
        self.clear()

    def clear(self) -> None:
        """Drop all rows and buffers."""
        self._rows: list[BatchRow | None] = []
        self._starts: list[int] = []  # first slot of each place's row
        self._end = 0  # slots that are taken
        self._first = 0  # the first of them that an active row has
        self._cache: Cache | None = None
        self._chooser = Chooser(self._vocabulary, [], self._loaded.device)
        self._pending_tokens: _PendingTokens | None = None
        self._replay: Callable[[], torch.Tensor] | None = None

    @property
    def active(self) -> list[BatchRow]:
        """The rows that are not finished."""
        return [row for row in self._rows if _going(row)]

    def fits(self, rows: int, longest: int) -> bool:
        """True if so many rows fit, the longest of this many tokens."""
        return rows == 1 or (rows <= self.places and rows * _slots(longest) <= self._tokens)

    @torch.inference_mode()
    def admit(self, rows: list[BatchRow]) -> None:
        """Prefill new rows, put them into free slots and draw their first tokens."""
        parts = decoding.parts(self._loaded, rows)
        reads = [decoding.prefill(self._loaded, part, preserve=self._preserve) for part in parts]
        width = max(read.attention.shape[1] if self._fixed else int(read.attention.sum(-1).max()) for read in reads)
        self._collect_tokens()
        self._make_room(len(rows), width, reads[0])
        first = Chooser(self._vocabulary, [row.continuation for row in rows], self._loaded.device)
        token_B = first.choose(torch.cat([read.logits for read in reads]))
        first.push(token_B.tolist())
        places = [place for place, row in enumerate(self._rows) if not _going(row)][: len(rows)]
        self._token[self._index(places), 0] = token_B
        for read, part in zip(reads, parts, strict=True):
            own, places = places[: len(part)], places[len(part) :]
            (self._write if self._fixed else self._write_closely)(read, part, own)
        self._activate()

    @torch.inference_mode()
    def step(self) -> None:
        """Decode one token for every row.

        On a GPU the tokens are copied one step later, while the next step runs: a finished row has by then drawn one
        token, which is discarded.
        """
        self._make_room()
        token_P = self.forward()
        self._end += 1
        pending = self._pending_tokens
        self._pending_tokens = _PendingTokens(token_P)
        if not self._fixed:
            self._collect_tokens()
        elif pending:
            self._chooser.push(pending.tokens())

    def _collect_tokens(self) -> None:
        """Append the tokens of the last step to their rows."""
        if self._pending_tokens:
            self._chooser.push(self._pending_tokens.tokens())
            self._pending_tokens = None

    @torch.inference_mode()
    def forward(self) -> torch.Tensor:
        """The next token of every slot, (P,), on the device. The second step is recorded as a CUDA graph."""
        if self._records and self._warm and self._replay is None:
            self._record()
        self._warm = True
        return self._replay() if self._replay else self._advance()

    def _advance(self) -> torch.Tensor:
        """One forward pass and draw. All state it changes is on the device, so that it can be replayed."""
        self._position += 1
        self._mask.index_fill_(-1, self._slot, 0.0)
        used = slice(None) if self._fixed else slice(self._first, int(self._slot) + 1)
        for layer in self._cache.layers:  # type: ignore[union-attr]  # there while a row is
            layer.used = used
        logits_PV = self._loaded.model(
            input_ids=self._token,
            attention_mask=self._mask[..., used],
            position_ids=self._position,
            **loading.cache_argument(self._loaded.model, self._cache),
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        self._slot += 1
        self._token.copy_(self._chooser.choose(logits_PV)[:, None])
        return self._token[:, 0]

    def _record(self) -> None:
        """Record a step as a CUDA graph; a model whose step cannot be recorded runs without."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                token_P = self._advance()
        except RuntimeError as error:
            self._records = False
            torch.cuda.synchronize()
            _log.warning("decoding with %s cannot be recorded as a CUDA graph: %s", self._loaded.name, error)
            return

        def replay() -> torch.Tensor:
            graph.replay()
            return token_P

        self._replay = replay

    def _make_room(self, count: int = 0, width: int = 0, read: Prefilled | None = None) -> None:
        """Ensure free places for `count` rows of `width` slots, and one free slot after all rows."""
        active = [place for place, row in enumerate(self._rows) if _going(row)]
        end = max([width] + [self._end - self._starts[place] for place in active])  # as far left as they can stand
        needed = max(1, len(active) + count)
        places, _, _, slots = self._buffers[0].shape if self._cache else (0, 0, 0, 0)
        wanted = 1 << (needed - 1).bit_length()  # new buffers cost time; more rows may come
        wanted = max(needed, min(wanted, self.places, self._tokens // _slots(end)))
        spare = places >= 4 * wanted and (self._fixed or count > 0)
        if needed > places or spare or end >= slots:
            self._arrange(active, end, read, wanted, _slots(end))
        elif not width <= self._end < slots:
            self._arrange(active, end, None)
        if not self._fixed and (count or _PACKED * len(self._rows) >= needed):
            self._pack(needed)

    def _pack(self, places: int) -> None:
        """Move the last rows into the places of finished ones, and use so many places alone."""
        active = [place for place, row in enumerate(self._rows) if _going(row)]
        count = len(active)
        moved = [place for place in active if place >= count]
        free = [place for place in range(count) if not _going(self._rows[place])]
        for old, new in zip(moved, free, strict=True):
            used = slice(self._starts[old], self._end)
            for layer in self._cache.layers:  # type: ignore[union-attr]  # there while a row is
                for part in (layer.keys, layer.values):
                    part[new, :, used] = part[old, :, used]
            self._mask[new], self._token[new], self._position[..., new, :] = (
                self._mask[old],
                self._token[old],
                self._position[..., old, :],
            )
            self._rows[new], self._starts[new] = self._rows[old], self._starts[old]
        self._rows = self._rows[:count] + [None] * (places - count)
        self._starts = self._starts[:count] + [0] * (places - count)
        self._narrow(places)
        self._activate()

    def _narrow(self, places: int) -> None:
        """Use the first places of the buffers alone."""
        mask, token, position = self._buffers
        self._mask, self._token, self._position = mask[:places], token[:places], position[..., :places, :]
        for layer in self._cache.layers:  # type: ignore[union-attr]  # the buffers' own
            layer.narrow(places)

    def _arrange(
        self, active: list[int], end: int, read: Prefilled | None, places: int | None = None, slots: int | None = None
    ) -> None:
        """Move the active rows to the first places, their last slot to `end`; into new buffers if sizes are given."""
        self._collect_tokens()
        index, count = self._index(active), len(active)
        width = max([self._end - self._starts[place] for place in active], default=0)
        old = slice(self._end - width, self._end)
        new = slice(end - width, end)
        layers = self._cache.layers if self._cache else []
        state = (self._mask[index, ..., old], self._token[index], self._position[..., index, :]) if active else None
        if places and slots:
            self._allocate(places, slots, layers or read.cache.layers, read)  # type: ignore[union-attr]  # one is there
        else:
            self._mask.fill_(torch.finfo(self._mask.dtype).min)
        if state:
            self._mask[:count, ..., new], self._token[:count], self._position[..., :count, :] = state
            for held, layer in zip(layers, self._cache.layers, strict=True):  # type: ignore[union-attr]  # there now
                own = index.to(layer.keys.device)
                for part in ("keys", "values"):
                    getattr(layer, part)[:count, :, new] = getattr(held, part)[own, :, old]
                if held is not layer:
                    held.free()  # one by one
        free = (places or len(self._rows)) - count
        self._starts = [self._starts[place] + end - self._end for place in active] + [0] * free
        self._rows = [self._rows[place] for place in active] + [None] * free
        self._end = end
        self._slot.fill_(end)
        self._activate()

    def _allocate(self, places: int, slots: int, like: list[Any], read: Prefilled | None) -> None:
        """Allocate new, empty buffers."""
        device, dtype = self._loaded.device, self._loaded.dtype
        kind = (read.position if read else self._position[..., 0]).shape[:-1]  # four numbers a token under M-RoPE
        self._slot = torch.zeros(1, dtype=torch.int64, device=device)
        self._mask = torch.full((places, 1, 1, slots), torch.finfo(dtype).min, device=device, dtype=dtype)
        self._token = torch.zeros((places, 1), dtype=torch.int64, device=device)
        self._position = torch.zeros((*kind, places, 1), dtype=torch.int64, device=device)
        self._buffers = self._mask, self._token, self._position
        self._cache = Cache(layers=[_Layer(places, slots, layer, self._slot) for layer in like])
        self._replay, self._warm = None, False

    def _write(self, read: Prefilled, rows: list[BatchRow], places: list[int]) -> None:
        """Write prefilled rows into their places, all slots of a sequence as they are."""
        index, width = self._index(places), read.attention.shape[1]
        low = torch.finfo(self._mask.dtype).min
        where = slice(self._end - width, self._end)
        hidden = (read.attention == 0)[:, None, None]
        self._mask[index] = low
        self._mask[index, ..., where] = torch.where(hidden, low, 0.0).to(self._mask.dtype)
        self._position[..., index, 0] = read.position
        for held, layer in zip(read.cache.layers, self._cache.layers, strict=True):  # type: ignore[union-attr]  # there
            own = index.to(layer.keys.device)
            for part in ("keys", "values"):
                values = getattr(held, part)
                setattr(held, part, None)
                if read.sequences is not None:
                    values = values[read.sequences.to(values.device)]
                getattr(layer, part)[own, :, where] = values
        for place, row, start in zip(places, rows, read.attention.argmax(dim=-1).tolist(), strict=True):
            self._rows[place], self._starts[place] = row, self._end - width + start

    def _write_closely(self, read: Prefilled, rows: list[BatchRow], places: list[int]) -> None:
        """Write prefilled rows into their places, each without the slots that it does not attend to."""
        sequences = range(len(rows)) if read.sequences is None else read.sequences.tolist()
        self._position[..., self._index(places), 0] = read.position
        for place, row, sequence, attention in zip(places, rows, sequences, read.attention, strict=True):
            slots = attention.nonzero()[:, 0]
            where = slice(self._end - len(slots), self._end)
            self._mask[place] = torch.finfo(self._mask.dtype).min
            self._mask[place, ..., where] = 0.0
            for held, layer in zip(read.cache.layers, self._cache.layers, strict=True):  # type: ignore[union-attr]  # there
                layer.keys[place, :, where] = held.keys[sequence].index_select(1, slots)
                layer.values[place, :, where] = held.values[sequence].index_select(1, slots)
            self._rows[place], self._starts[place] = row, where.start

    def _activate(self) -> None:
        """Set up token draws for the current rows."""
        self._first = min(
            (start for start, row in zip(self._starts, self._rows, strict=True) if _going(row)), default=0
        )
        if not self._chooser.seat([row.continuation if row else None for row in self._rows]):
            self._replay, self._warm = None, False

    def _index(self, places: list[int]) -> torch.Tensor:
        return torch.tensor(places, dtype=torch.int64, device=self._loaded.device)


def _going(row: BatchRow | None) -> TypeGuard[BatchRow]:
    return row is not None and row.continuation.finish is None


def _slots(width: int) -> int:
    """Number of slots for rows of so many tokens."""
    return -(-(width + ROOM) // ROOM) * ROOM
