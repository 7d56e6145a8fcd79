"""Worker processes on this machine, which receive shard numbers and report progress through pipes.

The parent holds the run's lock, the workers commit. One that finds its pipe closed has lost its parent, and ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from prefgen.errors import EnvironmentFault, PrefgenError, Stopped
from prefgen.records import Dropped, Outcome
from prefgen.rundir.shards import RunDirectory
from prefgen.runner.launch import Made
from prefgen.runner.task import Board, Queue, WorkerTask, progress_of
from prefgen.signals import Interrupts

_LOOK_S = 0.2  # between two looks at whether a worker died or the user wants to stop


@dataclass(frozen=True)
class _Ask:
    """A worker's request for its next shard, sent while it works on one."""


@dataclass(frozen=True)
class _Begun:
    shard: int


@dataclass(frozen=True)
class _Committed:
    shard: int


@dataclass(frozen=True)
class _Failed:
    error: Exception


_Message = _Ask | _Begun | _Committed | _Failed | Made | Dropped


@dataclass
class _Worker:
    process: BaseProcess
    link: Connection
    shard: int = 0
    rows: list[Made | Dropped] = field(default_factory=list)  # of that shard


class LocalWorkers:
    """Worker processes, and the parent's loop.

    Args:
        environments: for each worker what it has in its environment beside the parent's, such as its GPUs.
        say: called with messages for the user.
    """

    def __init__(
        self,
        task: WorkerTask,
        directory: RunDirectory,
        environments: Sequence[Mapping[str, str]],
        board: Board,
        say: Callable[[str], None],
    ) -> None:
        self._task, self._environments, self._board, self._say = task, environments, board, say
        self._plan = directory.plan
        self._queue = Queue(directory)
        self._workers: dict[int, _Worker] = {}
        self._asking: list[int] = []
        self._stopping = False
        self._failure: Exception | None = None

    def work(self) -> None:
        """Fill and commit every pending shard.

        Raises:
            PrefgenError: what a worker raised, after the others have committed what they were at.
            EnvironmentFault: if workers keep dying.
            Stopped: if a signal came; what was in flight has been committed.
        """
        with Interrupts() as interrupts:
            try:
                for number in range(len(self._environments)):
                    self._start(number)
                while self._workers:
                    if interrupts.code is not None:
                        self._stop()
                    self._listen()
                    self._hand_out()
            finally:
                for worker in self._workers.values():
                    worker.process.kill()
                    worker.process.join()
            if self._failure:
                raise self._failure
            interrupts.check()

    def _start(self, number: int) -> None:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(self._task, theirs))
        with _environment(self._environments[number]):
            process.start()
        theirs.close()
        self._workers[number] = _Worker(process, ours)

    def _stop(self, failure: Exception | None = None) -> None:
        """Ask all workers to commit their open shards and end."""
        self._failure = self._failure or failure
        if not self._stopping:
            self._stopping = True
            for worker in self._workers.values():
                worker.process.terminate()

    def _listen(self) -> None:
        """Read the messages of the workers, and notice those that died."""
        dead = [number for number, worker in self._workers.items() if not worker.process.is_alive()]
        heard = wait([worker.link for worker in self._workers.values()], _LOOK_S)
        for number, worker in self._workers.items():
            with contextlib.suppress(EOFError, ConnectionResetError):
                while worker.link in heard and worker.link.poll():
                    self._handle(number, worker, worker.link.recv())
        for number in dead:  # so all that they had to say has been heard
            self._remove(number, self._workers.pop(number))

    def _handle(self, number: int, worker: _Worker, message: _Message) -> None:
        if isinstance(message, _Ask):
            self._asking.append(number)
        elif isinstance(message, _Begun):
            worker.shard, worker.rows = message.shard, []
        elif isinstance(message, _Committed):
            self._queue.done(message.shard)
            for row in worker.rows:
                self._board.advance(row)
        elif isinstance(message, _Failed):
            self._stop(message.error)
        else:
            worker.rows.append(message)
            self._board.work(number, worker.shard, len(worker.rows), len(self._plan.shards[worker.shard]))

    def _hand_out(self) -> None:
        for number in list(self._asking):
            done = self._stopping or not self._queue.open
            shard = None if done else self._queue.take(number)
            if done or shard is not None:
                self._asking.remove(number)
                with contextlib.suppress(ConnectionError):  # it has just died, and is buried next
                    self._workers[number].link.send(shard)

    def _remove(self, number: int, worker: _Worker) -> None:
        worker.process.join()
        worker.link.close()
        self._asking = [other for other in self._asking if other != number]
        if self._stopping or not self._queue.open:
            return
        code = worker.process.exitcode or 0
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        if not self._queue.holds(number):
            self._stop(EnvironmentFault(f"worker {number} {how} with no shard in hand; what was committed is safe"))
            return
        try:
            lost = self._queue.lost(number, how)
        except EnvironmentFault as error:
            self._stop(error)
            return
        again = ", ".join(map(str, lost)) or "none"
        self._say(f"worker {number} {how}; started again (shards to make again: {again})")
        self._start(number)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Parent:
    """A worker's end of the pipe: source of shards, and listener."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._lock = threading.Lock()  # the next shard is asked for by another thread

    def shards(self) -> Iterator[int]:
        """The assigned shards; waits for each."""
        while True:
            self.send(_Ask())
            shard: int | None = self._link.recv()
            if shard is None:
                return
            yield shard

    def begin(self, shard: int) -> None:
        self.send(_Begun(shard))

    def advance(self, outcome: Outcome) -> None:
        self.send(progress_of(outcome))

    def committed(self, shard: int) -> None:
        self.send(_Committed(shard))

    def send(self, message: _Message) -> None:
        with self._lock:
            self._link.send(message)


def _work(task: WorkerTask, link: Connection) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody; the parent decides
    parent = _Parent(link)
    try:
        filling = task.begin()
        with Interrupts((signal.SIGTERM,), finishing="") as interrupts:
            filling.work(parent.shards(), parent, interrupts)
    except (Stopped, KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        return  # asked to stop, or the parent is gone
    except PrefgenError as error:
        parent.send(_Failed(error))
    except Exception:  # noqa: BLE001  # a bug: the parent shows it and ends
        parent.send(_Failed(RuntimeError(f"in a worker process:\n{traceback.format_exc()}")))
