"""The job of a run, its survey and fingerprint, and the loop that fills shards in one process."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from prefgen import sources
from prefgen.driver import drive
from prefgen.engines import build
from prefgen.engines.base import NO_SIMILARITY, Engine, EngineConfig, Engines
from prefgen.engines.build import Identity
from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.hf.album import Album
from prefgen.engines.vllm import engine_args
from prefgen.errors import UnusableReplies, UsageError
from prefgen.images import Fetch, ImageRoot, load_images
from prefgen.methods.base import Method, parts, settings
from prefgen.records import Dropped, ImageRef, Outcome, Pair, Sample
from prefgen.requests import Annotate, Borrow, Chat, Embed, Request, of_policy
from prefgen.rundir.layout import Layout, Scalar
from prefgen.rundir.schema import SCHEMA_VERSION, Provenance
from prefgen.rundir.shards import RunDirectory
from prefgen.runner.rows import ReadRows, Rows
from prefgen.signals import Interrupts
from prefgen.sources import MissingReport, SourceOptions
from prefgen.sources.fetch import fetch
from prefgen.sources.reasons import Reasons, listed, note

if TYPE_CHECKING:
    from prefgen.engines.chat.batch import Batches
    from prefgen.engines.chat.engine import ChatEngine

TRIAL_CALLS = 8  # to a judge none of whose replies is of use, after which a run stops
_OF_USE = (
    "ANSWER_UNREVISED",
    "ANSWER_CLAIMS_FAIL",
    "REJECTED_CLAIMS_HOLD",
    "SENTENCE_VERIFIED",
    "SENTENCE_HALLUCINATED",
)
"""Reasons for which a row is dropped by replies that are as they should be."""
TRIAL_ROWS = 4  # asked about at once until then
_COUNTED = 2000  # samples whose sentences are counted for the plan
TRIED_ROWS = 50  # if all of the first so many are dropped for one reason, a run stops before it starts


@dataclass(frozen=True)
class Job:
    """Settings of a run.

    Attributes:
        input: files, folder, Hub ids or addresses of the SFT data, or patterns of them.
        shard_size: samples of a shard, the unit of commit and resume. Batches never cross shards, so what a shard
            holds cannot depend on when a run was interrupted.
        config: the merged configuration as TOML.
        judge: who answers what a method asks of a chat model.
        keep_going: start although all of the first rows are dropped for one reason.
        engines: makers of engines that are not of `prefgen.engines`, see `prefgen.engines.build.build`. Can be pickled.
    """

    method: Method
    input: sources.Inputs
    source: SourceOptions
    engine: EngineConfig
    output: Path
    shard_size: int
    config: str = ""
    judge: JudgeConfig | None = None
    keep_going: bool = False
    engines: Mapping[type[Request], Callable[[EngineConfig], Engine]] = field(default_factory=dict)

    def read(self, position: sources.Position | None = None) -> Iterator[Sample | Dropped]:
        """All planned rows, images not loaded; a sample is repeated for every pair that it may give.

        Args:
            position: as in `prefgen.sources.read`.
        """
        count = parts(self.method)
        for row in sources.read(self.input, self.source, position):
            yield row
            if isinstance(row, Sample):
                yield from (dataclasses.replace(row, part=part) for part in range(1, count))

    def load(self, row: Sample | Dropped) -> Sample | Dropped:
        """A row with its images loaded, or a `Dropped` with the reason."""
        return load_images(row, *self._images) if isinstance(row, Sample) else row

    def commit(
        self, directory: RunDirectory, shard: int, outcomes: Sequence[Outcome], constants: Provenance, seconds: float
    ) -> None:
        """Commit the outcomes of a shard, as `RunDirectory.commit`."""
        directory.commit(shard, outcomes, constants, seconds)

    def recorded(self) -> dict[str, Scalar]:
        """The input and the settings of its reader, by flat name."""
        return {"input_sha256": sources.fingerprint(self.input, self.source), **self.source.recorded()}

    @property
    def root(self) -> ImageRoot:
        """The folders of the images."""
        return self.source.root(self.input)

    @property
    def judged(self) -> bool:
        """True if the method asks a judge behind an API."""
        return self.judge is not None and Chat in self.method.asks

    @cached_property
    def _images(self) -> tuple[ImageRoot, Fetch | None]:
        return self.root, fetch if self.source.allow_urls else None


@dataclass(frozen=True)
class Made:
    """The part of a pair that the progress display needs; sent between processes, so it holds no picture."""

    tokens: int
    iteration: int


@dataclass(frozen=True)
class Survey:
    """Findings of one pass over a job's input.

    Attributes:
        rows: rows of the input, those included that the reader drops.
        planned: rows that they become.
        answers: reference answers of the first samples.
        head: the very first samples, images not loaded.
        reasons: for which the reader drops rows: how many, and the first one's detail.
        unanswered: samples without a reference answer.
        kept: columns that no prompt and no answer is made of, and how many rows have something in them.
        starts, repeats: as in `prefgen.rundir.layout.Plan`.
        read: the planned rows of the first shards.
    """

    rows: int
    planned: int
    answers: list[str]
    head: list[Sample]
    missing: MissingReport
    reasons: Reasons = field(default_factory=dict)
    unanswered: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    starts: Sequence[tuple[int, int]] = ()
    repeats: Sequence[int] = ()
    read: ReadRows[Sample | Dropped] | None = None


class Listener(Protocol):
    """Receives the progress of a run."""

    def begin(self, shard: int) -> None:
        """Work on a shard begins."""

    def advance(self, outcome: Outcome) -> None:
        """A sample of the shard is done."""

    def committed(self, shard: int) -> None:
        """The shard is committed."""


def survey(job: Job) -> Survey:
    """Read the input once: count rows, look for images, and keep some samples for the plan.

    Raises:
        UsageError: all of the first rows are dropped for one reason.
    """
    rows = planned = unanswered = 0
    answers: list[str] = []
    head: list[Sample] = []
    reasons: Reasons = {}
    kept: Counter[str] = Counter()
    starts: list[tuple[int, int]] = []
    repeats: list[int] = []
    read: ReadRows[Sample | Dropped] = ReadRows(job.shard_size)
    placed = True  # no sample is repeated or drawn, so that the reader's position is that of the planned row
    position = sources.Position()

    def counted() -> Iterator[Sample | Dropped]:
        nonlocal rows, planned, unanswered, placed
        for row in job.read(position):
            if planned % job.shard_size == 0:
                placed = placed and position.number == planned
                starts.append((position.rows, position.given))
            if isinstance(row, Dropped) and row.reason == "DUPLICATE":
                repeats.append(planned)
            planned += 1
            if isinstance(row, Sample) and any(isinstance(image, ImageRef) and image.data for image in row.images):
                read.stop()  # pictures would take the memory of many rows
            read.add(row)
            if isinstance(row, Sample) and row.part:
                continue
            rows += 1
            if isinstance(row, Dropped):
                note(reasons, row)
                check_first(job, reasons, rows)
                yield row
                continue
            if row.meta:
                kept.update(name for name, value in row.meta.items() if value not in (None, "", [], {}))
            unanswered += row.answer is None
            if len(answers) < _COUNTED:
                answers.append(row.answer or "")
                if len(head) < TRIED_ROWS:
                    head.append(row)
            yield row

    missing = sources.missing_report(counted(), job.root)
    read.close()
    return Survey(
        rows,
        planned,
        answers,
        head,
        missing,
        reasons,
        unanswered,
        kept=dict(kept.most_common()),
        starts=starts if placed else (),
        repeats=repeats if placed else (),
        read=read,
    )


def check_first(job: Job, reasons: Reasons, rows: int) -> None:
    """Raise if the first rows are all dropped for one reason.

    Args:
        reasons: why rows were dropped so far.
        rows: how many rows that are, dropped or not.

    Raises:
        UsageError: they are, and the job is not to keep going.
    """
    if rows == TRIED_ROWS and not job.keep_going and [count for count, _ in reasons.values()] == [rows]:
        raise UsageError(
            f"none of the first {rows} rows of {job.input} can be used, all for one reason:\n{listed(reasons)}\n"
            "--keep-going continues after them"
        )


def fingerprint(job: Job, identity: Identity) -> dict[str, Scalar]:
    """Every setting that can change output, by flat name; others (batch size, device) are left out."""
    found: dict[str, Scalar] = {
        "method": job.method.name,
        **{f"method.{name}": value for name, value in settings(job.method).items()},
        "schema": SCHEMA_VERSION,
        "engine": job.engine.engine,
        **job.recorded(),
    }
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
        if job.engine.similarity_dtype != EngineConfig.similarity_dtype:
            found["similarity_dtype"] = job.engine.similarity_dtype
    if job.engine.also:
        found |= {"also": " ".join(job.engine.also), "also_revisions": " ".join(identity.also_revisions)}
    if identity.annotator_revision or (job.engine.engine == "openai" and Annotate in job.method.asks):
        found |= {
            "annotator": job.engine.annotator or job.engine.model,
            "annotator_revision": identity.annotator_revision,
        }
    if job.judge is not None and job.judged:
        found["judge"] = job.judge.model  # not where it is served: it may move
        if job.judge.reasoning_effort:
            found["judge_reasoning_effort"] = job.judge.reasoning_effort
    arguments = engine_args.recorded(job.engine.engine_args)
    return found | {f"engine_arg.{name}": value for name, value in arguments.items()}


def provenance(job: Job, identity: Identity) -> Provenance:
    """The provenance that every row records."""
    fake = job.engine.engine == "fake"
    policy = of_policy(job.method.asks)
    embeds = Embed in job.method.asks and job.engine.similarity_model != NO_SIMILARITY
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
        similarity_model="fake" if fake and embeds else job.engine.similarity_model if embeds else "",
        similarity_revision=identity.similarity_revision,
        also=list(zip(job.engine.also, identity.also_revisions or [""] * len(job.engine.also), strict=True)),
        versions=build.versions(job.engine),
    )


def planned_rows(
    job: Job, directory: RunDirectory, surveyed: ReadRows[Sample | Dropped] | None = None
) -> Rows[Sample | Dropped]:
    """The planned rows of a run, of which those of the first shards are passed over if these are committed.

    Args:
        surveyed: those that the survey has read; they are used up.
    """
    plan = directory.plan

    def read(shard: int) -> tuple[int, Iterator[Sample | Dropped]]:
        done = next((other for other in range(shard) if not directory.committed(other)), shard)
        if not done or not plan.starts:
            return 0, job.read()
        position = sources.Position(*plan.starts[done], plan.shards[done].start, frozenset(plan.repeats))
        return position.number, job.read(position)

    return Rows(plan, read, surveyed)


class Filling:
    """Fills the shards of a run in this process.

    Args:
        engines: answer what the job's method asks for.
        constants: what every row records.
        surveyed: as in `planned_rows`.
    """

    def __init__(
        self,
        job: Job,
        directory: RunDirectory,
        engines: Engines,
        constants: Provenance,
        surveyed: ReadRows[Sample | Dropped] | None = None,
    ) -> None:
        self._job, self._directory, self._engines, self._constants = job, directory, engines, constants
        self._rows = planned_rows(job, directory, surveyed)
        self._trial = _trial(job, directory, engines)

    def work(self, shards: Iterable[int], listener: Listener, interrupts: Interrupts) -> None:
        """Fill and commit shards, while the images of the next one are loaded.

        Raises:
            CorruptRun: if there are fewer rows than planned.
            Stopped: if a signal came; the shard that was in flight has been committed, unless it waited for a judge,
                whose replies so far are in the ledger.
        """
        loaded = ((shard, [self._job.load(row) for row in self._rows.of(shard)]) for shard in shards)
        with ThreadPoolExecutor(max_workers=1) as background:
            upcoming = background.submit(next, loaded, None)
            while (current := upcoming.result()) is not None:
                upcoming = background.submit(next, loaded, None)
                shard, items = current
                started = time.monotonic()
                listener.begin(shard)
                outcomes = _outcomes(items, self._job.method, self._engines, listener, interrupts.check, self._trial)
                self._job.commit(self._directory, shard, outcomes, self._constants, time.monotonic() - started)
                listener.committed(shard)
                interrupts.check()


def ask_in_batches(job: Job, directory: RunDirectory, engines: Engines, batches: Batches) -> None:
    """Answer all requests of the pending rows to a judge through its Batch API.

    In each round every flow runs as far as the ledger has answers; what is missing becomes the next batches.
    """
    batches.run()
    while True:
        lines = batches.lines()
        asking = {**engines, Chat: lines}
        rows = planned_rows(job, directory)
        for shard in directory.pending():
            items = [job.load(row) for row in rows.of(shard)]
            for _ in drive([group[0] for group in _samples(items).values()], job.method, asking):
                pass
        if not lines.written and not lines.short:
            return
        batches.run(lines)


def _outcomes(
    items: list[Sample | Dropped],
    method: Method,
    engines: Engines,
    listener: Listener,
    check: Callable[[], None],
    trial: FirstRows | None = None,
) -> list[Outcome]:
    """One outcome per row, in order. The flow of a sample with several rows is run once."""
    done: dict[int, Outcome] = {place: item for place, item in enumerate(items) if isinstance(item, Dropped)}
    for outcome in done.values():
        listener.advance(outcome)
    groups = list(_samples(items).values())
    places = {item.row_id: place for place, item in enumerate(items) if isinstance(item, Sample)}
    samples = [group[0] for group in groups]
    asked = {**engines, Borrow: Album(samples)}
    for index, found in _driven(samples, method, asked, check, trial):
        for row in groups[index]:
            outcome = done[places[row.row_id]] = _of_row(found, row)
            listener.advance(outcome)
    return [done[place] for place in range(len(items))]


def _driven(
    samples: list[Sample], method: Method, engines: Engines, check: Callable[[], None], trial: FirstRows | None
) -> Iterator[tuple[int, Outcome | list[Outcome]]]:
    """The outcomes of samples: all driven at once, but a few at a time while a judge is on trial."""

    def checked() -> None:
        check()
        if trial is not None:
            trial.check()

    tried = 0
    while trial is not None and not trial.over and tried < len(samples):
        for index, found in drive(samples[tried : tried + TRIAL_ROWS], method, engines, checked):
            trial.see(found)
            yield tried + index, found
        tried += TRIAL_ROWS
    for index, found in drive(samples[tried:], method, engines, check):
        yield tried + index, found


class FirstRows:
    """The first rows of a run with paid replies: if no reply is of use, the run stops.

    Attributes:
        over: whether a reply was of use, so that nothing is held back any more.
    """

    def __init__(self, engine: ChatEngine, calls: int | None, of_use: Sequence[str]) -> None:
        self.over = False
        self._engine, self._most, self._of_use = engine, calls, of_use
        self._dropped: list[Dropped] = []
        engine.hold(calls)

    def see(self, found: Outcome | list[Outcome]) -> None:
        """Record the outcome of a row.

        Raises:
            UnusableReplies: if it, and every one before it, failed for one reason.
        """
        outcomes = found if isinstance(found, list) else [found]
        dropped = [
            outcome for outcome in outcomes if isinstance(outcome, Dropped) and outcome.reason not in self._of_use
        ]
        if len(dropped) < len(outcomes):
            self.over = True
            self._engine.hold(None)
        self._dropped += dropped[:1]
        if self._most is None and not self.over and self._engine.calls >= TRIAL_CALLS:
            if len(self._dropped) >= TRIAL_ROWS and len({one.reason for one in self._dropped}) == 1:
                self._stop([])
            self.over = len(self._dropped) >= TRIAL_ROWS

    def check(self) -> None:
        """Raise if the judge should not be asked further.

        Raises:
            UnusableReplies: if all calls were made that a trial has, and no row became a pair.
        """
        if not self.over and (held := self._engine.held()):
            self._stop([request.after for request in held if request.after])

    def _stop(self, problems: list[str]) -> None:
        problems = [*(f"{one.reason}: {one.detail}" for one in self._dropped), *problems]
        reasons = Counter(problem.partition(":")[0] for problem in problems)
        message = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        shown = " ".join(self._engine.last_reply.split())[:400]
        raise UnusableReplies(
            f"no pair resulted from the first {self._engine.calls} calls to the judge "
            f"({message or 'no reply was read'})\n"
            + (f"the last problem: {problems[-1]}\n" if problems else "")
            + (f"the latest reply: {shown}\n" if shown else "")
            + "Replies are kept, and the same command continues with as many calls again; --keep-going skips "
            "this check"
        )


def _trial(job: Job, directory: RunDirectory, engines: Engines) -> FirstRows | None:
    """A trial, if replies are paid for and none has been used yet."""
    if not job.judged or job.judge is None or job.judge.keep_going:
        return None
    from prefgen.engines.chat.engine import ChatEngine  # needs openai, which a data-only environment is without

    engine = engines.get(Chat)
    if not isinstance(engine, ChatEngine):
        return None
    if any(commit.pairs for commit in Layout(job.output).read_commits()):
        return None
    ties = ("ANSWER_TIE",) if getattr(job.method, "by", "") == "claims" else ()  # the judge only splits
    return FirstRows(engine, TRIAL_CALLS if hasattr(job.method, "attempts") else None, (*_OF_USE, *ties))


def _samples(items: Iterable[Sample | Dropped]) -> dict[str, list[Sample]]:
    """The rows of each sample, by its id."""
    groups: dict[str, list[Sample]] = {}
    for item in items:
        if isinstance(item, Sample):
            groups.setdefault(item.id, []).append(item)
    return groups


def _of_row(found: Outcome | list[Outcome], row: Sample) -> Outcome:
    """The outcome of one row of a sample; a dropped sample drops each of its rows."""
    outcome = found[row.part] if isinstance(found, list) else found
    if isinstance(outcome, Pair):
        return outcome if outcome.sample is row else dataclasses.replace(outcome, sample=row)
    return dataclasses.replace(outcome, id=row.row_id, tokens=0 if row.part else outcome.tokens)
