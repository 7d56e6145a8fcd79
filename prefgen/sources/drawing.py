"""A random subset of a stream, independent of the stream's order and container."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from typing import TypeVar

from prefgen.seeds import derive

T = TypeVar("T")


def drawn(stream: Callable[[], Iterable[T]], id_of: Callable[[T], str | None], count: int, seed: int) -> Iterator[T]:
    """`count` items uniformly at random without replacement, in the order of the stream.

    Each item draws its own number, seeded by what it is and not by its place; the smallest ones are taken.

    Args:
        stream: starts the stream again; it is gone through twice.
        id_of: what seeds an item's draw, or None for one that cannot be drawn.
    """
    keys = ((id_of(item), place) for place, item in enumerate(stream()))
    draws = ((derive(seed, key, 0, "subset"), place) for key, place in keys if key is not None)
    return _at(stream(), sorted(place for _, place in nsmallest(count, draws)))


def _at(items: Iterable[T], places: Iterable[int]) -> Iterator[T]:
    wanted = iter(places)
    place = next(wanted, None)
    for number, item in enumerate(items):
        if number == place:
            yield item
            place = next(wanted, None)
            if place is None:
                return
