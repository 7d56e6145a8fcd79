"""Every measurement that wants a GPU, most valuable first, within a time limit: one JSON file and one table.

    python examples/benchmarks/gpu_day.py --minutes 12

Each entry is another benchmark of this folder, run as its command says, in a process group of its own. One that fails,
or takes several times its estimate, is recorded with the reason and costs no other; one whose estimate exceeds the time
that is left is skipped, and shorter ones after it still run. The JSON file is written anew after each entry.

Where TRL is not installed beside prefgen, `--trl-python` names the Python of an environment that has it; without
either, training is measured against its limit alone. ``--tiny`` runs the same entries at a size for a CPU.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import HERE, circumstances, command_line
from rich.console import Console
from rich.table import Table

PATIENCE = 3.0  # times its estimate, after which an entry is taken to hang
_TAIL = 2000  # characters of a failed entry's output that are kept


@dataclass(frozen=True)
class Entry:
    """One measurement.

    Attributes:
        what: it measures, in words.
        command: that measures it, and writes a JSON file with ``figures`` where its option ``--output`` says.
        estimate_s: seconds that it is assumed to take; one is started only if as many are left.
    """

    name: str
    what: str
    command: tuple[str, ...]
    estimate_s: float


def entries(*, tiny: bool, trl_python: str | None) -> list[Entry]:
    """All measurements, most valuable first.

    The estimates for a GPU are guesses with room to spare: no such day has been measured yet.
    """
    trl = ("--trl-python", trl_python) if trl_python else ()

    def entry(name: str, what: str, script: str, full: str, small: str, estimate_s: float, *more: str) -> Entry:
        command = (sys.executable, str(HERE / script), *(small if tiny else full).split(), *more)
        return Entry(name, what, command, 60.0 if tiny else estimate_s)

    engine = "--model llava-1.6-7b --stock-samples 4 --settings"
    few = "--model tiny --samples 2 --stock-samples 1 --max-tokens 3 --settings"
    return [
        entry(
            "engine-rho",
            "engine and limit, rho = 0.99",
            "bdhs.py",
            f"{engine} rho --samples 200",
            f"{few} rho",
            80,
        ),
        entry(
            "engine-noise",
            "engine and limit, noise",
            "bdhs.py",
            f"{engine} noise --samples 100",
            f"{few} noise",
            120,
        ),
        entry(
            "engine-unguided",
            "engine and limit, unguided",
            "bdhs.py",
            f"{engine} unguided --samples 200",
            f"{few} unguided",
            80,
        ),
        entry(
            "types",
            "proof of every type of model",
            "proofs.py",
            "--dtypes bfloat16 float32",
            "--dtypes bfloat16 float32 --types llava qwen2_vl",
            120,
        ),
        entry(
            "one-gpu-per-worker",
            "model loaded with --gpus-per-worker 1",
            "bdhs.py",
            "--model anyres --samples 200 --stock-samples 8 --settings rho --gpus-per-worker 1",
            f"{few} rho --gpus-per-worker 1",
            60,
        ),
        entry(
            "train-step",
            "DPO step, TRL and limit" if trl else "DPO step and limit; no TRL here",
            "train.py",
            "--model anyres --steps 6 --batch-size 4 --rounds 1",
            "--model tiny --steps 2 --rounds 1",
            90,
            *trl,
        ),
        entry(
            "rloo-step",
            "RLOO step, TRL and limit" if trl else "RLOO step and limit; no TRL here",
            "rloo.py",
            "--model anyres --steps 4 --rounds 1",
            "--model tiny --steps 2 --rounds 1 --answers 2 --tokens 4",
            80,
            *trl,
        ),
        entry(
            "online",
            "answers made in training and by the engine",
            "online.py",
            "--model anyres --steps 5 --batch-size 16",
            "--model tiny --steps 2 --batch-size 2",
            60,
        ),
    ]


def run(day: Sequence[Entry], seconds: float, output: Path) -> list[dict[str, Any]]:
    """Run what fits, in this order; the results so far are in `output` after each entry."""
    deadline = time.monotonic() + seconds
    results: list[dict[str, Any]] = []
    for entry in day:
        left = deadline - time.monotonic()
        if entry.estimate_s > left:
            why = f"it is estimated to take {entry.estimate_s:.0f} s, and {max(0.0, left):.0f} s were left"
            result = _result(entry, "skipped", why=why)
        else:
            result = measured(entry, min(left, PATIENCE * entry.estimate_s))
        results.append(result)
        partial = output.with_suffix(".part")
        partial.write_text(json.dumps({**circumstances(), "seconds": seconds, "entries": results}, indent=2) + "\n")
        partial.replace(output)
    return results


def measured(entry: Entry, limit_s: float) -> dict[str, Any]:
    """The result of one entry, whatever becomes of its process.

    What it wrote before it failed or was ended is kept: some benchmarks write after each round.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder) / "report.json", Path(folder) / "log"
        with log.open("wb") as told:
            command = [*entry.command, "--output", str(report)]
            process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                code: int | None = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
        seconds = time.monotonic() - started
        try:
            found = json.loads(report.read_text())
        except (OSError, ValueError):
            found = {}
        tail = log.read_text(errors="replace")[-_TAIL:]
    if code is None:
        return _result(entry, "timed out", found, seconds, f"it was ended after {limit_s:.0f} s:\n{tail}")
    if code or not found:
        return _result(entry, "failed", found, seconds, f"exit code {code}:\n{tail}")
    return _result(entry, "done", found, seconds)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started: what is left of them would hold the GPU's memory."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _result(
    entry: Entry, status: str, report: dict[str, Any] | None = None, seconds: float = 0.0, why: str = ""
) -> dict[str, Any]:
    """Record of an entry."""
    report = report or {}
    return {
        "name": entry.name,
        "what": entry.what,
        "status": status,
        "why": why,
        "command": shlex.join(["python", *entry.command[1:]]),
        "estimate_s": entry.estimate_s,
        "seconds": round(seconds, 1),
        "figures": report.get("figures", {}),
        "report": report,
    }


def table(results: list[dict[str, Any]]) -> Table:
    """A line for each entry."""
    made = Table("entry", "what", "status", "s", "figures")
    for result in results:
        figures = [f"{name} {value}" for name, value in result["figures"].items()]
        reason = result["why"].strip().splitlines()
        lines = figures + ([reason[0], *reason[1:][-1:]] if reason else [])
        made.add_row(result["name"], result["what"], result["status"], f"{result['seconds']:.0f}", "\n".join(lines))
    return made


def main() -> None:
    """Run the day; exit code 1 if an entry failed or timed out."""
    parser = command_line(__doc__)
    parser.add_argument("--minutes", type=float, default=12.0, help="time limit of the whole")
    parser.add_argument("--tiny", action="store_true", help="a size for a CPU, to see that everything runs")
    parser.add_argument("--only", nargs="+", metavar="ENTRY", help="run these entries alone")
    parser.add_argument("--trl-python", help="of an environment with TRL and PEFT; default: this one, if it has both")
    arguments = parser.parse_args()

    if not arguments.tiny:
        import torch  # not needed otherwise: no model is loaded here

        if not torch.cuda.is_available():
            parser.error("there is no GPU here; --tiny runs the entries at a size for a CPU")
    has_trl = all(importlib.util.find_spec(package) for package in ("trl", "peft"))
    trl_python = arguments.trl_python or (sys.executable if has_trl else None)
    day = entries(tiny=arguments.tiny, trl_python=trl_python)
    if unknown := set(arguments.only or ()) - {entry.name for entry in day}:
        parser.error(f"--only {' '.join(sorted(unknown))}: entries are {', '.join(entry.name for entry in day)}")
    chosen = [entry for entry in day if not arguments.only or entry.name in arguments.only]
    output = arguments.output or HERE / "results" / f"gpu-day{'-tiny' if arguments.tiny else ''}.json"
    results = run(chosen, 60 * arguments.minutes, output)
    Console(width=160).print(table(results))
    sys.exit(any(result["status"] in ("failed", "timed out") for result in results))


if __name__ == "__main__":
    main()
