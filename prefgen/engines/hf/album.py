"""The images of a shard, for methods that need an image of another sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from prefgen import seeds
from prefgen.errors import RowError
from prefgen.records import Image, Sample
from prefgen.requests import Borrow, Borrowed, Reply, Request


class Album:
    """Answers `Borrow` with an image of these samples, each different image with equal probability."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._pending: dict[int, Borrow] = {}

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        if not isinstance(request, Borrow):
            raise TypeError(f"an album answers Borrow requests, not {type(request).__name__}")
        self._pending[ticket] = request

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Answer all queued requests."""
        answered = [(ticket, self._answer(request)) for ticket, request in self._pending.items()]
        self._pending.clear()
        return answered

    @cached_property
    def _images(self) -> dict[str, Image]:
        """The images by digest; computed at the first request, as most methods make none."""
        return {image.sha256: image for sample in self._samples for image in sample.loaded_images}

    def _answer(self, request: Borrow) -> Reply | RowError:
        others: list[Image] = [image for digest, image in self._images.items() if digest != request.image.sha256]
        if not others:
            return RowError("IMG_NO_OTHER", "no other sample of this shard has another image")
        return Borrowed(others[int(seeds.generator(request.seed).random() * len(others))])
