"""Runs on the command line: plan, progress and final table. Messages go to stderr, data to stdout."""

from __future__ import annotations

import dataclasses
import json as json_
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.table import Table

from prefgen import sources
from prefgen.addresses import redact
from prefgen.card import readme
from prefgen.cli import config
from prefgen.cli.ending import Manner, finalize, finish, stoppable
from prefgen.cli.options import RunOptions
from prefgen.cli.spreading import Spread, cluster, fill, take_own_gpus
from prefgen.console import Console
from prefgen.engines import build
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.hf.preview import preview
from prefgen.errors import CorruptRun, UsageError
from prefgen.methods.base import Method, Recording, Restricting
from prefgen.methods.bdhs import PRESETS
from prefgen.methods.rank import Rank
from prefgen.records import Dropped, Sample
from prefgen.requests import Rate
from prefgen.rundir import verify as verify_
from prefgen.rundir.layout import Layout, Plan
from prefgen.rundir.shards import RunDirectory
from prefgen.runner import launch, plan
from prefgen.runner.launch import Job, Survey
from prefgen.runner.reporter import Progress
from prefgen.sources import SourceOptions
from prefgen.sources.reasons import Reasons, listed, note

if TYPE_CHECKING:
    from prefgen.runner.ray_ import Cluster

T = TypeVar("T")
_PREVIEWED = 16  # samples that are tokenised for the plan


def make_pairs(
    ctx: typer.Context,
    method: Method,
    input: Sequence[str],
    source: SourceOptions,
    engine: EngineConfig,
    output: Path,
    options: RunOptions,
    judge: JudgeConfig | None = None,
) -> None:
    """Run a method over an input, for every command that makes pairs."""
    run(
        Job(
            method,
            tuple(input),
            source,
            engine,
            output,
            options.shard_size,
            config.lock(ctx),
            judge,
            options.keep_going,
        ),
        Spread.of(vars(options)),
        Manner(
            command=redact(shlex.join(["prefgen", *sys.argv[1:]])),
            licence=options.license,
            max_dropped=options.max_dropped,
            dry_run=options.dry_run,
            json=options.json,
            quiet=options.quiet,
        ),
    )


def run(job: Job, spread: Spread, manner: Manner) -> None:
    """Plan, run and report a job.

    Raises:
        TooManyDropped: if more rows were dropped than allowed, or there is no pair.
        Stopped: by a signal.
    """
    if isinstance(job.method, Rank) and Rate in job.method.asks:
        from prefgen.training import reward

        method, engine = reward.pinned(job.method)
        job = dataclasses.replace(job, method=method, engines={Rate: engine})
    with stoppable(job.output):
        spread.check(job)
        with cluster(spread, job.engine) as there:
            _run(job, spread, there, manner)


def _run(job: Job, spread: Spread, there: Cluster | None, manner: Manner) -> None:
    talk = Console(stderr=True, quiet=manner.quiet)
    if there is None:
        take_own_gpus(job.engine)
    build.hush(job.engine, job.method.asks)
    ask = there.call if there else _call  # what there is, where the work is done
    engine, why = ask(build.resolve, job.engine, job.method.asks)
    if why:
        talk.print(f"engine auto   {engine.engine}: {why}", markup=False, highlight=False)
    job = dataclasses.replace(job, engine=engine)
    begun = Layout(job.output).read_plan() if Layout(job.output).plan.exists() else None  # a run to go on with
    recorded, resumed = isinstance(job.method, Recording), begun.fingerprint if begun else None
    engine, why = ask(build.settle_similarity, engine, job.method.asks, recorded, resumed)
    if why:
        talk.print(f"similarity    {why}", markup=False, highlight=False)
    job = dataclasses.replace(job, engine=engine)
    build.check_asks(engine, job.method.asks)
    if isinstance(job.method, Restricting):
        build.check_view(engine, job.method.view("", 1))
    identity = ask(build.identify, job.engine, job.method.asks)
    if begun:  # only a new one needs a pass over its input
        rows = begun.rows
    else:
        found = launch.survey(job)
        rows = found.planned
        _print_plan(job, found, talk, with_prompt=manner.dry_run)
    if manner.dry_run:
        return
    engine, why = ask(build.proven, job.engine, job.method.asks)
    if why:
        talk.print(f"attention {engine.attention}: {why}", markup=False, highlight=False)
    job = dataclasses.replace(job, engine=engine)
    settings = launch.fingerprint(job, identity)
    planned = Plan(rows, job.shard_size, settings, job.config)
    spread.announce(talk)
    with RunDirectory.open(job.output, planned, spread.part) as directory:
        pending = sum(len(planned.shards[shard]) for shard in directory.pending())
        own = sum(len(rows) for shard, rows in enumerate(planned.shards) if spread.part.holds(shard))
        if pending:
            if pending < own:
                talk.print(f"resuming {job.output}: {pending:,} of {own:,} rows to do")
            with Progress(own, own - pending, talk) as progress:
                fill(spread, there, job, directory, launch.provenance(job, identity), progress, talk)
        elif directory.finished:
            talk.print(f"{job.output} is finished already; nothing to do")
        if left := directory.remaining():
            talk.print(
                f"part {spread.part} is done; {left:,} of {len(planned.shards):,} shards are left to other parts. The "
                f"last one makes the data set; should one have died, so does the same command without its part"
            )
            return
        if not spread.part.whole:  # of which this command makes a part
            manner = dataclasses.replace(manner, command=config.repeating(Layout(job.output).config))
        finalize(directory, manner)
    finish(job.output, manner, talk)


def _call(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)


def _print_plan(job: Job, found: Survey, talk: Console, *, with_prompt: bool) -> None:
    """Print the plan.

    Raises:
        UsageError: if there is nothing to work on.
    """
    if found.missing.missing:
        talk.print(found.missing.describe(), style="yellow", highlight=False, markup=False)
    loaded = [job.load(row) for row in found.head[:_PREVIEWED]]
    if not any(isinstance(row, Sample) for row in loaded):
        loaded += [job.load(row) for row in found.head[_PREVIEWED:]]
    shown = [sample for sample in loaded if isinstance(sample, Sample)]
    if not found.answers or (not shown and 0 < found.missing.missing == found.missing.images):
        reasons = dict(found.reasons)
        for row in loaded:
            if isinstance(row, Dropped):
                note(reasons, row)
        first = (
            f"\n(of {len(found.answers):,} samples, the images of the first {len(loaded)} were tried)" if loaded else ""
        )
        raise UsageError(
            f"{sources.shown(job.input)} has no row with an answer and an image that is there:\n"
            f"{listed(reasons)}{first}"
        )
    if found.reasons:
        dropped = sum(count for count, _ in found.reasons.values())
        told = f"{dropped:,} of {found.rows:,} rows will be dropped:\n{listed(found.reasons)}"
        talk.print(told, style="yellow", highlight=False, markup=False)
    if not shown:
        unreadable: Reasons = {}
        for row in loaded:
            if isinstance(row, Dropped):
                note(unreadable, row)
        launch.check_first(job, unreadable, len(loaded))
        told = f"no image of the first {len(loaded)} samples can be read, so no plan can be shown:\n"
        talk.print(told + listed(unreadable), style="yellow", highlight=False, markup=False)
        return
    estimate = plan.estimate(found.rows, found.answers, preview(job.engine, shown))
    talk.print(plan.render(estimate, job, shown, found))
    if with_prompt:
        talk.print(plan.render_prompt(estimate, shown[0], job.method))


def print_presets() -> None:
    """Print the presets as a table."""
    table = Table("preset", "variant", "rho", "noise steps", "iterations", "guidance", box=None)
    for name, method in PRESETS.items():
        masked, noised = method.variant != "noise", method.variant != "attn"
        table.add_row(
            name,
            method.variant,
            f"{method.rho:g}" if masked else "–",
            str(method.noise_steps) if noised else "–",
            str(method.iterations),
            "yes" if method.guidance else "no",
        )
    console = Console()
    console.print(table)
    console.print(
        "\nThese are rows of `prefgen bdhs`; `prefgen povid` as it stands is table 6's POVID-style distortion."
    )


def finalize_run(out: Path, *, json: bool, quiet: bool) -> None:
    """Finalize the data set of a run whose shards are all committed, and print its figures.

    Raises:
        UsageError: if there is no run, or shards are pending.
        TooManyDropped: as the run itself would.
    """
    directory = RunDirectory.join(out)
    command = config.repeating(Layout(out).config)
    if left := directory.remaining():
        raise UsageError(
            f"{left:,} of {len(directory.plan.shards):,} shards of {out} are pending: finish it with {command} -o {out}"
        )
    options = config.read(Layout(out).config)
    share = options.get("max_dropped", 1.0)
    manner = Manner(command, options.get("license") or "", share, json, quiet)
    talk = Console(stderr=True, quiet=quiet)
    if directory.finished and (mended := readme.without_configs(out)) is not None:
        if problems := verify_.verify(out).problems:  # a new manifest must not vouch for damage
            raise CorruptRun(f"{out} has {len(problems)} problems, see `prefgen verify`; its card is left as it is")
        directory.replace_card(mended)
        talk.print(f"{out}/README.md: the `configs` block, which made load_dataset return older rows, is gone")
    finalize(directory, manner)
    finish(out, manner, talk)


def verify(out: Path, *, json: bool) -> None:
    """Check a run and print what was found.

    Raises:
        CorruptRun: if there is any problem.
    """
    data = Console()
    found = verify_.verify(out)
    if json:
        data.print_json(json_.dumps(dataclasses.asdict(found)))
    for problem in () if json else found.problems:
        row = f" row {problem.row}" if problem.row else ""
        data.print(f"{problem.file}{row}: {problem.detail}", style="red", markup=False, highlight=False)
    if found.problems:
        raise CorruptRun(f"{len(found.problems)} problems in {out}")
    if not json:
        state = "finished" if found.finished else f"unfinished, {found.pending:,} rows pending"
        data.print(f"{out}: no problem found; {found.pairs:,} pairs, {found.dropped:,} dropped rows, {state}")
