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
    import dataclasses
    import json as json_

    from prefgen.console import Console
    from prefgen.errors import ExitCode, Stopped
    from prefgen.formats import exporting
    from prefgen.rundir.reader import Stored

    stored = Stored(run)
    planned = exporting.plan(stored, to)
    console = Console(stderr=True)
    for reason, count in planned.left_out.items():
        console.print(f"left out, {reason}: {count:,} rows that {to} has no place for", highlight=False)
    try:
        exported = planned if dry_run else exporting.export(stored, to, output)
    except KeyboardInterrupt:
        said = "interrupted; nothing was written, and the same command starts again"
        raise Stopped(said, ExitCode.INTERRUPTED) from None
    if json:
        Console().print_json(json_.dumps(dataclasses.asdict(exported)))
        return
    if exported.already:
        console.print(f"{output} is finished already; nothing to do", highlight=False, markup=False, soft_wrap=True)
    where = f"would be in {output}" if dry_run else f"in {output}"
    Console().print(f"{exported.rows:,} rows {where}", highlight=False, markup=False)


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
    import dataclasses
    import json as json_

    from prefgen.card import readme
    from prefgen.console import Console
    from prefgen.errors import UsageError
    from prefgen.formats import checking

    found = checking.check(src, trainer, processor, max_length, rows or None)
    data, console = Console(), Console(stderr=True)
    if readme.without_configs(src) is not None:
        console.print(
            f"{src}/README.md has a `configs` block, with which load_dataset may return the rows of an older run "
            f"of the name {src.resolve().name!r} from its cache: remove the block, or run prefgen finalize {src}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if found.loader:
        given = min(found.rows, found.loaded or found.rows)
        console.print(
            f"{trainer} {found.loader} is installed: its own loader was given {given:,} of {found.rows:,} rows"
        )
    else:
        console.print(f"{trainer} is not installed here: only prefgen's own rules for it were applied")
    if json:
        data.print_json(json_.dumps(dataclasses.asdict(found)))
    for problem in () if json else found.problems:
        data.print(f"{problem.row}: {problem.detail}", style="red", markup=False, highlight=False, soft_wrap=True)
    if found.problems:
        broken = len({problem.row for problem in found.problems})
        raise UsageError(f"{trainer} would break on, or cut, {broken:,} of {found.rows:,} rows of {src}")
    if not json:
        data.print(f"{src}: {found.rows:,} rows, none of which {trainer} would break on", markup=False, highlight=False)
