"""Judges in a run: the engines, the final cost, and the measured accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prefgen.console import Console
from prefgen.engines import build
from prefgen.engines.base import EngineConfig, Engines
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import UsageError
from prefgen.estimate import costs
from prefgen.evaluate import judge
from prefgen.evaluate.judge import Accuracy
from prefgen.methods.verdicts import Comparer
from prefgen.requests import Annotate, Chat, Generate
from prefgen.rundir.layout import Layout
from prefgen.rundir.reader import Stored
from prefgen.rundir.shards import RunDirectory
from prefgen.runner import launch
from prefgen.runner.launch import Job
from prefgen.runner.reporter import Reporter
from prefgen.signals import Interrupts
from prefgen.view.votes import Votes

if TYPE_CHECKING:
    from prefgen.engines.chat.services import Service

_FINISHING = "what was asked for is waited for and kept"


@contextmanager
def engines(
    job: Job,
    directory: RunDirectory,
    console: Console,
) -> Iterator[Engines]:
    """The engines of a job. With the Batch API, all replies are in the ledger before the first shard."""
    local = build.build(job.engine, job.method.asks, others=job.engines)
    if not job.judged or job.judge is None:
        yield local
        return
    from prefgen.engines.chat.batch import Batches
    from prefgen.engines.chat.engine import ChatEngine
    from prefgen.engines.chat.ledger import Ledger

    at = Layout(job.output)
    with closing(Ledger(at.ledger)) as ledger:
        try:
            if job.judge.batch_api or job.judge.batch_files:
                with (
                    Interrupts(finishing=_FINISHING) as interrupts,
                    closing(_service(job.judge, interrupts, console)) as service,
                ):
                    batches = Batches(job.judge, ledger, at.batches, service)
                    launch.ask_in_batches(job, directory, local, batches)
                yield {**local, Chat: batches.answers()}
            else:
                with closing(ChatEngine(job.judge, ledger, say=_sayer(console))) as asked:
                    yield {**local, Chat: asked}
        finally:
            console.print(costs.describe(ledger.bill(), job.judge), highlight=False)


def _service(judge: JudgeConfig, interrupts: Interrupts, console: Console) -> Service:
    from prefgen.engines.chat.services import BatchApi, Files

    return Files(judge) if judge.batch_files else BatchApi(judge, interrupts.check, _sayer(console))


def _sayer(console: Console) -> Callable[[str], None]:
    """A function that prints text unformatted."""

    def say(words: str) -> None:
        console.print(words, highlight=False, markup=False)

    return say


def measure(
    run: Path,
    against: Path | None,
    comparer: Comparer,
    asked: Callable[[], EngineConfig | JudgeConfig],
    limit: int | None,
    reporter: Reporter,
) -> Accuracy:
    """Have a run's pairs judged, and measure the judge's accuracy.

    Args:
        against: votes about the pairs; None takes the chosen answers for the better ones.
        asked: makes the configuration of the annotator or of the judge, whichever compares.
        limit: judge the first so many pairs.

    Raises:
        UsageError: there is nothing to compare with.
    """
    stored = Stored(run)
    labels = Votes(against).current() if against is not None else None
    if labels is not None and not set(labels.values()) & {"good", "bad"}:
        raise UsageError(f"{against} has no vote that says which answer is better")
    if comparer.shows_reference:
        raise UsageError(
            f"prompt {comparer.prompt.name}: the chosen answer of a run is its reference, so $reference gives away the "
            "verdict"
        )
    opened = _comparing(asked(), Layout(run), reporter.console)
    with opened as engines, Interrupts(finishing=_FINISHING) as interrupts:
        return judge.tally(judge.judge(stored, comparer, engines, limit, interrupts.check), labels)


@contextmanager
def _comparing(asked: EngineConfig | JudgeConfig, at: Layout, console: Console) -> Iterator[Engines]:
    """The comparing model: a local annotator, or a judge behind an API with a ledger beside the run."""
    if isinstance(asked, EngineConfig):
        if not asked.annotator:
            raise UsageError("--annotator is missing: the model that compares; or --by api, for a judge on a server")
        config = dataclasses.replace(
            build.annotator(asked), base_model=asked.base_model, chat_template=asked.chat_template
        )
        build.hush(config, (Generate,))
        build.identify(config, (Generate,))
        yield {Annotate: build.build(config, (Generate,))[Generate]}
        return
    from prefgen.engines.chat.engine import ChatEngine
    from prefgen.engines.chat.ledger import Ledger

    with closing(Ledger(at.judgements)) as ledger:
        try:
            with closing(ChatEngine(asked, ledger, say=_sayer(console))) as engine:
                yield {Chat: engine}
        finally:
            console.print(costs.describe(ledger.bill(), asked), highlight=False)
