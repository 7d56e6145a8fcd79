"""`prefgen baseline`: pairs by a simple method, with the options of all methods in `BASELINES`."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command
from prefgen.errors import UsageError
from prefgen.methods import BASELINES
from prefgen.methods.base import Method
from prefgen.sources import SourceOptions

if TYPE_CHECKING:
    Baseline = Method
else:
    Baseline = functools.reduce(operator.or_, BASELINES.values())


@command
def baseline(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help=f"One of {', '.join(BASELINES)}.")],
    files: o.InputOutput,
    source: SourceOptions,
    settings: Draft[Baseline],
    engine: o.Policy,
    run: o.RunOptions,
) -> None:
    """Make rejected answers by a simpler method, for comparison.

    dropout-ntp writes the second half of the answer without the image, blind the whole of it; weakened answers a noised
    image, contrastive does so away from what the clean one shows; append adds an imagined sentence. The defaults of a
    method's options are in its file in prefgen/methods.

    Example: prefgen baseline blind -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    if method not in BASELINES:
        raise UsageError(f"method {method!r} is unknown; choose from {', '.join(BASELINES)}")
    from prefgen.cli import terminal

    made = settings.make(BASELINES[method], method)
    terminal.make(ctx, made, files, source, engine, run)
