"""`prefgen povid`: POVID-style distortion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, without
from prefgen.engines.base import EngineConfig
from prefgen.methods.base import Method
from prefgen.methods.image_pairs import ImagePairs
from prefgen.methods.povid import Povid
from prefgen.options import check, option
from prefgen.sources import SourceOptions
from prefgen.visibility import NoiseSpace

_NOISED = "What is noised; image pairs: pixels, clamped by default"
_Engine = Annotated[
    EngineConfig,
    without(
        *("also", "annotator", "annotator_revision"),
        model={"required": False, "help": "The policy: folder or Hub id. Image pairs need none."},
    ),
]


@dataclass(frozen=True)
class PovidOptions:
    """Form of the pairs."""

    pairs: Literal["text", "image"] = option("text", help="What is rejected: another answer, or a distorted image")

    def __post_init__(self) -> None:
        check(self)


@command
def povid(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Annotated[
        Draft[Povid | ImagePairs], without(noise_space={"help": _NOISED, "choices": get_args(NoiseSpace)})
    ],
    engine: _Engine,
    run: o.RunOptions,
    options: PovidOptions,
) -> None:
    """Make rejected answers by teacher forcing on a noised image.

    Predicts every token of the reference anew, each after the reference before it, in one forward pass. With --pairs
    image the answer stays and a distorted image is rejected.

    Example: prefgen povid -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    from prefgen.cli import terminal

    kind: type[Method] = Povid if options.pairs == "text" else ImagePairs
    made = method.make(kind, f"--pairs {options.pairs}")
    terminal.make(ctx, made, files, source, engine, run)
