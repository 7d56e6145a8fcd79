"""How prefgen itself scales: time, memory and the time to resume, at growing numbers of rows, without a model.

    python examples/benchmarks/scale.py --rows 1000 10000 100000

Each size is one `prefgen bdhs --engine fake` over conversations about the scenes' 500 pictures of 144 x 144 pixels,
read, checked and stored like any others, in a process of its own. Shortly before its end the run is stopped by SIGTERM,
and the same command continues. Columns:

- wall: of both processes together, waiting for the disk and for whoever else uses the machine included;
- CPU: what both used, user and system, all threads added up, so that it is the time on one core;
- overhead: CPU without the engine's own, per planned row: everything but the model;
- memory: the largest resident size of either;
- resume: from the start of the second process to its first commit: imports, checks, and reading past all done rows;
- finish: CPU from its last commit on: card, lint, preview, figures.

``--resume 1000000`` measures the resumption of one more run alone: it is stopped after its first shard, whose files are
copied as those of the others but the last few.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data import SCENES, write_input
from report import circumstances, command_line, write

from prefgen.rundir.layout import Layout, read_commit

SHARD_ROWS = 256
_POLL_S = 0.05


@dataclass(frozen=True)
class Row:
    """One size; times in seconds, sizes in bytes."""

    rows: int
    wall_s: float
    cpu_s: float
    engine_s: float
    overhead_ms: float  # per row
    memory_bytes: int
    resume_s: float
    finish_s: float
    output_bytes: int


@dataclass(frozen=True)
class Process:
    """What one invocation used."""

    wall_s: float
    cpu_s: float
    engine_s: float
    finish_s: float
    memory_bytes: int


def child(arguments: list[str]) -> None:
    """Run prefgen here; stderr ends with the CPU time of the fake engine, and of what follows the last commit."""
    from prefgen.cli import main
    from prefgen.engines.fake import FakeEngine
    from prefgen.rundir.shards import RunDirectory

    collect, commit = FakeEngine.collect, RunDirectory.commit
    engine_s, committed_s = 0.0, 0.0

    def timed(engine: FakeEngine) -> object:
        nonlocal engine_s
        started = time.thread_time()
        replies = collect(engine)
        engine_s += time.thread_time() - started
        return replies

    def noted(*positional: object) -> None:
        nonlocal committed_s
        commit(*positional)  # type: ignore[arg-type]
        committed_s = time.process_time()

    FakeEngine.collect, RunDirectory.commit = timed, noted  # type: ignore[assignment, method-assign]
    sys.argv = ["prefgen", *arguments]
    try:
        main()
    finally:
        used = {"engine_s": engine_s, "finish_s": time.process_time() - committed_s}
        print(json.dumps(used), file=sys.stderr, flush=True)


def run(arguments: list[str], watch: Callable[[subprocess.Popen[str], float], None]) -> Process:
    """One process; `watch` is given it and its start, and returns when it may be waited for."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch(process, started)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 75):  # done, or stopped by SIGTERM
        raise SystemExit(f"exit code {process.returncode}: {said}")
    wall_s = time.monotonic() - started
    cpu_s, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    return Process(wall_s, cpu_s, memory_bytes=memory, **json.loads(said.splitlines()[-1]))


class Run:
    """A run of so many rows in a folder, in which its input is written.

    Attributes:
        resume_s: from the start of the process that resumes it to that process's first commit.
    """

    def __init__(self, rows: int, folder: Path) -> None:
        write_input(folder / "input.jsonl", rows)
        self.out = folder / "out"
        self.last = (rows - 1) // SHARD_ROWS
        self.resume_s = 0.0
        self._records = self.out / ".prefgen" / "shards"
        arguments = ["bdhs", "-i", folder / "input.jsonl", "--image-root", SCENES / "images", "--limit", rows]
        arguments += ["-m", "fake", "--engine", "fake", "--shard-size", SHARD_ROWS, "--quiet", "-o", self.out]
        self._command = list(map(str, arguments))

    def until(self, shard: int) -> Process:
        """Start it, and stop it when a shard is committed."""

        def stop(process: subprocess.Popen[str], started: float) -> None:
            _await(process, (self._records / f"{shard:06d}.json").exists)
            process.send_signal(signal.SIGTERM)

        return run(self._command, stop)

    def resumed(self, *, to_end: bool = True) -> Process:
        """Resume it."""
        done = len(list(self._records.iterdir()))

        def resume(process: subprocess.Popen[str], started: float) -> None:
            _await(process, lambda: len(list(self._records.iterdir())) > done)
            self.resume_s = time.monotonic() - started
            if not to_end:
                process.send_signal(signal.SIGTERM)

        return run(self._command, resume)

    def fill(self, stop: int) -> None:
        """Copy the first shard's files as those of all shards before `stop` that have none."""
        at = Layout(self.out)
        first = read_commit(at.record(0))
        for shard in range(stop):
            if not at.record(shard).exists():
                os.link(at.part(0), at.part(shard))
                start = shard * SHARD_ROWS
                commit = replace(first, shard=shard, start=start, stop=start + SHARD_ROWS)
                at.record(shard).write_bytes(commit.to_json())


def resumption(rows: int, folder: Path) -> dict[str, float]:
    """Seconds until a run of so many rows goes on, all shards but the last few being there."""
    made = Run(rows, folder)
    made.until(0)
    made.fill(made.last - 3)
    process = made.resumed(to_end=False)
    return {"rows": rows, "resume_s": made.resume_s, "memory_bytes": process.memory_bytes}


def measure(rows: int, folder: Path) -> Row:
    """Make a run of so many rows, stopped once."""
    made = Run(rows, folder)
    first, second = made.until(max(made.last - 3, 0)), made.resumed()
    cpu_s, engine_s = first.cpu_s + second.cpu_s, first.engine_s + second.engine_s
    return Row(
        rows=rows,
        wall_s=first.wall_s + second.wall_s,
        cpu_s=cpu_s,
        engine_s=engine_s,
        overhead_ms=1000 * (cpu_s - engine_s) / rows,
        memory_bytes=max(first.memory_bytes, second.memory_bytes),
        resume_s=made.resume_s,
        finish_s=second.finish_s,
        output_bytes=sum(path.stat().st_size for path in made.out.rglob("*") if path.is_file()),
    )


def _await(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    while process.poll() is None and not reached():
        time.sleep(_POLL_S)
    if process.returncode is not None:
        raise SystemExit(f"it ended by itself with {process.returncode}: {process.communicate()[1]}")


def keep(measured: list[Row], resumption: dict[str, float], output: Path | None) -> None:
    """Write what was measured so far, with the load that others put on the machine."""
    report = {
        **circumstances(load=round(os.getloadavg()[2], 1)),
        "rows": [asdict(row) for row in measured],
        **({"resumption": resumption} if resumption else {}),
    }
    write(report, output, "scale-cpu")


def main() -> None:
    """Measure every size, print the table, keep the JSON."""
    parser = command_line(__doc__)
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--resume", type=int, metavar="ROWS", help="measure the resumption of so many rows, too")
    parser.add_argument("--folder", type=Path, help="where to make the runs, 4 KB a row; default: a temporary one")
    options = parser.parse_args()
    measured = []
    print("| rows | wall | CPU | overhead a row | memory | resume | finish | output |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix=f"scale-{rows}-", dir=options.folder) as folder:
            row = measure(rows, Path(folder))
        measured.append(row)
        print(
            f"| {row.rows:,} | {row.wall_s:,.1f} s | {row.cpu_s:,.1f} s | {row.overhead_ms:.2f} ms "
            f"| {row.memory_bytes / 2**20:,.0f} MiB | {row.resume_s:.1f} s | {row.finish_s:.1f} s "
            f"| {row.output_bytes / 1e6:,.0f} MB |",
            flush=True,
        )
        keep(measured, {}, options.output)
    if options.resume:
        with tempfile.TemporaryDirectory(prefix="scale-resume-", dir=options.folder) as folder:
            found = resumption(options.resume, Path(folder))
        print(f"{found['rows']:,} rows are resumed after {found['resume_s']:.1f} s")
        keep(measured, found, options.output)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
