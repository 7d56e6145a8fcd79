"""Decoding and preprocessing of pictures in the background, ahead of the model.

In processes beside a GPU, which otherwise waits for Python; in threads beside a CPU, whose cores the model needs.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from prefgen.engines.hf import vision
from prefgen.records import Image
from prefgen.visibility import View

_THREADS = 4
_PROCESSES = 8
_AHEAD = 64  # prompts whose pixels wait in memory at most; a photograph in five tiles takes 7 MB

Key = tuple[tuple[Image, ...], View]


def default_workers(device: torch.device) -> int:
    """Number of worker processes that pay off on this machine; 0 for threads."""
    return min(_PROCESSES, (os.cpu_count() or 1) // 2) if device.type == "cuda" else 0


class Preprocessing:
    """Makes `vision.Pixels` in the order of the requests, ahead of their use.

    Args:
        workers: processes; 0 for threads of this one.
        dtype: what the model takes; processes convert to it, so that less has to travel.
    """

    def __init__(self, processor: Any, workers: int, dtype: torch.dtype) -> None:
        self._asked: deque[Key] = deque()
        self._started: dict[Key, Future[vision.Pixels] | Future[_Stored]] = {}
        if not workers:
            threads = ThreadPoolExecutor(_THREADS)
            self._submit: Callable[[Key], Any] = lambda key: threads.submit(vision.preprocess, processor, *key)
            return
        temporary = tempfile.TemporaryDirectory(prefix="prefgen-")
        folder = Path(temporary.name)
        (folder / "processor").write_bytes(pickle.dumps(processor))
        # Spawned: a copy of a process that uses a GPU cannot live.
        processes = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (folder, dtype))
        self._submit = lambda key: processes.submit(_store, key)
        weakref.finalize(self, _close, processes, temporary)

    def want(self, key: Key) -> None:
        """Request the images of a prompt under a view; each is taken once."""
        self._asked.append(key)
        self._begin()

    def take(self, key: Key) -> vision.Pixels:
        """Wait for a requested result."""
        if key not in self._started:
            self._asked.remove(key)
            self._started[key] = self._submit(key)
        made = self._started.pop(key).result()
        self._begin()
        return made if isinstance(made, vision.Pixels) else made.read()

    def _begin(self) -> None:
        while self._asked and len(self._started) < _AHEAD:
            key = self._asked.popleft()
            self._started[key] = self._submit(key)


def _close(processes: ProcessPoolExecutor, folder: tempfile.TemporaryDirectory[str]) -> None:
    processes.shutdown(cancel_futures=True)
    folder.cleanup()


@dataclass(frozen=True)
class _Stored:
    """Pixels in a file, since a pipe would block the process that waits for them."""

    path: Path | None
    expansions: tuple[str, ...]

    def read(self) -> vision.Pixels:
        if self.path is None:
            return vision.Pixels({}, self.expansions)
        inputs = load_file(self.path)
        self.path.unlink()
        return vision.Pixels(inputs, self.expansions)


@dataclass(frozen=True)
class _Worker:
    processor: Any
    folder: Path
    dtype: torch.dtype


_worker: _Worker | None = None


def _start_worker(folder: Path, dtype: torch.dtype) -> None:
    global _worker
    _worker = _Worker(pickle.loads((folder / "processor").read_bytes()), folder, dtype)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    torch.set_num_threads(1)


def _store(key: Key) -> _Stored:
    """Preprocess and store pixels, in a worker process."""
    assert _worker is not None
    pixels = vision.preprocess(_worker.processor, *key)
    if not pixels.inputs:
        return _Stored(None, pixels.expansions)
    inputs = {
        name: (values.to(_worker.dtype) if values.is_floating_point() else values).contiguous()
        for name, values in pixels.inputs.items()
    }
    path = _worker.folder / uuid.uuid4().hex
    save_file(inputs, path)
    return _Stored(path, pixels.expansions)
