"""`prefgen povid`: POVID-style distortion."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, without
from prefgen.engines.base import EngineConfig
from prefgen.methods.base import Method
from prefgen.methods.image_pairs import ImagePairs
from prefgen.methods.povid import Povid
from prefgen.options import check_choice
from prefgen.sources import SourceOptions
from prefgen.visibility import NoiseSpace

PAIRS = ("text", "image")
_NOISED = "What is noised; image pairs: pixels, clamped by default"
_Engine = Annotated[
    EngineConfig,
    without(
        *("also", "annotator", "annotator_revision"),
        model={"required": False, "help": "The policy: folder or Hub id. Image pairs need none."},
    ),
]


@command
def povid(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    source: SourceOptions,
    method: Annotated[
        Draft[Povid | ImagePairs], without(noise_space={"help": _NOISED, "choices": get_args(NoiseSpace)})
    ],
    engine: _Engine,
    run: o.RunOptions,
    pairs: Annotated[
        str, o.method("--pairs", help="What is rejected: another answer, or a distorted image", choices=PAIRS)
    ] = "text",
) -> None:
    """Make rejected answers by teacher forcing on a noised image.

    Predicts every token of the reference anew, each after the reference before it, in one forward pass. With --pairs
    image the answer stays and a distorted image is rejected.

    Example: prefgen povid -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    check_choice("--pairs", pairs, PAIRS)
    from prefgen.cli import terminal

    kind: type[Method] = Povid if pairs == "text" else ImagePairs
    made = method.make(kind, f"--pairs {pairs}")
    terminal.make(ctx, made, input, source, engine, output, run)
