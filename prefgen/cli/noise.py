"""`prefgen noise`: a contact sheet of a picture under noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prefgen.addresses import on_disk
from prefgen.cli.params import command
from prefgen.options import check, option
from prefgen.visibility import Schedule


@dataclass(frozen=True)
class NoiseOptions:
    """The noise, and the file for its contact sheet."""

    output: Path = option(Path("noise.png"), "--output", "-o", help="PNG to write.", panel=None, callback=on_disk)
    schedule: Schedule = option("paper", help="Noise schedule", panel=None)
    seed: int = option(0, help="Seeds the noise.", panel=None)

    def __post_init__(self) -> None:
        check(self)


@command
def noise(image: Annotated[Path, typer.Argument(help="A picture.")], options: NoiseOptions) -> None:
    """Draw a picture under noise of all strengths and kinds.

    N = 0 … 1000 steps in every noise space. Each is what the vision encoder receives, with its correlation to the clean
    input: over pixels, and over 14 x 14 patches.

    Example: prefgen noise photo.jpg -o noise.png
    """
    from prefgen import durable, images
    from prefgen.errors import RowError, UsageError
    from prefgen.records import ImageRef
    from prefgen.view import noise as noise_

    durable.refuse_foreign(options.output, noise_.MARK)
    try:
        loaded = images.load(ImageRef(path=image.name, data=image.read_bytes()), images.ImageRoot(()))
    except (OSError, RowError) as error:
        raise UsageError(f"{image} cannot be used: {error}") from error
    cells = noise_.measure_all(images.decode(loaded), options.seed, options.schedule)
    durable.put(options.output, noise_.png(cells))
    typer.echo(f"{options.output}: {len(noise_.STEPS)} steps in {len(cells) // len(noise_.STEPS)} noise spaces")
