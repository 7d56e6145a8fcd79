"""Workers in a Ray cluster: actors that receive one shard number after another.

The driver holds the run's lock, the actors commit into the output, which their machines share. An actor that is lost,
alone or with its machine, is replaced wherever there is room, and what it was at goes to another; should it only have
seemed lost, its commit and the other's are one. Ray is imported when it is used.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from prefgen.engines.base import EngineConfig
from prefgen.engines.vllm import engine_args
from prefgen.errors import EnvironmentFault, PrefgenError, UsageError
from prefgen.records import Dropped, Outcome
from prefgen.rundir.shards import RunDirectory
from prefgen.runner.launch import Filling, Made
from prefgen.runner.task import Board, Queue, WorkerTask, progress_of
from prefgen.signals import Interrupts

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")
_LOOK_S = 0.5  # between two looks at whether the user wants to stop
_KNOCK_S = 10.0
_LOSSES = 5  # of one shard; machines may be taken away for no fault of its own


class Cluster:
    """A connection to a Ray cluster. A context manager.

    Args:
        address: as `ray.init` takes it: ``auto``, ``host:port``, ``ray://…``; ``local`` starts one on this machine.

    Raises:
        UsageError: if Ray is not installed. EnvironmentFault: if the cluster cannot be reached.
    """

    def __init__(self, address: str, config: EngineConfig) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError('--ray needs Ray: pip install "prefgen[ray]", here and on every machine') from error
        try:
            _check_reachable(address)
            ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise EnvironmentFault(f"--ray {address}: no Ray cluster can be reached there: {error}") from error
        self._ray: Any = ray
        gpus = _gpus(config) if self._total("GPU") else 0
        self._options: dict[str, Any] = {"num_gpus": gpus, "num_cpus": 1}
        self.workers = int(self._total("GPU") // gpus) if gpus else int(self._total("CPU"))
        if not self.workers:
            raise EnvironmentFault(
                f"--ray {address}: a worker needs {gpus or 1} {'GPUs' if gpus else 'CPU'}, "
                "which the cluster does not have"
            )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function on a worker machine, which may have GPUs that this machine lacks."""
        remote = self._ray.remote(_called).options(**self._options)
        return self.get(remote.remote(os.getcwd(), function, *arguments))  # type: ignore[no-any-return]

    def actor(self, task: WorkerTask) -> Any:
        """Create an actor on any machine with room, now or later."""
        return self._ray.remote(_Actor).options(**self._options).remote(os.getcwd(), task)

    def kill(self, actor: Any) -> None:
        """Kill an actor."""
        self._ray.kill(actor)

    def wait(self, refs: list[ObjectRef]) -> list[ObjectRef]:
        """The calls that are done; waits briefly for one."""
        return self._ray.wait(refs, timeout=_LOOK_S)[0]  # type: ignore[no-any-return]

    def get(self, ref: ObjectRef) -> Any:
        """The result of a call.

        Raises:
            Lost: if the process that was called is gone.
            Exception: what the call raised.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:
            if isinstance(error.cause, PrefgenError):
                raise error.cause from None
            raise
        except errors.RayError as error:
            raise Lost(str(error).partition("\n")[0]) from error

    def _total(self, resource: str) -> float:
        return float(self._ray.cluster_resources().get(resource, 0))


class Lost(EnvironmentFault):
    """The actor or its machine is gone."""


class RayWorkers:
    """One actor per group of GPUs, or per CPU, and the driver's loop.

    Args:
        say: called with messages for the user.
    """

    def __init__(
        self, cluster: Cluster, task: WorkerTask, directory: RunDirectory, board: Board, say: Callable[[str], None]
    ) -> None:
        self._cluster, self._task, self._board, self._say = cluster, task, board, say
        self._plan = directory.plan
        self._queue = Queue(directory, _LOSSES)
        self._actors: dict[int, Any] = {}
        self._calls: dict[ObjectRef, tuple[int, int | None]] = {}  # worker, and its shard; None while it loads models
        self._in_vain = 0  # actors lost since the last commit

    def work(self) -> None:
        """Fill and commit every pending shard.

        Raises:
            PrefgenError: what an actor raised.
            EnvironmentFault: if actors keep dying.
            Stopped: if a signal came; what was in flight has been committed.
        """
        with Interrupts() as interrupts:
            try:
                for number in range(min(self._cluster.workers, len(self._plan.shards))):
                    self._start(number)
                while self._queue.open:
                    stopping = interrupts.code is not None
                    if stopping and not any(shard is not None for _, shard in self._calls.values()):
                        break
                    busy = {number for number, _ in self._calls.values()}
                    for number in () if stopping else self._actors.keys() - busy:
                        self._hand_out(number)
                    for ref in self._cluster.wait(list(self._calls)):
                        self._answered(ref, *self._calls.pop(ref))
            finally:
                for actor in self._actors.values():
                    self._cluster.kill(actor)
        interrupts.check()

    def _start(self, number: int) -> None:
        self._actors[number] = self._cluster.actor(self._task)
        self._calls[self._actors[number].load.remote()] = (number, None)

    def _hand_out(self, number: int) -> None:
        shard = self._queue.take(number)
        if shard is not None:
            self._calls[self._actors[number].fill.remote(shard)] = (number, shard)
            self._board.work(number, shard, 0, len(self._plan.shards[shard]))

    def _answered(self, ref: ObjectRef, number: int, shard: int | None) -> None:
        """Handle an actor's result, or replace the actor if it is gone."""
        try:
            rows: list[Made | Dropped] = self._cluster.get(ref)
        except Lost as lost:
            self._replace(number, str(lost))
            return
        if shard is not None:
            self._queue.done(shard)
            self._in_vain = 0
            self._board.work(number, shard, len(rows), len(rows))
            for row in rows:
                self._board.advance(row)

    def _replace(self, number: int, why: str) -> None:
        self._in_vain += 1
        if self._in_vain > _LOSSES + self._cluster.workers:
            raise EnvironmentFault(f"{self._in_vain} workers were lost in a row, the last one: {why}")
        again = ", ".join(map(str, self._queue.lost(number, "was lost"))) or "none"
        self._cluster.kill(self._actors[number])  # in case it only seems to be gone
        self._say(f"worker {number} was lost ({why}); another is started (shards to make again: {again})")
        self._start(number)


class _Actor:
    """A worker, made an actor by Ray."""

    def __init__(self, folder: str, task: WorkerTask) -> None:
        self._folder, self._task = folder, task
        self._filling: Filling | None = None

    def load(self) -> list[Made | Dropped]:
        """Load the models; not in `__init__`, whose errors Ray reports as the actor's death."""
        _enter(self._folder)
        self._filling = self._task.begin()
        return []

    def fill(self, shard: int) -> list[Made | Dropped]:
        """Fill and commit a shard; returns its outcomes."""
        assert self._filling is not None, "load comes first"
        noted = _ProgressRecord()
        self._filling.work([shard], noted, Interrupts((), finishing=""))
        return noted.rows


class _ProgressRecord:
    """A listener that keeps what the progress display needs."""

    def __init__(self) -> None:
        self.rows: list[Made | Dropped] = []

    def begin(self, shard: int) -> None:
        """Do nothing: a shard is one call."""

    def committed(self, shard: int) -> None:
        """Do nothing: the call's return says so."""

    def advance(self, outcome: Outcome) -> None:
        self.rows.append(progress_of(outcome))


def _called(folder: str, function: Callable[..., T], *arguments: object) -> T:
    _enter(folder)
    return function(*arguments)


def _enter(folder: str) -> None:
    """Change to the folder in which the command was given, so that paths mean the same."""
    if not Path(folder).is_dir():
        raise UsageError(
            f"{folder}, where the command was given, is not on {os.uname().nodename}: with --ray, give it in a folder "
            "that every machine of the cluster shares, and have input and output shared as well"
        )
    os.chdir(folder)


def _check_reachable(address: str) -> None:
    """Check that something listens at the address; Ray itself would retry for minutes.

    Raises:
        OSError: if none does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), _KNOCK_S).close()


def _gpus(config: EngineConfig) -> int:
    """Number of GPUs of one engine."""
    if config.gpus_per_worker > 1:
        return config.gpus_per_worker
    given = engine_args.parse(config.engine_args)
    return int(given.get("tensor_parallel_size", 1)) * int(given.get("pipeline_parallel_size", 1))
