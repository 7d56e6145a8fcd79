"""`prefgen corrupt` and `prefgen prompts`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods import prompts as prompts_
from prefgen.methods.corrupt import Corrupt
from prefgen.sources import SourceOptions


@command
def corrupt(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Draft[Corrupt],
    judge: JudgeConfig,
    engine: Annotated[EngineConfig, only("similarity_model", "device")],
    run: o.RunOptions,
    prompt: o.Prompt,
) -> None:
    """Let a language model make hallucinations of the chosen answers (section 5.3).

    Replies are paid once: they are kept before they are used, whatever dies afterwards.

    Example: prefgen corrupt -i examples/scenes/llava_instruct.json -o out --judge gpt4 --max-cost 5
    """
    from prefgen.cli import terminal

    name = "corrupt" if method.value("reply") == "json" else "corrupt-text"
    made = method.make(prompt=prompt.load(name))
    terminal.make(ctx, made, files, source, engine, run, judge)


prompts = typer.Typer(help="The prompts that chat models are given: list or export them.", no_args_is_help=True)


@prompts.command("list")
def list_() -> None:
    """List the prompts that are part of prefgen."""
    for name in prompts_.NAMES:
        typer.echo(str(prompts_.load(name)))


@prompts.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write them; files that are there are kept.", metavar="DIR")],
) -> None:
    """Write the prompts to files, to edit them and pass them to --prompt."""
    from prefgen import durable

    with durable.environment(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name in prompts_.NAMES:
        path = folder / f"{name}.txt"
        if path.exists():
            typer.echo(f"{path} is there already", err=True)
        else:
            durable.put(path, prompts_.load(name).text.encode())
            typer.echo(path)
