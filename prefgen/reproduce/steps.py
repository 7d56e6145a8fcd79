"""Lists of prefgen commands: each is a process of its own and runs once; a list that was stopped goes on where it was.

OUTPUT/
  NAME.json    what was asked, see `begun`
  steps.jsonl  the commands that have ended, in order; they are not run again
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from prefgen import durable
from prefgen.errors import CommandFailed, ExitCode, UsageError

_STDERR = 2
_STOPPED = {-signal.SIGINT: ExitCode.INTERRUPTED, -signal.SIGTERM: ExitCode.TERMINATED}
"""Exit codes of a process that a signal ended before it handled signals."""


@dataclass(frozen=True)
class Step:
    """A command and, where its standard output is kept, the file for it."""

    words: tuple[str, ...]
    kept: Path | None = None

    def __str__(self) -> str:
        return shlex.join(["prefgen", *self.words])


def filled(line: str, values: Mapping[str, str], of: str) -> Step:
    """A command whose places, such as ``{model}``, are filled by quoted values.

    Args:
        of: what has the command, for the message.

    Raises:
        UsageError: it has a place that nothing fills, or an open quotation mark.
    """
    try:
        return Step(tuple(shlex.split(line.format_map(values))))
    except (KeyError, IndexError, ValueError) as error:
        known = ", ".join(f"{{{name}}}" for name in values)
        raise UsageError(f"{of} {line!r} has a place that nothing fills: {error}; there are {known}") from None


def evaluation(line: str, model: str, folder: Path) -> Step:
    """The command of an evaluation, whose figures are kept in a folder.

    Args:
        line: what stands behind `prefgen eval`, without model and output.
    """
    name, *_ = words = shlex.split(line)
    kept = folder / f"{name}.json"
    answers = [] if name == "scenes" else ["--output", str(kept.with_suffix(""))]
    return Step(("eval", *words, "--model", model, *answers, "--json"), kept)


def check_evaluations(lines: Sequence[str]) -> None:
    """Check that each of these tails of `prefgen eval` names a benchmark of its own.

    Raises:
        UsageError: one is empty, or two are of one benchmark, whose figures would go into one file.
    """
    names = [line.split()[:1] for line in lines]
    if [] in names:
        raise UsageError("--eval is empty: it takes what stands behind `prefgen eval`")
    if len({name for (name,) in names}) < len(names):
        raise UsageError("--eval names one benchmark twice")


class Journal:
    """The commands of an output that have ended.

    Args:
        output: folder, which the caller holds.
        told: gets each command before it is run.
    """

    def __init__(self, output: Path, told: Callable[[str], None]) -> None:
        self._file, self._told = output / "steps.jsonl", told
        self._text = self._file.read_bytes() if self._file.exists() else b""
        self._ended = {json.loads(line)["command"] for line in self._text.splitlines()}

    def run(self, step: Step) -> None:
        """Run a command that has not ended before.

        Raises:
            CommandFailed: it ended with another exit code than 0; the same list goes on there.
        """
        if str(step) in self._ended and (step.kept is None or step.kept.exists()):
            return
        self._told(str(step))
        started = time.monotonic()
        _call(step)
        line = {"command": str(step), "seconds": round(time.monotonic() - started, 1)}
        self._text += durable.json_bytes(json.dumps(line) + "\n")
        with durable.environment(self._file.parent):
            durable.replace(self._file, self._text)


@contextmanager
def begun(output: Path, name: str, settings: Mapping[str, Any], told: Callable[[str], None]) -> Iterator[Journal]:
    """The journal of an output, which is made or held, with what it was begun with in ``NAME.json``.

    Raises:
        UsageError: the folder holds files of others. CorruptRun: it was begun with other settings.
        Locked: another process holds it.
    """
    record = output / f"{name}.json"
    with durable.environment(output):
        output.mkdir(parents=True, exist_ok=True)
        if not record.exists() and any(path.name[:1] != "." for path in output.iterdir()):
            raise UsageError(f"--output {output} holds files of others: choose another folder")
    with durable.settled(record, output / ".lock", settings):
        yield Journal(output, told)


def _call(step: Step) -> None:
    command = [sys.executable, "-m", "prefgen", *step.words]
    stdout = subprocess.PIPE if step.kept else _STDERR  # standard output is for the table
    process = subprocess.Popen(command, stdout=stdout, text=True)
    with process, _passing_on(process):
        printed, _ = process.communicate()
    if code := _STOPPED.get(process.returncode, process.returncode):
        raise CommandFailed(f"{step} ended with exit code {code}; the same command goes on there", code)
    if step.kept:
        with durable.environment(step.kept.parent):
            step.kept.parent.mkdir(parents=True, exist_ok=True)
            durable.replace(step.kept, printed.encode())


@contextmanager
def _passing_on(process: subprocess.Popen[str]) -> Iterator[None]:
    """Leave it to a process how it stops: a terminal's Ctrl-C reaches it by itself, SIGTERM is passed on."""

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            process.terminate()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
