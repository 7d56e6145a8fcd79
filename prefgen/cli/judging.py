"""The engines of a run, a judge behind an API among them; and what it has cost in the end, however the run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

from rich.console import Console

from prefgen import launch
from prefgen.engines import build
from prefgen.engines.base import Engines
from prefgen.launch import Job
from prefgen.layout import Layout
from prefgen.pending import Interrupts
from prefgen.records import Dropped, Sample
from prefgen.report import costs
from prefgen.requests import Chat
from prefgen.shards import RunDirectory


@contextmanager
def engines(
    job: Job,
    directory: RunDirectory,
    read: Callable[[], Iterable[Sample | Dropped]],
    load: Callable[[Sample], Sample | Dropped],
    talk: Console,
) -> Iterator[Engines]:
    """What answers a job's requests while it runs. With the Batch API, everything has been answered when it starts.

    Args:
        read: the job's rows, from the first. load: loads a row's images.
    """
    local = build.build(job.engine, job.method.asks)
    if job.judge is None or Chat not in job.method.asks:
        yield local
        return
    from prefgen.engines.chat.batch import Batches
    from prefgen.engines.chat.engine import ChatEngine
    from prefgen.engines.chat.ledger import Ledger

    at = Layout(job.output)
    with closing(Ledger(at.ledger)) as ledger:
        try:
            if job.judge.batch_api:
                with (
                    Interrupts() as interrupts,
                    Batches(job.judge, ledger, at.batches, interrupts.check, talk.print) as batches,
                ):
                    launch.ask_in_batches(directory, read, load, job.method, local, batches)
                    judge: Engines = {Chat: batches.answers()}
                yield {**local, **judge}
            else:
                with closing(ChatEngine(job.judge, ledger)) as asked:
                    yield {**local, Chat: asked}
        finally:
            talk.print(costs.describe(ledger.bill(), job.judge), highlight=False)
