"""The transformers engine: batched generation under restricted image access.

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
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from prefgen.engines import decode, vision
from prefgen.engines.base import EngineConfig
from prefgen.engines.decode import Row
from prefgen.engines.loading import LoadedModel
from prefgen.engines.prompts import Header, Prompts
from prefgen.engines.sampling import Continuation, Vocabulary
from prefgen.errors import RowError
from prefgen.records import Image, Turn
from prefgen.requests import Generate, Reply, Request
from prefgen.restrict import View

_POOL_BATCHES = 4  # so many batches are drawn from the queue at a time and sorted by length, to pad little
_PROMPTS_PER_BATCH = 32  # so many prompts' images go through the vision encoder at a time
_log = logging.getLogger(__name__)


@dataclass
class Restricted:
    """The images of a prompt under one view, waiting for the requests that share them.

    Attributes:
        pixels: what the vision encoder receives.
        features: its projected output, (image tokens, hidden); None without images, and where stock `generate` encodes.
        visible: bool (image tokens of all images,), eq. 6.
    """

    pixels: vision.Pixels
    features: torch.Tensor | None
    visible: npt.NDArray[np.bool_]


class TransformersEngine:
    """Answers `Generate` requests.

    Attributes:
        images_encoded: images that went through the vision encoder so far.
    """

    def __init__(self, loaded: LoadedModel, config: EngineConfig) -> None:
        self.images_encoded = 0
        self._loaded = loaded
        self._config = config
        self._batch_size = config.batch_size
        self._said = False
        self._prompts = Prompts(loaded.processor, loaded.name)
        self._vocabulary = Vocabulary(
            loaded.processor.tokenizer,
            loaded.model.config.get_text_config().vocab_size,
            loaded.eos_ids,
            loaded.image_token_id,
        )
        self._queue: deque[tuple[int, Generate]] = deque()
        self._outstanding: Counter[tuple[tuple[Image, ...], View]] = Counter()
        self._restricted: dict[tuple[tuple[Image, ...], View], Restricted] = {}
        self._headers: dict[tuple[Turn, ...], Header] = {}

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        if not isinstance(request, Generate):
            raise TypeError(f"this engine answers Generate requests, not {type(request).__name__}")
        self._queue.append((ticket, request))
        self._outstanding[request.images, request.view] += 1

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Answer the oldest requests: a few batches of rows of similar length."""
        rows = self.prepare()
        requests = [row.continuation.request for row in rows]
        longest: dict[object, int] = {}
        for row in rows:
            longest[row.group] = max(row.length, longest.get(row.group, 0))
        # Neighbours are of similar length, and rows that share a prompt stay together, so that it is read once.
        first = {row.group: row.ticket for row in reversed(rows)}
        rows.sort(key=lambda row: (self._drops(row), longest[row.group], first[row.group], row.length))
        replies: list[tuple[int, Reply | RowError]] = []
        while rows:
            batch = self._next_batch(rows)
            rows = rows[len(batch) :]
            replies += self._answer(batch)
        for request in requests:
            self._release(request)
        return replies

    def prepare(self) -> list[Row]:
        """Take the oldest requests from the queue, their images encoded and their prompts tokenised."""
        pool = [self._queue.popleft() for _ in range(min(len(self._queue), _POOL_BATCHES * self._batch_size))]
        self._encode([request for _, request in pool])
        return [self._row(ticket, request) for ticket, request in pool]

    def header(self, prompt: tuple[Turn, ...]) -> Header:
        """The rendered prompt; kept while requests share it."""
        if prompt not in self._headers:
            if len(self._headers) > 4 * self._config.batch_size:
                self._headers.clear()
            self._headers[prompt] = self._prompts.header(prompt)
        return self._headers[prompt]

    def _encode(self, requests: list[Generate]) -> None:
        """Preprocess every (images, view) that is new, and run the vision encoder unless stock `generate` will."""
        missing = list(
            dict.fromkeys(
                (request.images, request.view)
                for request in requests
                if (request.images, request.view) not in self._restricted
            )
        )
        processor, token = self._loaded.processor, self._loaded.image_token
        with ThreadPoolExecutor(max_workers=4) as threads:
            pixels = list(threads.map(lambda key: vision.preprocess(processor, *key), missing))
        features: dict[int, torch.Tensor] = {}
        if self._config.attention == "drop":
            places = [place for place, (images, _) in enumerate(missing) if images]
            for start in range(0, len(places), _PROMPTS_PER_BATCH):
                batch = places[start : start + _PROMPTS_PER_BATCH]
                encoded = vision.encode(self._loaded, [pixels[place] for place in batch])
                features |= dict(zip(batch, encoded, strict=True))
            self.images_encoded += sum(len(images) for images, _ in missing)
        for place, ((images, view), own) in enumerate(zip(missing, pixels, strict=True)):
            self._restricted[images, view] = Restricted(own, features.get(place), view.mask(own.count(token)))

    def _row(self, ticket: int, request: Generate) -> Row:
        """Tokenise a request.

        The prefix goes in without trailing spaces: a model writes the space together with the word behind it.
        """
        prefix = request.prefix.rstrip(" ")
        own = self._restricted[request.images, request.view]
        ids = self._prompts.encode(self.header(request.prompt), prefix, own.pixels.expansions)
        return Row(
            ticket,
            ids,
            vision.positions(self._loaded, ids, own.pixels),
            own.pixels,
            own.features,
            own.visible,
            Continuation(request, prefix, ids, self._vocabulary),
        )

    def _drops(self, row: Row) -> bool:
        """Whether the row's hidden tokens can be dropped."""
        if self._config.attention == "mask":
            return False
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

    def _next_batch(self, rows: list[Row]) -> list[Row]:
        """The longest run of rows within the limits; at least one."""
        size = 1
        while size < min(len(rows), self._batch_size) and self._drops(rows[size]) == self._drops(rows[0]):
            padded_to = max(row.length + row.max_new_tokens for row in rows[: size + 1])
            if (size + 1) * padded_to > self._config.batch_tokens:
                break
            size += 1
        return rows[:size]

    def _answer(self, batch: list[Row]) -> list[tuple[int, Reply | RowError]]:
        """Generate for a batch; when memory runs out, for its halves."""
        generate = decode.generate_dropped if self._drops(batch[0]) else decode.generate_masked
        try:
            generate(self._loaded, self._vocabulary, batch, preserve=self._config.positions == "preserve")
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            if len(batch) == 1:
                detail = f"{batch[0].length} prompt tokens do not fit into the device's memory"
                return [(batch[0].ticket, RowError("OUT_OF_MEMORY", detail))]
            half = len(batch) // 2
            self._batch_size = max(1, min(self._batch_size, half))
            for row in batch:
                row.continuation.restart()
            return self._answer(batch[:half]) + self._answer(batch[half:])
        return [(row.ticket, row.continuation.completion(len(row.visible), int(row.visible.sum()))) for row in batch]

    def _release(self, request: Generate) -> None:
        """Forget the features that no other request waits for."""
        key = (request.images, request.view)
        self._outstanding[key] -= 1
        if not self._outstanding[key]:
            del self._outstanding[key]
            del self._restricted[key]
