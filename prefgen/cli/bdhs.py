"""`prefgen bdhs`."""

from __future__ import annotations

import typer

from prefgen.cli import options as o
from prefgen.cli.params import command
from prefgen.methods.bdhs import BDHS
from prefgen.sources import SourceOptions


@command
def bdhs(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    source: SourceOptions,
    method: BDHS,
    engine: o.Policy,
    run: o.RunOptions,
    preset: o.Preset = None,
) -> None:
    """Make rejected answers from SFT data alone: BDHS (2407.02477).

    Masks the image, completes the reference answer sentence by sentence, rejects what stays too similar.

    Example: prefgen bdhs -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    from prefgen.cli import terminal

    terminal.make(ctx, method, input, source, engine, output, run)
