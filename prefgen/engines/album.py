"""The images of a shard, for methods that show a sample another one's."""

from __future__ import annotations

from collections.abc import Iterable

from prefgen import seeds
from prefgen.errors import RowError
from prefgen.records import Image, Sample
from prefgen.requests import Borrow, Borrowed, Reply, Request


class Album:
    """Answers `Borrow` with an image of these samples, each different image as likely as any other."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._images = {image.sha256: image for sample in samples for image in sample.loaded_images}
        self._pending: dict[int, Borrow] = {}

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        if not isinstance(request, Borrow):
            raise TypeError(f"an album answers Borrow requests, not {type(request).__name__}")
        self._pending[ticket] = request

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Answer all of them."""
        answered = [(ticket, self._answer(request)) for ticket, request in self._pending.items()]
        self._pending.clear()
        return answered

    def _answer(self, request: Borrow) -> Reply | RowError:
        others: list[Image] = [image for digest, image in self._images.items() if digest != request.image.sha256]
        if not others:
            return RowError("IMG_NO_OTHER", "no other sample of this shard has another image")
        return Borrowed(others[int(seeds.generator(request.seed).random() * len(others))])
