"""Commands that fill a run directory: from options to a job, and its final figures and messages."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from prefgen.addresses import redact
from prefgen.card import summary
from prefgen.card.summary import Summary
from prefgen.cli import config
from prefgen.cli.options import InputOutput, RunOptions
from prefgen.console import Console
from prefgen.engines.base import Engine, EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods.base import Method
from prefgen.requests import Request
from prefgen.runner.distribution import Distribution
from prefgen.runner.finishing import Card, check_dropped
from prefgen.runner.launch import Job
from prefgen.runner.make import make_pairs
from prefgen.runner.reporter import Terminal
from prefgen.sources import SourceOptions


def make(
    ctx: typer.Context,
    method: Method,
    files: InputOutput,
    source: SourceOptions,
    engine: EngineConfig,
    run: RunOptions,
    judge: JudgeConfig | None = None,
    engines: Mapping[type[Request], Callable[[EngineConfig], Engine]] | None = None,
) -> None:
    """Run a method over an input, and print the figures.

    Args:
        engines: as in `prefgen.runner.launch.Job`.

    Raises:
        TooManyDropped, Stopped: as `carry_out`.
    """
    lock = config.lock(ctx)
    job = Job(
        method,
        tuple(files.input),
        source,
        engine,
        files.output,
        run.shard_size,
        lock,
        judge,
        run.keep_going,
        engines or {},
    )
    carry_out(job, run)


def carry_out(job: Job, run: RunOptions) -> None:
    """Fill the run directory of a job, and print the figures.

    Raises:
        TooManyDropped: more rows were dropped than allowed, or there is no pair. Stopped: by a signal.
    """
    reporter = Terminal(quiet=run.quiet)
    result = make_pairs(
        job, card(run.license), reporter, Distribution.of(run.shard, run.workers, run.ray), dry_run=run.dry_run
    )
    finish(job.output, result, reporter.console, json=run.json, max_dropped=run.max_dropped)


def card(licence: str | None) -> Card:
    """The data-set card's values for a run of this command."""
    return Card(redact(shlex.join(["prefgen", *sys.argv[1:]])), licence or "")


def finish(out: Path, result: Summary | None, console: Console, *, json: bool, max_dropped: float = 1.0) -> None:
    """Print the figures of a finished run, and the next commands; nothing if the result is None.

    Raises:
        TooManyDropped: more rows were dropped than allowed, or there is no pair.
    """
    if result is None:
        return
    if json:
        Console().print_json(summary.to_json(result))
    else:
        Console().print(summary.render(result))
    if result.pairs:
        shown = shlex.quote(str(out))
        for line in (
            f"data set in {out}: datasets.load_dataset({str(out)!r})",
            f"next: prefgen lint {shown}; prefgen view {shown}; prefgen export {shown} …; prefgen train dpo {shown} …",
        ):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    check_dropped(out, result, max_dropped)
