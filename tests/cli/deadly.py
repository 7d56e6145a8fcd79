"""Workers that come to grief, to be sent to their processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prefgen.errors import ModelUnreachable
from prefgen.runner.launch import Filling, Listener
from prefgen.runner.task import WorkerTask
from prefgen.signals import Interrupts


class _Dying(Filling):
    """Dies in the middle of one of the shards `deadly`, leaving a note of it in `graves`."""

    deadly: frozenset[int]
    graves: Path
    times: int

    def work(self, shards: Iterable[int], listener: Listener, interrupts: Interrupts) -> None:
        super().work(shards, _Fatal(listener, self), interrupts)


class _Fatal:
    def __init__(self, listener: Listener, filling: _Dying) -> None:
        self._listener, self._filling = listener, filling
        self.advance, self.committed = listener.advance, listener.committed

    def begin(self, shard: int) -> None:
        self._listener.begin(shard)
        graves = self._filling.graves
        if shard in self._filling.deadly and len([*graves.glob(f"{shard}-*")]) < self._filling.times:
            (graves / f"{shard}-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DeadlyTask(WorkerTask):
    """Whoever begins one of these shards dies, so many times."""

    deadly: frozenset[int] = frozenset()
    graves: Path = Path()
    times: int = 1

    def begin(self) -> Filling:
        filling = super().begin()
        filling.__class__ = _Dying
        filling.__dict__.update(deadly=self.deadly, graves=self.graves, times=self.times)
        return filling


@dataclass(frozen=True)
class UnloadableTask(WorkerTask):
    """Its model cannot be loaded, or kills whoever tries."""

    fatal: bool = False

    def begin(self) -> Filling:
        if self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        raise ModelUnreachable("no such model: nowhere")
