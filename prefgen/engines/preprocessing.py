"""Decoding and preprocessing pictures ahead of the model.

In processes beside a GPU, which otherwise waits for Python; in threads beside a CPU, whose cores the model needs.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
from collections import deque
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from prefgen.engines import vision
from prefgen.records import Image
from prefgen.restrict import View

_THREADS = 4
_PROCESSES = 4
_AHEAD = 64  # prompts whose pixels wait in memory at most; a photograph in five tiles takes 7 MB

Key = tuple[tuple[Image, ...], View]


def default_workers(device: torch.device) -> int:
    """Processes that pay on this machine; 0 for threads."""
    return min(_PROCESSES, (os.cpu_count() or 1) // 2) if device.type == "cuda" else 0


class Preprocessing:
    """Makes `vision.Pixels` in the order in which they were asked for, some time before they are taken.

    Args:
        workers: processes; 0 for threads of this one.
    """

    def __init__(self, processor: Any, workers: int) -> None:
        self._processor = processor
        self._executor: Executor = ThreadPoolExecutor(_THREADS)
        self._processes = bool(workers)
        if workers:  # spawned: a copy of a process that uses a GPU cannot live
            self._folder = tempfile.TemporaryDirectory(prefix="prefgen-")
            path = Path(self._folder.name) / "processor.pickle"
            path.write_bytes(pickle.dumps(processor))  # as a file: no start waits until the one before has read it
            self._executor = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (path,))
        self._asked: deque[Key] = deque()
        self._started: dict[Key, Future[Any]] = {}

    def want(self, key: Key) -> None:
        """Ask for the images of a prompt under a view; each is taken once."""
        self._asked.append(key)
        self._begin_some()

    def take(self, key: Key) -> vision.Pixels:
        """Wait for what was asked for."""
        if key not in self._started:
            self._asked.remove(key)
            self._begin(key)
        made = self._started.pop(key).result()
        self._begin_some()
        return made if isinstance(made, vision.Pixels) else _unpacked(*made)

    def _begin_some(self) -> None:
        while self._asked and len(self._started) < _AHEAD:
            self._begin(self._asked.popleft())

    def _begin(self, key: Key) -> None:
        if self._processes:
            self._started[key] = self._executor.submit(_preprocess, key)
        else:
            self._started[key] = self._executor.submit(vision.preprocess, self._processor, *key)


_Packed = tuple[dict[str, npt.NDArray[Any]], tuple[str, ...]]
_worker_processor: Any = None


def _start_worker(path: Path) -> None:
    global _worker_processor
    _worker_processor = pickle.loads(path.read_bytes())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    torch.set_num_threads(1)


def _preprocess(key: Key) -> _Packed:
    """In a worker. As arrays: tensors would travel through shared memory, of which containers have little."""
    pixels = vision.preprocess(_worker_processor, *key)
    return {name: np.asarray(values) for name, values in pixels.inputs.items()}, pixels.expansions


def _unpacked(inputs: dict[str, npt.NDArray[Any]], expansions: tuple[str, ...]) -> vision.Pixels:
    return vision.Pixels({name: torch.from_numpy(values) for name, values in inputs.items()}, expansions)
