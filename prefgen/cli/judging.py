"""Judges: the engines of a run with one among them, what it has cost in the end, and how good it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefgen.cli.console import Console
from prefgen.cli.options import build as build_options
from prefgen.engines import build
from prefgen.engines.base import EngineConfig, Engines
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import TooManyDropped, UsageError
from prefgen.estimate import costs
from prefgen.evaluate import judge
from prefgen.methods.prompts import Template
from prefgen.methods.verdicts import Comparer
from prefgen.requests import Annotate, Chat, Generate
from prefgen.rundir.layout import Layout
from prefgen.rundir.reader import Stored
from prefgen.rundir.shards import RunDirectory
from prefgen.runner import launch
from prefgen.runner.launch import Job
from prefgen.runner.pending import Interrupts
from prefgen.view.votes import Votes

if TYPE_CHECKING:
    from prefgen.engines.chat.services import Service


@contextmanager
def engines(
    job: Job,
    directory: RunDirectory,
    talk: Console,
) -> Iterator[Engines]:
    """What answers a job's requests while it runs. With the Batch API, everything has been answered when it starts."""
    local = build.build(job.engine, job.method.asks)
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
                with Interrupts() as interrupts, closing(_service(job.judge, interrupts, talk)) as service:
                    batches = Batches(job.judge, ledger, at.batches, service)
                    launch.ask_in_batches(job, directory, local, batches)
                yield {**local, Chat: batches.answers()}
            else:
                with closing(ChatEngine(job.judge, ledger, say=_sayer(talk))) as asked:
                    yield {**local, Chat: asked}
        finally:
            talk.print(costs.describe(ledger.bill(), job.judge), highlight=False)


def _service(judge: JudgeConfig, interrupts: Interrupts, talk: Console) -> Service:
    from prefgen.engines.chat.services import BatchApi, Files

    return Files(judge) if judge.batch_files else BatchApi(judge, interrupts.check, _sayer(talk))


def _sayer(talk: Console) -> Callable[[str], None]:
    """Prints words as they are."""

    def say(words: str) -> None:
        talk.print(words, highlight=False, markup=False)

    return say


def test_judge(run: Path, against: Path | None, options: Mapping[str, Any], prompt: Template) -> None:
    """Have a run's pairs judged and print how good the judge is.

    Args:
        against: votes about the pairs; None takes the chosen answers for the better ones.
        options: of the command, by the names of its parameters.

    Raises:
        UsageError: if there is nothing to compare with.
        TooManyDropped: if no pair could be judged.
    """
    talk, stored = Console(stderr=True, quiet=options["quiet"]), Stored(run)
    labels = Votes(against).current() if against is not None else None
    if labels is not None and not set(labels.values()) & {"good", "bad"}:
        raise UsageError(f"{against} has no vote that says which answer is better")
    comparer = Comparer(options["by"], prompt, options["with_image"], max_new_tokens=options["verdict_tokens"])
    if comparer.shows_reference:
        raise UsageError(
            f"prompt {prompt.name}: the chosen answer of a run is its reference, so $reference tells the verdict"
        )
    with _comparing(options, Layout(run), talk) as engines, Interrupts() as interrupts:
        found = judge.tally(judge.judge(stored, comparer, engines, options["limit"], interrupts.check), labels)
    if options["json"]:
        Console().print_json(json.dumps(dataclasses.asdict(found)))
    else:
        Console().print(costs.render_accuracy(found))
    if not found.pairs:
        raise TooManyDropped(f"no pair of {run} was judged, or none has a label")


@contextmanager
def _comparing(options: Mapping[str, Any], at: Layout, talk: Console) -> Iterator[Engines]:
    """Who compares: an annotator here, or a judge elsewhere, whose replies are kept beside the run."""
    if options["by"] == "annotator":
        if not options["annotator"]:
            raise UsageError("--annotator is missing: the model that compares; or --by api, for a judge on a server")
        named = build_options(EngineConfig, options)
        config = dataclasses.replace(build.annotator(named), base_model=named.base_model)
        build.hush(config, (Generate,))
        build.identify(config, (Generate,))
        yield {Annotate: build.build(config, (Generate,))[Generate]}
        return
    from prefgen.engines.chat.engine import ChatEngine
    from prefgen.engines.chat.ledger import Ledger

    config_ = build_options(JudgeConfig, options)
    with closing(Ledger(at.judgements)) as ledger:
        try:
            with closing(ChatEngine(config_, ledger, say=_sayer(talk))) as engine:
                yield {Chat: engine}
        finally:
            talk.print(costs.describe(ledger.bill(), config_), highlight=False)
