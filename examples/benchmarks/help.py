"""How long the help takes, against a bare Typer program with as many commands: python examples/benchmarks/help.py.

Both are started in turn, so that what else the machine does slows both; CPU seconds of the fastest start count.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from prefgen.cli.commands import COMMANDS

LIMITS = {"prefgen --help": 1.3, "prefgen bdhs --help": 1.6}
BARE = '''
import typer
app = typer.Typer(rich_markup_mode="rich", help="A program.")
def make(name):
    def command(value: int = 1) -> None:
        """Do something with a value, as one of several commands."""
    app.command(name)(command)
for name in {names!r}:
    make(name)
app()
'''


def cpu_s(*command: str) -> float:
    """CPU seconds of a program from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=15, help="of each program")
    starts = parser.parse_args().starts
    with TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE.format(names=[*COMMANDS]))
        programs = {
            "bare": (str(bare), "--help"),
            "prefgen --help": ("-m", "prefgen", "--help"),
            "prefgen bdhs --help": ("-m", "prefgen", "bdhs", "--help"),
        }
        taken = {name: min(times) for name, times in _measured(programs, starts).items()}
    for name, limit in LIMITS.items():
        ratio = taken[name] / taken["bare"]
        print(f"{name:20} {taken[name]:.3f} s, {ratio:.2f} x a bare program ({taken['bare']:.3f} s); at most {limit}")


def _measured(programs: dict[str, tuple[str, ...]], starts: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(starts):
        for name, command in programs.items():
            taken[name].append(cpu_s(*command))
    return taken


if __name__ == "__main__":
    main()
