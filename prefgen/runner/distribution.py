"""Distribution of a run's shards over processes: `--shard`, `--workers`, `--ray`, variables of torchrun and SLURM."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefgen.console import Console
from prefgen.engines.base import EngineConfig
from prefgen.errors import UsageError
from prefgen.records import Dropped, Sample
from prefgen.rundir.schema import Provenance
from prefgen.rundir.shards import RunDirectory
from prefgen.rundir.writers import WHOLE, Part
from prefgen.runner import judging, launch
from prefgen.runner.launch import Job
from prefgen.runner.reporter import Progress
from prefgen.runner.rows import ReadRows
from prefgen.runner.task import WorkerTask
from prefgen.signals import Interrupts

if TYPE_CHECKING:
    from prefgen.runner.ray_ import Cluster


@dataclass(frozen=True)
class Distribution:
    """The distribution of a run over processes.

    Attributes:
        part: the shards that are filled from here.
        why: where that was found, if no option said it.
        workers: processes on this machine that fill them.
        ray: address of the cluster that does so instead.
    """

    part: Part = WHOLE
    why: str = ""
    workers: int = 1
    ray: str | None = None

    @staticmethod
    def of(
        shard: str | None, workers: int, ray: str | None, environment: Mapping[str, str] = os.environ
    ) -> Distribution:
        """The distribution from the options; the part from the environment if no option states it.

        Args:
            shard: ``i/n``.

        Raises:
            UsageError: for numbers that cannot be.
        """
        if workers < 1:
            raise UsageError(f"--workers {workers} must be at least 1")
        if ray and workers > 1:
            raise UsageError("--workers is for this machine; --ray has as many workers as the cluster has room for")
        part, why = Part.parse(shard) if shard else None, ""
        if part is None:
            part, why = _part_of(environment)
        return Distribution(part, why, workers, ray)

    def check(self, job: Job) -> None:
        """Refuse runs that cannot be distributed.

        Raises:
            UsageError: if a judge is asked.
        """
        if job.judged and (self.workers > 1 or self.ray or not self.part.whole):
            raise UsageError(
                "--workers, --shard and --ray are not for a run that asks a judge: one process keeps its budget, its "
                "limits and the record of what was paid. Raise --concurrency instead"
                + (f", and unset {self.why} or give --shard 0/1" if self.why else "")
            )

    def announce(self, console: Console) -> None:
        """Print which part this process fills."""
        if not self.part.whole:
            by = f" (by {self.why})" if self.why else ""
            console.print(f"part {self.part} of the shards is filled from here{by}", highlight=False)


ALONE = Distribution()
"""One process fills all shards."""


@contextmanager
def cluster(distribution: Distribution, config: EngineConfig) -> Iterator[Cluster | None]:
    """The Ray cluster that does the work, if any."""
    if distribution.ray is None:
        yield None
        return
    from prefgen.runner.ray_ import Cluster

    with Cluster(distribution.ray, config) as found:
        yield found


def fill(
    distribution: Distribution,
    connected: Cluster | None,
    job: Job,
    directory: RunDirectory,
    constants: Provenance,
    progress: Progress,
    console: Console,
    surveyed: ReadRows[Sample | Dropped] | None = None,
) -> None:
    """Fill the pending shards of a part: in this process, in worker processes, or in a cluster.

    Args:
        surveyed: as in `launch.planned_rows`; workers read the input themselves.

    Raises:
        Stopped: by a signal.
    """
    if distribution.workers == 1 and connected is None:
        with judging.engines(job, directory, console) as engines, Interrupts() as interrupts:
            filling = launch.Filling(job, directory, engines, constants, surveyed)
            filling.work(directory.pending(), progress, interrupts)
        return

    def say(words: str) -> None:
        console.print(words, highlight=False, markup=False)

    task = WorkerTask(job, directory.plan, constants)
    if connected is not None:
        from prefgen.runner.ray_ import RayWorkers

        RayWorkers(connected, task, directory, progress, say).work()
        return
    from prefgen.runner.local import LocalWorkers

    LocalWorkers(task, directory, shares(distribution.workers, job.engine), progress, say).work()


def shares(processes: int, config: EngineConfig) -> list[Mapping[str, str]]:
    """Environment variables of each of several processes on this machine.

    Raises:
        UsageError: if there are not enough GPUs.
    """
    if config.engine == "fake":
        return [{}] * processes
    from prefgen.engines.hf import devices

    return devices.shares(processes, config.device, config.gpus_per_worker)


def take_own_gpus(config: EngineConfig, environment: Mapping[str, str] = os.environ) -> None:
    """Under torchrun, limit this process to its own GPUs."""
    rank, size = environment.get("LOCAL_RANK"), environment.get("LOCAL_WORLD_SIZE")
    if rank is not None and size is not None:
        os.environ.update(shares(int(size), config)[int(rank)])


def _part_of(environment: Mapping[str, str]) -> tuple[Part, str]:
    """The part of this process by a launcher's variables, and these variables."""

    def number(name: str, default: int) -> int:
        value = environment.get(name, "")
        if value and not value.isdecimal():
            raise UsageError(f"{name}={value} is no number: unset it, or give --shard i/n")
        return int(value) if value else default

    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Part(number("RANK", 0), number("WORLD_SIZE", 1)), "RANK and WORLD_SIZE"
    # A job array of n tasks, each of which srun may start m times: n * m processes.
    tasks, task = number("SLURM_NTASKS", 1), number("SLURM_PROCID", 0)
    jobs, step = number("SLURM_ARRAY_TASK_COUNT", 1), number("SLURM_ARRAY_TASK_STEP", 1)
    job = (number("SLURM_ARRAY_TASK_ID", 0) - number("SLURM_ARRAY_TASK_MIN", 0)) // step
    names = [name for name, count in (("SLURM_ARRAY_TASK_ID", jobs), ("SLURM_PROCID", tasks)) if count > 1]
    return Part(job * tasks + task, jobs * tasks), " and ".join(names)
