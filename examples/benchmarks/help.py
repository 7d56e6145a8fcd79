"""CPU time of the help against bare Typer programs: python examples/benchmarks/help.py.

The bare programs have as many commands as `prefgen` and as many options as `prefgen bdhs`. Bytecode is kept between the
starts, as it is of an installed program.

All are started in turn, so that what else the machine does slows all of them; CPU seconds of the fastest start count.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from prefgen.cli.commands import COMMANDS, load

LIMITS = {"prefgen --help": ("bare", 1.3), "prefgen bdhs --help": ("bare options", 1.6)}
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
BARE_OPTIONS = '''
import typer
from inspect import Parameter, Signature
app = typer.Typer(rich_markup_mode="rich")
def command(**values) -> None:
    """Do something with the values, as one of several commands."""
def option(name, panel):
    said = typer.Option(f"--{{name}}", help="What the value is for, in one line of words.", rich_help_panel=panel)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=said, annotation=int)
options = [option(f"value_{{n}}", f"Panel {{n // 12}}") for n in range({options})]
command.__signature__ = Signature(options)
command.__annotations__ = {{name: int for name in command.__signature__.parameters}}
app.command("command")(command)
app()
'''


def cpu_s(folder: str, *command: str) -> float:
    """CPU seconds of a program from its start to its end, its bytecode kept in a folder."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env=environment)
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
        options = Path(folder) / "options.py"
        options.write_text(BARE_OPTIONS.format(options=len(load("bdhs").params)))
        programs = {
            "bare": (str(bare), "--help"),
            "bare options": (str(options), "--help"),
            "prefgen --help": ("-m", "prefgen", "--help"),
            "prefgen bdhs --help": ("-m", "prefgen", "bdhs", "--help"),
        }
        taken = {name: min(times) for name, times in _measured(folder, programs, starts).items()}
    for name, (bare_name, limit) in LIMITS.items():
        ratio = taken[name] / taken[bare_name]
        print(f"{name:20} {taken[name]:.3f} s, {ratio:.2f} x {bare_name} ({taken[bare_name]:.3f} s); at most {limit}")


def _measured(folder: str, programs: dict[str, tuple[str, ...]], starts: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(starts):
        for name, command in programs.items():
            taken[name].append(cpu_s(folder, *command))
    return taken


if __name__ == "__main__":
    main()
