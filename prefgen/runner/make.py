"""Runs of a method over an input: plan, shards, data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from prefgen import sources
from prefgen.card.summary import Summary
from prefgen.console import Console
from prefgen.engines import build
from prefgen.engines.hf.preview import preview
from prefgen.errors import UsageError
from prefgen.methods.base import Recording, Restricting
from prefgen.methods.rank import Rank
from prefgen.records import Dropped, Sample
from prefgen.requests import Rate
from prefgen.rundir.layout import Layout, Plan
from prefgen.rundir.shards import RunDirectory
from prefgen.runner import launch, plan
from prefgen.runner.distribution import ALONE, Distribution, cluster, fill, take_own_gpus
from prefgen.runner.finishing import Card, complete, stoppable
from prefgen.runner.launch import Job, Survey
from prefgen.runner.reporter import Reporter
from prefgen.sources.reasons import Reasons, listed, note

if TYPE_CHECKING:
    from prefgen.runner.ray_ import Cluster

T = TypeVar("T")
_PREVIEWED = 16  # samples that are tokenised for the plan


def make_pairs(
    job: Job, card: Card, reporter: Reporter, distribution: Distribution = ALONE, *, dry_run: bool = False
) -> Summary | None:
    """Plan a job and fill its run directory, or resume that.

    Args:
        dry_run: show the plan and one prompt, then stop.

    Returns:
        Figures of the finished run; None after a dry run, or if shards are left to other parts.

    Raises:
        UsageError: the job cannot be done. Stopped: by a signal.
    """
    if isinstance(job.method, Rank) and Rate in job.method.asks:
        from prefgen.training import reward

        method, engine = reward.pinned(job.method)
        job = dataclasses.replace(job, method=method, engines={Rate: engine})
    with stoppable(job.output):
        distribution.check(job)
        with cluster(distribution, job.engine) as connected:
            return _make(job, card, reporter, distribution, connected, dry_run=dry_run)


def _make(
    job: Job, card: Card, reporter: Reporter, distribution: Distribution, connected: Cluster | None, *, dry_run: bool
) -> Summary | None:
    console = reporter.console
    if connected is None:
        take_own_gpus(job.engine)
    build.hush(job.engine, job.method.asks)
    ask = connected.call if connected else _call  # what there is, where the work is done
    engine, why = ask(build.resolve, job.engine, job.method.asks)
    if why:
        console.print(f"engine auto   {engine.engine}: {why}", markup=False, highlight=False)
    job = dataclasses.replace(job, engine=engine)
    existing = Layout(job.output).read_plan() if Layout(job.output).plan.exists() else None  # a run to resume
    recorded, resumed = isinstance(job.method, Recording), existing.fingerprint if existing else None
    engine, why = ask(build.settle_similarity, engine, job.method.asks, recorded, resumed)
    if why:
        console.print(f"similarity    {why}", markup=False, highlight=False)
    job = dataclasses.replace(job, engine=engine)
    build.check_asks(engine, job.method.asks)
    if isinstance(job.method, Restricting):
        build.check_view(engine, job.method.view("", 1))
    identity = ask(build.identify, job.engine, job.method.asks)
    if existing:  # only a new one needs a pass over its input
        rows, starts, repeats, surveyed = existing.rows, existing.starts, existing.repeats, None
    else:
        found = launch.survey(job)
        rows, starts, repeats, surveyed = found.planned, found.starts, found.repeats, found.read
        _print_plan(job, found, console, with_prompt=dry_run)
    if dry_run:
        return None
    engine, why = ask(build.proven, job.engine, job.method.asks, distribution.workers == 1 and connected is None)
    if why:
        console.print(f"attention {engine.attention}: {why}", markup=False, highlight=False)
    job = dataclasses.replace(job, engine=engine)
    settings = launch.fingerprint(job, identity)
    planned = Plan(rows, job.shard_size, settings, job.config, starts, repeats)
    distribution.announce(console)

    def fill_pending(directory: RunDirectory, rows: int, done: int) -> None:
        with reporter.progress(rows, done) as progress:
            constants = launch.provenance(job, identity)
            fill(distribution, connected, job, directory, constants, progress, console, surveyed)

    try:
        return complete(job.output, planned, card, reporter, fill_pending, distribution.part)
    finally:
        build.release()  # where nothing was left to generate


def _call(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)


def _print_plan(job: Job, found: Survey, console: Console, *, with_prompt: bool) -> None:
    """Print the plan.

    Raises:
        UsageError: if there is nothing to work on.
    """
    if found.missing.missing:
        console.print(found.missing.describe(), style="yellow", highlight=False, markup=False)
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
        message = f"{dropped:,} of {found.rows:,} rows will be dropped:\n{listed(found.reasons)}"
        console.print(message, style="yellow", highlight=False, markup=False)
    if not shown:
        unreadable: Reasons = {}
        for row in loaded:
            if isinstance(row, Dropped):
                note(unreadable, row)
        launch.check_first(job, unreadable, len(loaded))
        message = f"no image of the first {len(loaded)} samples can be read, so no plan can be shown:\n"
        console.print(message + listed(unreadable), style="yellow", highlight=False, markup=False)
        return
    estimate = plan.estimate(found.rows, found.answers, preview(job.engine, shown))
    console.print(plan.render(estimate, job, shown, found))
    if with_prompt:
        console.print(plan.render_prompt(estimate, shown[0], job.method))
