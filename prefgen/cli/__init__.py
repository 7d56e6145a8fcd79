"""The command line. Nothing heavy is imported before a command runs, so that `prefgen --help` is fast."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import prefgen
from prefgen import pipes
from prefgen.addresses import redact
from prefgen.cli.commands import Commands
from prefgen.errors import PackageMissing, PrefgenError, Stopped

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="""Build preference datasets for multimodal LLMs: SFT data in, Parquet shards for trainers out.
    [bold]Example:[/bold] prefgen bdhs --input llava.json --model llava-hf/llava-v1.6-vicuna-7b-hf --output out
    """,
    epilog="Exit: 0 done, 1 bug, 2 use, 3 drops, 4 budget, 5 offline, 6 drift, 7 lock, 8 disk, 9 judge, 75/130",
)


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
            from prefgen.console import plain  # with rich, which a command that ends well may do without

            prefix = "" if isinstance(error, Stopped) else "error: "  # nothing went wrong
            typer.echo(f"{prefix}{plain(redact(str(error)))}", err=True)
            sys.exit(int(error.exit_code))
