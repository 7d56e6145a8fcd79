"""The task of a worker process, and the queue that assigns shards to workers."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Protocol

from prefgen.engines import build
from prefgen.errors import EnvironmentFault
from prefgen.records import Dropped, Outcome
from prefgen.rundir.layout import Plan
from prefgen.rundir.schema import Provenance
from prefgen.rundir.shards import RunDirectory
from prefgen.runner.launch import Filling, Job, Made


@dataclass(frozen=True)
class WorkerTask:
    """Job, plan and provenance for a worker of a run that another process has opened. Can be pickled."""

    job: Job
    plan: Plan
    constants: Provenance

    def begin(self) -> Filling:
        """Load the models."""
        build.hush(self.job.engine, self.job.method.asks)
        directory = RunDirectory.join(self.job.output, self.plan)
        engines = build.build(self.job.engine, self.job.method.asks, others=self.job.engines)
        return Filling(self.job, directory, engines, self.constants)


class Board(Protocol):
    """Shows the progress of a run with several workers."""

    def advance(self, outcome: Outcome | Made) -> None:
        """One more row is done and committed."""

    def work(self, worker: int, shard: int, done: int, total: int) -> None:
        """Show how many rows of a shard a worker has done."""


class Queue:
    """Assigns each pending shard to one worker at a time; shards of a dead worker are assigned again.

    Args:
        losses: how often a shard may be lost with its worker before it is taken for the cause.
    """

    def __init__(self, directory: RunDirectory, losses: int = 1) -> None:
        self._directory, self._may_lose = directory, losses
        self._waiting = deque(directory.pending())
        self._holder: dict[int, int] = {}
        self._losses: Counter[int] = Counter()

    @property
    def open(self) -> bool:
        """True if shards are left to assign or may come back."""
        return bool(self._waiting or self._holder)

    def take(self, worker: int) -> int | None:
        """A shard for this worker; None if there is none now."""
        if not self._waiting:
            return None
        shard = self._waiting.popleft()
        self._holder[shard] = worker
        return shard

    def done(self, shard: int) -> None:
        """Note that a shard is committed."""
        self._holder.pop(shard, None)

    def lost(self, worker: int, how: str) -> list[int]:
        """Take back the uncommitted shards of a lost worker.

        Raises:
            EnvironmentFault: if one of these shards was lost too often.
        """
        held = [shard for shard, holder in self._holder.items() if holder == worker]
        for shard in held:
            del self._holder[shard]
        lost = [shard for shard in sorted(held) if not self._directory.committed(shard)]
        self._losses.update(lost)
        self._waiting.extendleft(reversed(lost))
        if often := [shard for shard in lost if self._losses[shard] > self._may_lose]:
            raise EnvironmentFault(
                f"worker {worker} {how} at shard {often[0]}, like others before it. What was committed is safe; give "
                "each worker more memory (fewer --workers, a smaller --batch-size) and repeat the command to continue"
            )
        return lost

    def holds(self, worker: int) -> bool:
        """True if a worker has a shard."""
        return worker in self._holder.values()


def progress_of(outcome: Outcome) -> Made | Dropped:
    """The part of an outcome that is sent to the progress display."""
    return outcome if isinstance(outcome, Dropped) else Made(outcome.tokens, outcome.iteration)
