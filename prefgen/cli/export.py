"""`prefgen export` and `prefgen check`: runs in trainers' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli.options import on_disk
from prefgen.cli.select import Run

LOADED_ROWS = 1000
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def export(
    run: Run,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="trl, llamafactory, ms-swift, llava (POVID's), mmpr, openai, unpaired (KTO), jsonl or argilla.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder to write.", callback=on_disk)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be written and left out, then stop.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a run in the format of a trainer.

    The shards themselves load in TRL, ms-swift and LLaMA-Factory as well. `prefgen formats` shows what is written.

    Example: prefgen export out --to ms-swift --output out-swift
    """
    from prefgen.cli import transfer

    transfer.run_export(run, to, output, dry_run=dry_run, json=json)


def check(
    src: Annotated[Path, typer.Argument(help="A run, an exported folder, or a file.", metavar="SRC")],
    trainer: Annotated[str, typer.Option("--with", help="trl, llamafactory or ms-swift.")],
    processor: Annotated[
        str | None, typer.Option("--processor", help="Model whose processor counts tokens: folder or Hub id.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", min=1, help="Limit for them; default: the trainer's own.")
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=0, help="Rows that an installed trainer's own loader is given; 0: all.")
    ] = LOADED_ROWS,
    json: Json = False,
) -> None:
    """Check which rows would fail in a trainer.

    Applies its loader's own rules to the data as it would find them, and with --processor also a length limit. If the
    trainer is installed, its own loader is run as well.

    Example: prefgen check out --with trl --processor llava-hf/llava-1.5-7b-hf --max-length 2048
    """
    from prefgen.cli import transfer

    transfer.run_check(src, trainer, processor, max_length, rows or None, json=json)
