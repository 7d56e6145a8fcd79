"""`prefgen bdhs`."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.cli.params import command
from prefgen.methods.bdhs import BDHS
from prefgen.options import option
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class PresetOption:
    """A row of the paper's tables, whose values become the defaults."""

    preset: str | None = option(
        None, help="A row of the paper: prefgen presets.", callback=config.preset_callback, is_eager=True
    )


@command
def bdhs(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: BDHS,
    engine: o.Policy,
    run: o.RunOptions,
    preset: PresetOption,
) -> None:
    """Make rejected answers from SFT data alone: BDHS (2407.02477).

    Masks the image, completes the reference answer sentence by sentence, rejects what stays too similar.

    Example: prefgen bdhs -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    from prefgen.cli import terminal

    terminal.make(ctx, method, files, source, engine, run)
