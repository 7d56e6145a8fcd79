"""The transformers engine: batched generation with restricted access to the image.

Two ways to hide image tokens, equal in a causal decoder, since nothing ever reads a hidden token:

- ``drop`` (default): hidden tokens are removed from the sequence before the language model sees it;
- ``mask``: stock `generate` over the full sequence with a 2-D attention mask; the reference that `drop` is tested
  against.

Positions: ``compact`` numbers what is left without gaps (what `generate` does with a mask), ``preserve`` keeps every
token's own position.

A layer with a sliding window counts masked tokens too, so a row that could become longer than the window is masked even
under ``drop``.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace

import torch

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import contrast, masked_generate, plain, scoring, vision
from prefgen.engines.hf.architectures import Family
from prefgen.engines.hf.batch import RunningBatch
from prefgen.engines.hf.decoding import BatchRow
from prefgen.engines.hf.features import ImageFeatures
from prefgen.engines.hf.loading import LoadedModel, token_budget
from prefgen.engines.hf.prompts import Header, Prompts
from prefgen.engines.hf.sampling import Continuation, Vocabulary
from prefgen.errors import RowError, UsageError
from prefgen.records import Turn
from prefgen.requests import Contrast, Generate, Reply, Request, Score

_WORTH = 3  # new rows enter once they are a quarter of the batch: reading a few takes as long as reading many
_log = logging.getLogger(__name__)


def refuse_mask(family: Family, config: EngineConfig) -> None:
    """Refuse `--attention mask` for models with a running state, which a mask does not hide tokens from.

    Raises:
        UsageError: naming the layers.
    """
    if family.state and config.attention == "mask":
        raise UsageError(
            f"--attention mask cannot be used with {config.model}: its layers of kind {', '.join(family.state)} carry "
            "a running state, which a masked token would change; --attention drop removes it"
        )


class TransformersEngine:
    """Answers `Generate`, `Contrast` and `Score` requests.

    Attributes:
        refused: requests that have been prepared and cannot be answered; whoever prepares empties it.
    """

    def __init__(self, loaded: LoadedModel, config: EngineConfig) -> None:
        if loaded.device.type == "cuda":  # cuDNN plans anew for every length, which takes longer than the attention
            torch.backends.cuda.enable_cudnn_sdp(False)
        refuse_mask(loaded.family, config)
        self.refused: list[tuple[int, Reply | RowError]] = []
        self._loaded = loaded
        self._config = config
        self._said = False
        self._prompts = Prompts(loaded.processor, loaded.name)
        self._vocabulary = Vocabulary(
            loaded.processor.tokenizer, loaded.vocabulary_size, loaded.eos_ids, loaded.image_token_id
        )
        self._running = RunningBatch(
            loaded,
            self._vocabulary,
            config.batch_size,
            config.batch_tokens or token_budget(loaded),
            preserve=config.positions == "preserve",
        )
        self._features = ImageFeatures(loaded, config)
        self._queue: deque[tuple[int, Generate]] = deque()
        self._again: deque[tuple[int, Generate]] = deque()  # requests whose images are encoded, which go first
        self._scores: dict[int, Score] = {}
        self._waiting: deque[list[BatchRow]] = deque()
        self._unanswered: list[BatchRow] = []
        self._replies: list[tuple[int, Reply | RowError]] = []
        self._headers: dict[tuple[Turn, ...], Header] = {}

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        if isinstance(request, Score):
            self._scores[ticket] = request
            request = scoring.as_prefix(request)
        if not isinstance(request, Generate):
            raise TypeError(f"this engine answers Generate and Score requests, not {type(request).__name__}")
        (self._again if self._features.has(request) else self._queue).append((ticket, request))
        self._features.want(request)

    @property
    def _queued(self) -> int:
        return len(self._again) + len(self._queue)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Generate until enough rows are finished to make the next requests of their samples worth asking for."""
        self._replies = []
        while self._queued or self._waiting or self._running.active:
            if (_WORTH + 1) * len(self._running.active) <= _WORTH * self._running.places:
                if not self._waiting:
                    self._waiting = self._grouped(self.prepare())
                    self._replies += self.refused
                    self.refused = []
                self._fill()
                if not self._waiting and not self._queued and 4 * len(self._replies) > len(self._running.active):
                    break
            elif len(self._replies) >= self._running.places:
                break
            if self._running.active:
                self._step()
        return self._replies

    def _grouped(self, rows: list[BatchRow]) -> deque[list[BatchRow]]:
        """Rows grouped by shared prompt, to be prefilled once; the longest first, so that buffers fit the others."""
        groups: dict[object, list[BatchRow]] = {}
        for row in rows:
            groups.setdefault((self._kind(row), row.group), []).append(row)

        def place(group: list[BatchRow]) -> tuple[tuple[bool, bool, bool], int]:
            return self._kind(group[0]), max(map(self._size, group))

        return deque(sorted(groups.values(), key=place, reverse=True))

    def prepare(self) -> list[BatchRow]:
        """Take the oldest requests from the queue, encode their images and tokenize their prompts.

        Those whose images are encoded go first, while these are kept; the oldest of the others follow. Those that the
        chat template refuses go to `refused`.
        """
        count = min(self._queued, self._running.places)
        pool = [(self._again or self._queue).popleft() for _ in range(count)]
        self._features.encode(request for _, request in pool)
        rows = []
        for ticket, request in pool:
            try:
                rows.append(self._row(ticket, request))
            except RowError as error:
                self.refused.append((ticket, error))
                self._scores.pop(ticket, None)
                self.release(request)
        return rows

    def header(self, prompt: tuple[Turn, ...]) -> Header:
        """The rendered prompt, cached while requests share it."""
        if prompt not in self._headers:
            if len(self._headers) > 4 * self._config.batch_size:
                self._headers.clear()
            self._headers[prompt] = self._prompts.header(prompt)
        return self._headers[prompt]

    def _row(self, ticket: int, request: Generate) -> BatchRow:
        """Tokenise a request.

        The prefix goes in without trailing spaces: a model writes the space together with the word behind it.
        """
        prefix = request.prefix.rstrip(" ")
        own = self._features.under(request)
        ids = self._prompts.encode(self.header(request.prompt), prefix, own.pixels.expansions)
        return BatchRow(
            ticket,
            ids,
            vision.positions(self._loaded, ids, own.pixels),
            own.pixels,
            own.features,
            own.visible,
            Continuation(request, prefix, ids, self._vocabulary),
        )

    def _drops(self, row: BatchRow) -> bool:
        """True if the row's hidden tokens can be dropped."""
        if self._config.attention == "mask":
            return False
        if self._loaded.family.state:  # where removing is what hiding means
            return True
        window = self._loaded.window
        fits = window is None or len(row.ids) + row.max_new_tokens <= window
        if not fits and not self._said:
            self._said = True
            _log.warning(
                "%s has a sliding window of %d tokens; rows that can become longer are masked, not dropped, and slow",
                self._loaded.name,
                window,
            )
        return fits

    def _kind(self, row: BatchRow) -> tuple[bool, bool, bool]:
        """Key that rows of one batch share: scored or not, contrasted or not, hidden tokens dropped or masked."""
        return row.ticket in self._scores, isinstance(row.continuation.request, Contrast), self._drops(row)

    def _next(self) -> list[BatchRow]:
        """The next waiting rows of one kind that fit into the batch; none while too few fit.

        Rows that share a prompt enter together: in parts, each part would read it again.
        """
        active = self._running.active
        longest = max(map(self._size, active), default=0)
        taken: list[list[BatchRow]] = []
        count = 0
        for group in self._waiting:
            longest = max(longest, *map(self._size, group))
            fits = self._running.fits(len(active) + count + len(group), longest)
            if not fits or self._kind(group[0]) != self._kind(self._waiting[0][0]):
                break
            taken.append(group)
            count += len(group)
        if active and _WORTH * count < len(active):
            return []
        if not taken and self._waiting:  # more than a batch holds
            group = self._waiting[0]
            longest = max(map(self._size, group))
            count = next(n for n in range(len(group), 0, -1) if self._running.fits(n, longest))
            self._waiting[0] = group[count:]
            return group[:count]
        return [row for _ in taken for row in self._waiting.popleft()]

    def _size(self, row: BatchRow) -> int:
        """Number of tokens of the row so far; hidden ones count if they are masked and not dropped.

        A contrasted row is two, and one of them may see everything.
        """
        if isinstance(row.continuation.request, Contrast):
            return 2 * len(row.ids)
        return (row.length if self._drops(row) else len(row.ids)) + len(row.continuation.ids)

    def _fill(self) -> None:
        """Move waiting rows into the batch; scored, contrasted and masked rows are answered at once."""
        rows = self._next()
        if not rows:
            return
        self._unanswered += rows
        try:
            preserve = self._config.positions == "preserve"
            scored, contrasted, drop = self._kind(rows[0])
            if scored:
                self._score(rows, preserve=preserve)
            elif contrasted:
                others = [self._other(row) for row in rows]
                contrast.generate(self._loaded, self._vocabulary, rows, others, drop=drop, preserve=preserve)
            elif self._loaded.family.state or not (drop or self._loaded.family.is_listed):
                plain.generate(self._loaded, self._vocabulary, rows, drop=drop, preserve=preserve)
            elif drop:
                self._running.admit(rows)
            else:
                masked_generate.generate_masked(self._loaded, self._vocabulary, rows, preserve=preserve)
        except torch.OutOfMemoryError:
            self._shrink()
        self._reply()

    def _other(self, row: BatchRow) -> BatchRow:
        """The same row under the view that it is contrasted with."""
        request = row.continuation.request
        assert isinstance(request, Contrast)
        return self._row(row.ticket, replace(request, view=request.against))

    def _score(self, rows: list[BatchRow], *, preserve: bool) -> None:
        """Score given answers and add their replies."""
        requests = [self._scores[row.ticket] for row in rows]
        jobs = [
            scoring.job(self._prompts, self.header(request.prompt), row, request)
            for row, request in zip(rows, requests, strict=True)
        ]
        scored = scoring.score(self._loaded, self._vocabulary, jobs, drop=self._drops(rows[0]), preserve=preserve)
        del self._unanswered[-len(rows) :]
        for row, reply in zip(rows, scored, strict=True):
            self._answered(row, reply)

    def _step(self) -> None:
        """Decode one token for every row of the batch."""
        try:
            self._running.step()
        except torch.OutOfMemoryError:
            self._shrink()
        self._reply()

    def _reply(self) -> None:
        """Add replies for the finished rows."""
        done = [row for row in self._unanswered if row.continuation.finish is not None]
        if done:
            self._unanswered = [row for row in self._unanswered if row.continuation.finish is None]
        for row in done:
            completion = row.continuation.completion(len(row.visible), int(row.visible.sum()))
            self._answered(row, completion)

    def _answered(self, row: BatchRow, reply: Reply | RowError) -> None:
        self._replies.append((row.ticket, reply))
        self._scores.pop(row.ticket, None)
        self.release(row.continuation.request)

    def _shrink(self) -> None:
        """After out-of-memory: restart all rows, with the same draws, in batches half as large."""
        self._running.clear()
        torch.cuda.empty_cache()
        rows, self._unanswered = self._unanswered, []
        if len(rows) == 1:
            detail = f"{self._size(rows[0])} tokens do not fit into the device's memory"
            self._answered(rows[0], RowError("OUT_OF_MEMORY", detail))
            return
        self._running.places = max(1, min(self._running.places, len(rows)) // 2)
        for row in rows:
            row.continuation.restart()
        self._waiting = self._grouped(rows) + self._waiting

    def release(self, request: Generate) -> None:
        """Free what an answered request saw of its images, unless others see the same."""
        self._features.release(request)

    def forget(self) -> None:
        """Free what is kept for further requests about the same images."""
        self._features.forget()
