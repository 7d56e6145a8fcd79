"""`prefgen noise`: a contact sheet of a picture under noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli.options import on_disk
from prefgen.visibility import SCHEDULES


def noise(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.", callback=on_disk)] = Path("noise.png"),
    schedule: Annotated[str, typer.Option("--schedule", help=f"Noise schedule: {', '.join(SCHEDULES)}.")] = "paper",
    seed: Annotated[int, typer.Option("--seed", help="Seeds the noise.")] = 0,
) -> None:
    """Draw a picture under noise of all strengths and kinds.

    N = 0 … 1000 steps in every noise space. Each is what the vision encoder receives, with its correlation to the clean
    input: over pixels, and over 14 x 14 patches.

    Example: prefgen noise photo.jpg -o noise.png
    """
    from typing import cast

    from prefgen import durable, images
    from prefgen.errors import RowError, UsageError
    from prefgen.options import check_choice
    from prefgen.records import ImageRef
    from prefgen.view import noise as noise_
    from prefgen.visibility import Schedule

    check_choice("--schedule", schedule, SCHEDULES)
    durable.refuse_foreign(output, noise_.MARK)
    try:
        loaded = images.load(ImageRef(path=image.name, data=image.read_bytes()), images.ImageRoot(()))
    except (OSError, RowError) as error:
        raise UsageError(f"{image} cannot be used: {error}") from error
    cells = noise_.measure_all(images.decode(loaded), seed, cast(Schedule, schedule))
    durable.put(output, noise_.png(cells))
    typer.echo(f"{output}: {len(noise_.STEPS)} steps in {len(cells) // len(noise_.STEPS)} noise spaces")
