"""The command line: `prefgen --help` must answer at once, so nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

import prefgen
from prefgen.addresses import redact
from prefgen.cli import pipes
from prefgen.cli.baseline import baseline
from prefgen.cli.bdhs import bdhs
from prefgen.cli.compare import compare
from prefgen.cli.console import plain
from prefgen.cli.corrupt import corrupt, prompts
from prefgen.cli.damage import Command
from prefgen.cli.demo import demo
from prefgen.cli.doctor import doctor
from prefgen.cli.eval import evaluations
from prefgen.cli.export import check, export
from prefgen.cli.formats import formats
from prefgen.cli.import_ import import_
from prefgen.cli.lint import lint
from prefgen.cli.noise import noise
from prefgen.cli.plan import plan
from prefgen.cli.povid import povid
from prefgen.cli.push import push
from prefgen.cli.rank import judge, rank
from prefgen.cli.select import COMMANDS
from prefgen.cli.train import train
from prefgen.cli.tune import tune
from prefgen.cli.view import view
from prefgen.errors import PackageMissing, PrefgenError

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _App(typer.Typer):
    """The commands, each a `prefgen.cli.damage.Command`."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[_Function], _Function]:
        """Register a function as a command."""
        return super().command(name, cls=Command, **settings)


app = _App(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="""Build preference datasets for multimodal LLMs: SFT data in, Parquet shards for trainers out.
    [bold]Example:[/bold] prefgen bdhs --input llava.json --model llava-hf/llava-v1.6-vicuna-7b-hf --output out
    """,
    epilog="Exit: 0 done, 1 bug, 2 use, 3 drops, 4 budget, 5 offline, 6 drift, 7 lock, 8 disk, 9 judge, 75/130",
)
app.command("demo")(demo)
app.command("bdhs")(bdhs)
app.command("povid")(povid)
app.command("baseline")(baseline)
app.command("corrupt")(corrupt)
app.command("rank")(rank)
app.command("plan")(plan)
app.command("tune")(tune)
app.command("import")(import_)
for name, command in COMMANDS.items():
    app.command(name)(command)
app.command("export")(export)
app.command("formats")(formats)
app.command("check")(check)
app.command("lint")(lint)
app.command("compare")(compare)
app.command("view")(view)
app.command("judge")(judge)
app.command("train")(train)
app.add_typer(evaluations, name="eval")
app.command("push")(push)
app.command("doctor")(doctor)
app.command("noise")(noise)
app.add_typer(prompts, name="prompts")


@app.command("presets", hidden=True)  # what --preset refers to: the list of commands is to fit one screen
def presets() -> None:
    """List what `--preset` takes: rows of the paper's tables."""
    from prefgen.cli import session

    session.print_presets()


@app.command("verify")
def verify(
    out: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Check a run: every file, every row, every count."""
    from prefgen.cli import session

    session.verify(out, json=json)


@app.command("finalize")
def finalize(
    out: Annotated[Path, typer.Argument(help="Folder of a run whose shards are all there.")],
    json: Annotated[bool, typer.Option("--json", help="Print the final figures as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the final figures.")] = False,
) -> None:
    """Make the data set of a run that several processes filled."""
    from prefgen.cli import session

    session.finalize_run(out, json=json, quiet=quiet)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"prefgen {prefgen.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.", hidden=True)] = False,
) -> None:
    if debug:
        os.environ["PREFGEN_DEBUG"] = "1"


# Packages that a data-only environment is without, and what installs them: modules, then what pip is to install.
_INSTALLED_BY = {
    "prefgen": ("torch", "transformers", "sentence_transformers", "datasets", "openai", "sklearn", "huggingface_hub"),
    "'prefgen[train]'": ("peft", "accelerate"),
    "'prefgen[qlora]'": ("bitsandbytes",),
    "'prefgen[ray]'": ("ray",),
    "'prefgen[vllm]'": ("vllm",),
}


def _run() -> None:
    """Run the command line.

    Raises:
        PackageMissing: if a package is not installed that the command needs.
    """
    try:
        app()
    except ModuleNotFoundError as error:
        module = (error.name or "").split(".")[0]
        for requirement, modules in _INSTALLED_BY.items():
            if module in modules:
                raise PackageMissing(
                    f"this command needs the package {module.replace('_', '-')}: pip install {requirement}"
                ) from error
        raise


def main() -> None:
    """Run the command line; errors become a message and a documented exit code."""
    with pipes.unread():
        try:
            _run()
        except PrefgenError as error:
            if os.environ.get("PREFGEN_DEBUG"):
                raise
            typer.echo(f"error: {plain(redact(str(error)))}", err=True)
            sys.exit(int(error.exit_code))
