"""Decoding and preprocessing pictures ahead of the model, in threads: what they wait for is mostly not Python."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from prefgen.engines import vision
from prefgen.records import Image
from prefgen.restrict import View

_THREADS = 4
_AHEAD = 64  # prompts whose pixels wait in memory at most; a photograph in five tiles takes 7 MB

Key = tuple[tuple[Image, ...], View]


class Preprocessing:
    """Makes `vision.Pixels` in the order in which they were asked for, some time before they are taken."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._threads = ThreadPoolExecutor(_THREADS)
        self._asked: deque[Key] = deque()
        self._started: dict[Key, Future[vision.Pixels]] = {}

    def want(self, key: Key) -> None:
        """Ask for the images of a prompt under a view; each is taken once."""
        self._asked.append(key)
        self._start()

    def take(self, key: Key) -> vision.Pixels:
        """Wait for what was asked for."""
        if key not in self._started:
            self._asked.remove(key)
            self._begin(key)
        pixels = self._started.pop(key).result()
        self._start()
        return pixels

    def _start(self) -> None:
        while self._asked and len(self._started) < _AHEAD:
            self._begin(self._asked.popleft())

    def _begin(self, key: Key) -> None:
        self._started[key] = self._threads.submit(vision.preprocess, self._processor, *key)
