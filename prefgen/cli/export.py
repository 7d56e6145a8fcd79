"""`prefgen export` and `prefgen check`: runs in trainers' formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prefgen.addresses import on_disk
from prefgen.cli import options as o
from prefgen.cli.params import command
from prefgen.cli.select import Run
from prefgen.options import check as check_ranges
from prefgen.options import option

_TRAINERS = "trl, llamafactory, ms-swift, llava (POVID's), mmpr, openai, unpaired (KTO), jsonl or argilla."
Printed = Annotated[o.RunOptions, o.as_json("the result")]


@dataclass(frozen=True)
class ExportOptions:
    """Format and place of an export."""

    to: str = option("", help=_TRAINERS, panel=None, required=True)
    output: Path = option(
        Path(), "--output", "-o", help="New folder to write.", panel=None, required=True, callback=on_disk
    )
    dry_run: bool = option(False, help="Count what would be written and left out, then stop.", panel=None)


@command
def export(run: Run, options: ExportOptions, printing: Printed) -> None:
    """Write a run in the format of a trainer.

    The shards themselves load in TRL, ms-swift and LLaMA-Factory as well. `prefgen formats` shows what is written.

    Example: prefgen export out --to ms-swift --output out-swift
    """
    import dataclasses

    from prefgen.console import Console
    from prefgen.errors import ExitCode, Stopped
    from prefgen.formats import exporting
    from prefgen.rundir.reader import Stored

    stored, output = Stored(run), options.output
    planned = exporting.plan(stored, options.to)
    console = Console(stderr=True)
    for reason, count in planned.left_out.items():
        console.print(f"left out, {reason}: {count:,} rows that {options.to} has no place for", highlight=False)
    try:
        exported = planned if options.dry_run else exporting.export(stored, options.to, output)
    except KeyboardInterrupt:
        said = "interrupted; nothing was written, and the same command starts again"
        raise Stopped(said, ExitCode.INTERRUPTED) from None
    if printing.json:
        Console().print_json(data=dataclasses.asdict(exported))
        return
    if exported.already:
        console.print(f"{output} is finished already; nothing to do", highlight=False, markup=False, soft_wrap=True)
    where = f"would be in {output}" if options.dry_run else f"in {output}"
    Console().print(f"{exported.rows:,} rows {where}", highlight=False, markup=False)


@dataclass(frozen=True)
class CheckOptions:
    """Trainer, and the limits that it is checked for."""

    trainer: str = option("", "--with", help="trl, llamafactory or ms-swift.", panel=None, required=True)
    processor: str | None = option(None, help="Model whose processor counts tokens: folder or Hub id.", panel=None)
    max_length: int | None = option(None, help="Limit for them; default: the trainer's own.", panel=None, low=1)
    rows: int = option(1000, help="Rows that an installed trainer's own loader is given; 0: all.", panel=None, low=0)

    def __post_init__(self) -> None:
        check_ranges(self)


@command
def check(
    src: Annotated[Path, typer.Argument(help="A run, an exported folder, or a file.", metavar="SRC")],
    options: CheckOptions,
    printing: Printed,
) -> None:
    """Check which rows would fail in a trainer.

    Applies its loader's own rules to the data as it would find them, and with --processor also a length limit. If the
    trainer is installed, its own loader is run as well.

    Example: prefgen check out --with trl --processor llava-hf/llava-1.5-7b-hf --max-length 2048
    """
    import dataclasses

    from prefgen.card import readme
    from prefgen.console import Console
    from prefgen.errors import UsageError
    from prefgen.formats import checking

    trainer = options.trainer
    found = checking.check(src, trainer, options.processor, options.max_length, options.rows or None)
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
    if printing.json:
        data.print_json(data=dataclasses.asdict(found))
    for problem in () if printing.json else found.problems:
        data.print(f"{problem.row}: {problem.detail}", style="red", markup=False, highlight=False, soft_wrap=True)
    if found.problems:
        broken = len({problem.row for problem in found.problems})
        raise UsageError(f"{trainer} would break on, or cut, {broken:,} of {found.rows:,} rows of {src}")
    if not printing.json:
        data.print(f"{src}: {found.rows:,} rows, none of which {trainer} would break on", markup=False, highlight=False)
