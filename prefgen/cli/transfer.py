"""Imports, selections, exports and checks on the command line. Messages go to stderr, data to stdout."""

from __future__ import annotations

import dataclasses
import json as json_
from pathlib import Path

from prefgen import select, sources
from prefgen.addresses import redact
from prefgen.card import readme
from prefgen.cli.ending import Manner, finalize, finish, stoppable
from prefgen.console import Console
from prefgen.errors import ExitCode, Stopped, UsageError
from prefgen.formats import checking, exporting
from prefgen.rundir.layout import Layout, Plan
from prefgen.rundir.reader import Stored
from prefgen.rundir.shards import RunDirectory
from prefgen.runner import import_job as importing
from prefgen.runner import import_plan
from prefgen.runner.import_job import ImportJob
from prefgen.runner.reporter import Progress
from prefgen.select import SelectJob
from prefgen.sources.fetch import fetch


def run_import(job: ImportJob, manner: Manner) -> None:
    """Import a set into a run directory, or resume that.

    Raises:
        UsageError: if none of its images is there.
        TooManyDropped: if more rows were dropped than allowed, or there is no pair.
        Stopped: by a signal.
    """
    talk = Console(stderr=True, quiet=manner.quiet)
    with stoppable(job.output):
        rows = _planned_rows(job, talk, with_pair=manner.dry_run)
        if manner.dry_run:
            return
        planned = Plan(rows, job.shard_size, job.fingerprint(), job.config)
        with RunDirectory.open(job.output, planned) as directory:
            pending = sum(len(planned.shards[shard]) for shard in directory.pending())
            with Progress(rows, rows - pending, talk) as progress:
                importing.work(job, directory, fetch if job.source.allow_urls else None, progress.advance)
            finalize(directory, manner)
    finish(job.output, manner, talk)


def run_selection(job: SelectJob, manner: Manner) -> None:
    """Write a selection of rows as a run, or resume that.

    Raises:
        UsageError: if nothing was selected.
        Stopped: by a signal.
    """
    talk = Console(stderr=True, quiet=manner.quiet)
    for reason, count in job.selection.left_out.items():
        talk.print(f"left out, {reason}: {count:,} rows", highlight=False)
    with stoppable(job.output):
        select.write(job, lambda directory: finalize(directory, manner))
    finish(job.output, manner, talk)


def run_export(run: Path, to: str, output: Path, *, dry_run: bool, json: bool) -> None:
    """Print which rows the format cannot hold, then export the others.

    Raises:
        UsageError: the format is unknown, the output not empty, or no row has a place in it.
        Stopped: by Ctrl-C.
    """
    stored = Stored(run)
    planned = exporting.plan(stored, to)
    talk = Console(stderr=True)
    for reason, count in planned.left_out.items():
        talk.print(f"left out, {reason}: {count:,} rows that {to} has no place for", highlight=False)
    try:
        exported = planned if dry_run else exporting.export(stored, to, output)
    except KeyboardInterrupt:
        said = "interrupted; nothing was written, and the same command starts again"
        raise Stopped(said, ExitCode.INTERRUPTED) from None
    if json:
        Console().print_json(json_.dumps(dataclasses.asdict(exported)))
        return
    if exported.already:
        talk.print(f"{output} is finished already; nothing to do", highlight=False, markup=False, soft_wrap=True)
    where = f"would be in {output}" if dry_run else f"in {output}"
    Console().print(f"{exported.rows:,} rows {where}", highlight=False, markup=False)


def run_check(
    src: Path, trainer: str, processor: str | None, max_length: int | None, loaded: int | None, *, json: bool
) -> None:
    """Check rows against a trainer's rules, and its loader if it is installed, and print the result.

    Raises:
        UsageError: if there is any problem.
    """
    found = checking.check(src, trainer, processor, max_length, loaded)
    data, talk = Console(), Console(stderr=True)
    if readme.without_configs(src) is not None:
        talk.print(
            f"{src}/README.md has a `configs` block, with which load_dataset may return the rows of an older run "
            f"of the name {src.resolve().name!r} from its cache: remove the block, or run prefgen finalize {src}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if found.loader:
        given = min(found.rows, found.loaded or found.rows)
        talk.print(f"{trainer} {found.loader} is installed: its own loader was given {given:,} of {found.rows:,} rows")
    else:
        talk.print(f"{trainer} is not installed here: only prefgen's own rules for it were applied")
    if json:
        data.print_json(json_.dumps(dataclasses.asdict(found)))
    for problem in () if json else found.problems:
        data.print(f"{problem.row}: {problem.detail}", style="red", markup=False, highlight=False, soft_wrap=True)
    if found.problems:
        rows = len({problem.row for problem in found.problems})
        raise UsageError(f"{trainer} would break on, or cut, {rows:,} of {found.rows:,} rows of {src}")
    if not json:
        data.print(f"{src}: {found.rows:,} rows, none of which {trainer} would break on", markup=False, highlight=False)


def _planned_rows(job: ImportJob, talk: Console, *, with_pair: bool) -> int:
    if Layout(job.output).plan.exists():  # a run to go on with; only a new one needs a pass over its input
        return Layout(job.output).read_plan().rows
    found = importing.survey(job)
    missing = found.missing
    if missing.missing:
        talk.print(missing.describe(), style="yellow", highlight=False, markup=False)
    if 0 < missing.missing == missing.images:
        roots = " or ".join(f"--image-root {redact(root)}" for root in job.source.roots)
        where = f"under {roots}" if roots else "there"
        raise UsageError(
            f"none of the images of {sources.shown(job.input)} is {where}: "
            "name the folder that holds them with --image-root"
        )
    talk.print(import_plan.render(found, job))
    if found.first is None:
        raise UsageError(f"no row of {sources.shown(job.input)} gives a pair: what was found stands above, by reason")
    if with_pair:
        talk.print(import_plan.render_pair(found.first))
    return found.rows
