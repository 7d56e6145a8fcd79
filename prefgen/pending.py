"""What every job that fills a run directory shares: its unfinished shards with their rows, images, and signals."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from types import FrameType, TracebackType
from typing import TypeVar

from prefgen import images
from prefgen.errors import CorruptRun, ExitCode, RowError, Stopped
from prefgen.images import ImageRoot
from prefgen.records import Dropped, Image, ImageRef, Sample
from prefgen.shards import RunDirectory

T = TypeVar("T")
U = TypeVar("U")


def pending_shards(directory: RunDirectory, rows: Iterable[T], load: Callable[[T], U]) -> Iterator[tuple[int, list[U]]]:
    """The pending shards with their rows, each of which `load` has been at.

    Args:
        rows: all planned rows, from the first.

    Raises:
        CorruptRun: if there are fewer rows than planned.
    """
    source, position = iter(rows), 0
    for shard in directory.pending():
        wanted = directory.plan.shards[shard]
        next(islice(source, wanted.start - position, wanted.start - position), None)  # skip what is committed
        items = list(islice(source, len(wanted)))
        position = wanted.stop
        if len(items) < len(wanted):
            raise CorruptRun(
                f"the input ends after row {wanted.start + len(items)}, but {directory.plan.rows} rows were planned; "
                "was it changed during the run?"
            )
        yield shard, [load(item) for item in items]


def load_images(sample: Sample, root: ImageRoot, fetch: images.Fetch | None) -> Sample | Dropped:
    """Replace image references by checked images, or drop the sample with the reason."""
    try:
        loaded = tuple(_load(image, root, fetch) if isinstance(image, ImageRef) else image for image in sample.images)
    except RowError as error:
        return Dropped.of(sample, error.reason, error.detail)
    return dataclasses.replace(sample, images=loaded)


@lru_cache(maxsize=8)  # the answers of a conversation are samples one after another, about the same images
def _load(image: ImageRef, root: ImageRoot, fetch: images.Fetch | None) -> Image:
    return images.load(image, root, fetch=fetch)


class Interrupts:
    """SIGINT and SIGTERM, once, ask the run to stop at the next commit; a second time they stop it now."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    @property
    def code(self) -> ExitCode | None:
        """The exit code of the signal that came; None before one does."""
        if self._received is None:
            return None
        return ExitCode.INTERRUPTED if self._received == signal.SIGINT else ExitCode.TERMINATED

    def check(self) -> None:
        """Stop here if a signal came.

        Raises:
            Stopped: with the exit code of the signal.
        """
        if code := self.code:
            raise Stopped("stopped; the same command goes on from here", code)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            raise KeyboardInterrupt
        self._received = number
