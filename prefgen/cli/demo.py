"""`prefgen demo`: BDHS on the model and rows that are part of the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.addresses import on_disk
from prefgen.cli import options as o
from prefgen.cli.params import command, only
from prefgen.options import option


@dataclass(frozen=True)
class DemoOptions:
    """Rows and folder of the demonstration."""

    output: Path = option(
        Path("prefgen-demo"), "--output", "-o", help="Folder of the run.", panel=None, callback=on_disk
    )
    limit: int | None = option(None, help="Use the first N of 1,445 rows.", panel=None)


@command
def demo(ctx: typer.Context, options: DemoOptions, printing: Annotated[o.RunOptions, only("quiet")]) -> None:
    """Make pairs on a small LLaVA and rows that come with prefgen.

    Example: prefgen demo
    """
    from prefgen.console import Console
    from prefgen.demo import FOLDER

    output, quiet = options.output, printing.quiet
    console = Console(stderr=True, quiet=quiet)
    words = [
        "--input",
        FOLDER / "llava_instruct.json",
        "--model",
        FOLDER / "model",
        "--similarity-model",
        "minilm",
        "--rho",
        "0.95",
    ]
    words += ["--output", output, *(["--limit", options.limit] if options.limit is not None else [])]
    words += ["--quiet"] if quiet else []
    console.print(f"prefgen bdhs {' '.join(map(str, words))}\n", markup=False, highlight=False, soft_wrap=True)
    group: Any = ctx.find_root().command
    group.get_command(ctx, "bdhs").main(list(map(str, words)), prog_name="prefgen bdhs", standalone_mode=False)
    console.print(
        f"\nLook at the pairs:       prefgen view {output}      (or open {output}/preview.html)\n"
        f"What could be learned:   prefgen lint {output}\n"
        f"Train on them:           prefgen train dpo {output} --model {FOLDER / 'model'} --output aligned",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
