"""`prefgen doctor`: checks of the installation and of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from prefgen.addresses import on_disk
from prefgen.cli import options as o
from prefgen.cli.params import command, only
from prefgen.engines.base import EngineConfig
from prefgen.errors import EnvironmentFault, UsageError
from prefgen.methods import base
from prefgen.options import option

_SIZE = "640x480"


@dataclass(frozen=True)
class DoctorOptions:
    """Picture, masking and folder that the checks are made for."""

    image_size: str = option(_SIZE, help="Size of a typical image.", panel=None, metavar="WxH")
    rho: float = base.rho(0.99)
    output: Path = option(Path(), "--output", "-o", help="Folder that a run would write.", panel=None, callback=on_disk)


@command
def doctor(
    ctx: typer.Context,
    config: Annotated[
        EngineConfig, only("device", "dtype", "revision", "base_model", "chat_template", "trust_remote_code")
    ],
    options: DoctorOptions,
    printing: Annotated[o.RunOptions, o.as_json("the findings")],
    model: Annotated[str | None, typer.Argument(help="Folder or Hub id of a model to look at as well.")] = None,
) -> None:
    """Check the installation, and whether a model works.

    Example: prefgen doctor llava-hf/llava-v1.6-vicuna-7b-hf --image-size 1024x768
    """
    from prefgen.console import Console
    from prefgen.doctor import environment, render
    from prefgen.engines import build

    width, height = _parse(options.image_size)
    config = replace(config, model=model or "")
    here = environment.findings(options.output)
    of_model = []
    if model and not any(finding.level == "broken" and finding.about == "torchvision" for finding in here):
        from prefgen.doctor import model as model_
        from prefgen.requests import Generate

        build.hush(config, (Generate,))
        of_model = model_.findings(config, width, height, options.rho)
    if printing.json:
        typer.echo(render.to_json([*here, *of_model]))
    else:
        Console().print(render.render([*here, *of_model]), highlight=False)
    if broken := [finding.about for finding in of_model if finding.level == "broken"]:
        raise UsageError(f"{model} will not work like this: {', '.join(broken)}")
    if broken := [finding.about for finding in here if finding.level == "broken"]:
        raise EnvironmentFault(f"not in order: {', '.join(broken)}")


def _parse(size: str) -> tuple[int, int]:
    """Parse width and height.

    Raises:
        UsageError: if it is no size.
    """
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"--image-size {size!r} is no size; write it like {_SIZE}")
    return int(width), int(height)
