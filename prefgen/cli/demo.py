"""`prefgen demo`: BDHS on the model and rows that are part of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.cli import options as o
from prefgen.cli.options import on_disk


def demo(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.", callback=on_disk)] = Path(
        "prefgen-demo"
    ),
    limit: Annotated[int | None, typer.Option("--limit", help="Use the first N of 1,440 rows.")] = None,
    quiet: o.Quiet = False,
) -> None:
    """Make pairs on a small LLaVA and rows that come with prefgen.

    Example: prefgen demo
    """
    from prefgen.console import Console
    from prefgen.demo import FOLDER

    console = Console(stderr=True, quiet=quiet)
    command = ["--input", FOLDER / "llava_instruct.json", "--model", FOLDER / "model", "--similarity-model", "minilm"]
    command += ["--output", output, *(["--limit", limit] if limit is not None else []), *(["--quiet"] if quiet else [])]
    console.print(f"prefgen bdhs {' '.join(map(str, command))}\n", markup=False, highlight=False, soft_wrap=True)
    group: Any = ctx.find_root().command
    group.get_command(ctx, "bdhs").main(list(map(str, command)), prog_name="prefgen bdhs", standalone_mode=False)
    console.print(
        f"\nLook at the pairs:       prefgen view {output}      (or open {output}/preview.html)\n"
        f"What could be learned:   prefgen lint {output}\n"
        f"Train on them:           prefgen train dpo {output} --model {FOLDER / 'model'} --output aligned",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
