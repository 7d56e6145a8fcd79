"""Work through the unfinished shards of a run, in this process."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from prefgen import sources
from prefgen.engines import build, engine_args
from prefgen.engines.album import Album
from prefgen.engines.base import EngineConfig, Engines
from prefgen.engines.build import Identity
from prefgen.engines.chat.config import JudgeConfig
from prefgen.layout import Scalar
from prefgen.methods.base import Method, parts, settings
from prefgen.pending import Interrupts, pending_shards
from prefgen.records import Dropped, Outcome, Pair, Sample
from prefgen.requests import Borrow, Chat, Embed, Flows, of_policy
from prefgen.run import drive
from prefgen.schema import SCHEMA_VERSION, Provenance
from prefgen.shards import RunDirectory
from prefgen.sources import MissingReport, SourceOptions

if TYPE_CHECKING:
    from prefgen.engines.chat.batch import Batches

_COUNTED = 2000  # samples whose sentences are counted for the plan
_PREVIEWED = 16  # of them, samples that are tokenised


@dataclass(frozen=True)
class Job:
    """All that a run is made of.

    Attributes:
        input: file, folder or Hub id of the SFT data.
        shard_size: samples of a shard, the unit of commit and resume. Batches never cross shards, so what a shard
            holds cannot depend on when a run was interrupted.
        config: the merged configuration as TOML.
        judge: who answers what a method asks of a chat model.
    """

    method: Method
    input: str
    source: SourceOptions
    engine: EngineConfig
    output: Path
    shard_size: int
    config: str = ""
    judge: JudgeConfig | None = None


@dataclass(frozen=True)
class Survey:
    """What one pass over a job's input found.

    Attributes:
        rows: rows of the input, those included that the reader drops. planned: rows that they stand for.
        answers: reference answers of the first samples. head: the very first samples, images not loaded.
    """

    rows: int
    planned: int
    answers: list[str]
    head: list[Sample]
    missing: MissingReport


class Listener(Protocol):
    """Is told of every outcome."""

    def advance(self, outcome: Outcome) -> None:
        """One more sample is done."""


def survey(job: Job) -> Survey:
    """Read the input once: count its rows, look for its images, keep some samples to plan with."""
    rows = planned = 0
    answers: list[str] = []
    head: list[Sample] = []

    def counted() -> Iterator[Sample | Dropped]:
        nonlocal rows, planned
        for row in sources.read(job.input, job.source):
            rows += 1
            planned += parts(job.method) if isinstance(row, Sample) else 1
            if isinstance(row, Sample) and len(answers) < _COUNTED:
                answers.append(row.answer or "")
                if len(head) < _PREVIEWED:
                    head.append(row)
            yield row

    missing = sources.missing_report(counted(), job.source.root(job.input))
    return Survey(rows, planned, answers, head, missing)


def read(job: Job) -> Iterator[Sample | Dropped]:
    """All planned rows: a sample stands once for every pair that may be made of it."""
    for row in sources.read(job.input, job.source):
        if isinstance(row, Sample):
            yield from (dataclasses.replace(row, part=part) for part in range(parts(job.method)))
        else:
            yield row


def fingerprint(job: Job, identity: Identity) -> dict[str, Scalar]:
    """Every setting that can change output, by flat name; what cannot (batch size, device) is left out."""
    found: dict[str, Scalar] = {
        "method": job.method.name,
        **{f"method.{name}": value for name, value in settings(job.method).items()},
        "schema": SCHEMA_VERSION,
        "input_sha256": sources.fingerprint(job.input, job.source),
        "engine": job.engine.engine,
    }
    for field in dataclasses.fields(job.source):
        value = getattr(job.source, field.name)
        found[f"source.{field.name}"] = str(value) if isinstance(value, Path) else value
    if job.engine.engine == "openai":
        found["model"] = job.engine.model
    if identity.model_revision:
        found |= {
            "model": job.engine.model,
            "model_revision": identity.model_revision,
            "attention": job.engine.attention,
            "positions": job.engine.positions,
            "dtype": identity.dtype,
        }
    if identity.similarity_revision:
        found |= {
            "similarity_model": job.engine.similarity_model,
            "similarity_revision": identity.similarity_revision,
        }
    if job.engine.also:
        found |= {"also": " ".join(job.engine.also), "also_revisions": " ".join(identity.also_revisions)}
    if identity.annotator_revision:
        found |= {
            "annotator": job.engine.annotator or job.engine.model,
            "annotator_revision": identity.annotator_revision,
        }
    if job.judge is not None and Chat in job.method.asks:
        found |= {"judge": job.judge.model, "judge_url": job.judge.address}
    arguments = engine_args.recorded(job.engine.engine_args)
    return found | {f"engine_arg.{name}": value for name, value in arguments.items()}


def provenance(job: Job, identity: Identity) -> Provenance:
    """What every row records of its run."""
    fake = job.engine.engine == "fake"
    policy, embeds = of_policy(job.method.asks), Embed in job.method.asks
    hides = policy and job.engine.engine not in ("fake", "openai")
    wrote = "" if not policy else "fake" if fake else job.engine.model
    if not policy and job.judge is not None:
        wrote = job.judge.model
    return Provenance(
        model=wrote,
        model_revision=identity.model_revision,
        engine=job.engine.engine if policy else "openai" if job.judge is not None else "",
        attention=job.engine.attention if hides else "",
        positions=job.engine.positions if hides else "",
        dtype=identity.dtype,
        device=identity.device,
        similarity_model="" if not embeds else "fake" if fake else job.engine.similarity_model,
        similarity_revision=identity.similarity_revision,
        also=list(zip(job.engine.also, identity.also_revisions or [""] * len(job.engine.also), strict=True)),
        versions=build.versions(job.engine),
    )


def work(
    directory: RunDirectory,
    rows: Iterable[Sample | Dropped],
    load: Callable[[Sample], Sample | Dropped],
    method: Callable[[Sample], Flows],
    engines: Engines,
    constants: Provenance,
    listener: Listener,
) -> None:
    """Fill and commit every pending shard; the next shard's images are loaded meanwhile.

    Args:
        rows: all planned rows, from the first.

    Raises:
        CorruptRun: if there are fewer rows than planned.
        Stopped: if a signal came; the shard that was in flight has been committed, unless it waited for a judge, whose
            replies so far are in the ledger.
    """
    shards = pending_shards(directory, rows, lambda row: load(row) if isinstance(row, Sample) else row)
    with Interrupts() as interrupts, ThreadPoolExecutor(max_workers=1) as background:
        upcoming = background.submit(next, shards, None)
        while (current := upcoming.result()) is not None:
            upcoming = background.submit(next, shards, None)
            shard, items = current
            started = time.monotonic()
            outcomes = _outcomes(items, method, engines, listener, interrupts.check)
            directory.commit(shard, outcomes, constants, time.monotonic() - started)
            interrupts.check()


def ask_in_batches(
    directory: RunDirectory,
    rows: Callable[[], Iterable[Sample | Dropped]],
    load: Callable[[Sample], Sample | Dropped],
    method: Callable[[Sample], Flows],
    engines: Engines,
    batches: Batches,
) -> None:
    """Have everything answered that the pending rows ask of a judge, through its Batch API.

    In each round every flow runs as far as the ledger has answers; what is missing becomes the next batches.

    Args:
        rows: reads all planned rows, from the first; called once a round.
    """
    batches.run()
    while True:
        lines = batches.lines()
        asking = {**engines, Chat: lines}
        shards = pending_shards(directory, rows(), lambda row: load(row) if isinstance(row, Sample) else row)
        for _, items in shards:
            for _ in drive([group[0] for group in _samples(items).values()], method, asking):
                pass
        if not lines.written and not lines.short:
            return
        batches.run(lines)


def _outcomes(
    items: list[Sample | Dropped],
    method: Callable[[Sample], Flows],
    engines: Engines,
    listener: Listener,
    check: Callable[[], None],
) -> list[Outcome]:
    """One outcome per row, in order. The flow of a sample with several rows is run once."""
    done: dict[int, Outcome] = {place: item for place, item in enumerate(items) if isinstance(item, Dropped)}
    for outcome in done.values():
        listener.advance(outcome)
    groups = list(_samples(items).values())
    places = {item.row_id: place for place, item in enumerate(items) if isinstance(item, Sample)}
    samples = [group[0] for group in groups]
    for index, found in drive(samples, method, {**engines, Borrow: Album(samples)}, check):
        for row in groups[index]:
            outcome = done[places[row.row_id]] = _of_row(found, row)
            listener.advance(outcome)
    return [done[place] for place in range(len(items))]


def _samples(items: Iterable[Sample | Dropped]) -> dict[str, list[Sample]]:
    """The rows of each sample, by its id."""
    groups: dict[str, list[Sample]] = {}
    for item in items:
        if isinstance(item, Sample):
            groups.setdefault(item.id, []).append(item)
    return groups


def _of_row(found: Outcome | list[Outcome], row: Sample) -> Outcome:
    """A row's own outcome; one that was dropped as a sample is dropped as each of its rows."""
    outcome = found[row.part] if isinstance(found, list) else found
    if isinstance(outcome, Pair):
        return dataclasses.replace(outcome, sample=row)
    return dataclasses.replace(outcome, id=row.row_id, tokens=0 if row.part else outcome.tokens)
