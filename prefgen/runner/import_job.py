"""Imports as runs: plan, pairs with their images, and shards."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefgen import sources
from prefgen.addresses import redact
from prefgen.card.summary import Summary
from prefgen.console import Console
from prefgen.errors import UsageError
from prefgen.formats import IMPORTERS, PRESETS, Importer, listing
from prefgen.images import Fetch, load_images
from prefgen.options import flag
from prefgen.records import Dropped, Image, ImageRef, Outcome, Pair, Sample
from prefgen.rundir.layout import Layout, Plan, Scalar
from prefgen.rundir.schema import IMAGE_TAG, SCHEMA_VERSION, Provenance
from prefgen.rundir.shards import RunDirectory
from prefgen.runner.finishing import Card, complete, stoppable
from prefgen.runner.reporter import Reporter
from prefgen.runner.rows import Rows
from prefgen.signals import Interrupts
from prefgen.sources import MissingReport, SourceOptions
from prefgen.sources.fetch import fetch

_BEGINNINGS = 20  # of rows' ids that are shown
_BEGINNING = re.compile(r"\d.*", re.DOTALL)  # what follows it in a row's id


def _fields(kind: Any) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))


@dataclass(frozen=True)
class ImportJob:
    """Settings of an import.

    Attributes:
        source: where images are, and which rows to take: `limit`, `sample` and `seed` apply to the pairs.
        shard_size: pairs of a shard, the unit of commit and resume.
    """

    importer: Importer
    input: str
    source: SourceOptions
    output: Path
    shard_size: int
    config: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        options: Mapping[str, Any],
        input: str,
        source: SourceOptions,
        output: Path,
        shard_size: int,
        config: str = "",
    ) -> ImportJob:
        """The import of a set or preset by name.

        Raises:
            UsageError: the name is unknown, or the importer has no such option.
        """
        preset = PRESETS.get(name)
        kind = IMPORTERS.get(preset.importer if preset else name)
        if kind is None:
            raise UsageError(listing.unknown(f"no set {name!r}", name, [*IMPORTERS, *PRESETS]))
        settings = {**(preset.options if preset else {}), **options}
        for given in settings.keys() - _fields(kind):
            having = [other for other, value in IMPORTERS.items() if given in _fields(value)]
            raise UsageError(f"{flag(given)} is an option of {', '.join(having) or 'no importer'}, not of {name}")
        if preset and not source.sample:
            source = dataclasses.replace(source, sample=preset.sample)
        common = {"source": source, "seed": source.seed}
        settings |= {key: value for key, value in common.items() if key in _fields(kind)}
        return cls(kind(**settings), input, source, output, shard_size, config)

    def read(self) -> Iterator[Pair | Dropped]:
        """The planned outcomes, images not loaded."""
        found = self.importer(self.input)
        if self.source.sample is not None:
            count, seed = self.source.sample, self.source.seed
            found = sources.drawn(lambda: self.importer(self.input), _pair_id, count, seed)
        return islice(found, self.source.limit)

    def fingerprint(self) -> dict[str, Scalar]:
        """Every setting that can change output, by flat name."""
        options = dataclasses.asdict(self.importer)  # type: ignore[call-overload]  # every importer is a dataclass
        options |= {"source": None}
        flat = {f"import.{name}": value for name, value in options.items() if value is not None}
        flat |= self.source.recorded()
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in flat.items()}
        return {
            "method": self.importer.name,
            "schema": SCHEMA_VERSION,
            "input_sha256": sources.fingerprint(self.input, self.source),
            **settings,
        }


@dataclass(frozen=True)
class ImportSurvey:
    """Findings of one pass over an import's input, without opening pictures.

    Attributes:
        rows: planned rows, those included that the importer drops.
        dropped: how many those are, by reason.
        examples: what was found in the first of each.
        embedded: pictures that the rows themselves hold.
        addresses: those that are given by URL.
        prompts: where the importer takes some prompts by their row's id: rows by the beginning of their ids, and
            whether it takes them.
        first: the first pair, if there is any.
    """

    rows: int
    dropped: Mapping[str, int]
    examples: Mapping[str, str]
    embedded: int
    addresses: int
    first: Pair | None
    missing: MissingReport
    prompts: Mapping[tuple[str, bool], int] = field(default_factory=dict)


def survey(job: ImportJob) -> ImportSurvey:
    """Read the input once."""
    rows = 0
    dropped: Counter[str] = Counter()
    examples: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    first: Pair | None = None

    def samples() -> Iterator[Sample | Dropped]:
        nonlocal rows, first
        for outcome in job.read():
            rows += 1
            if isinstance(outcome, Dropped):
                dropped[outcome.reason] += 1
                examples.setdefault(outcome.reason, outcome.detail)
                yield outcome
            else:
                first = first or outcome
                sample = _with_all_images(outcome)
                refs = [image for image in sample.images if isinstance(image, ImageRef)]
                kinds["embedded"] += sum(image.data is not None for image in refs)
                kinds["addresses"] += sum(image.url is not None for image in refs)
                yield sample

    missing = sources.missing_report(samples(), job.source.root(job.input))
    return ImportSurvey(
        rows,
        dict(dropped.most_common()),
        examples,
        kinds["embedded"],
        kinds["addresses"],
        first,
        missing,
        _prompts(job),
    )


def _prompts(job: ImportJob) -> dict[tuple[str, bool], int]:
    """Numbers of rows by the first characters of their ids, and whether the importer takes them."""
    found: Counter[tuple[str, bool]] = Counter()
    pattern = getattr(job.importer, "prompt_source", "*")
    if pattern != "*":
        for outcome in job.importer(job.input):
            name = outcome.source_id if isinstance(outcome, Dropped) else outcome.sample.source_id
            found[_BEGINNING.sub("", name), fnmatchcase(name.lower(), pattern.lower())] += 1
    return dict(found.most_common())


def work(job: ImportJob, directory: RunDirectory, fetch: Fetch | None, advance: Callable[[Outcome], None]) -> None:
    """Fill and commit every pending shard.

    Raises:
        CorruptRun: if there are fewer rows than planned.
        Stopped: if a signal came; the shard that was in flight has been committed.
    """
    root = job.source.root(job.input)
    constants = Provenance("", "", "import", versions={"prefgen": importlib.metadata.version("prefgen")})

    def load(outcome: Outcome) -> Outcome:
        if isinstance(outcome, Dropped):
            return outcome
        named = _with_all_images(outcome)
        loaded = load_images(named, root, fetch)
        if isinstance(loaded, Dropped):
            return loaded
        images = tuple(_as_recorded(*both) for both in zip(loaded.loaded_images, named.images, strict=True))
        count = len(outcome.sample.images)
        sample = dataclasses.replace(loaded, images=images[:count])
        return dataclasses.replace(outcome, sample=sample, rejected_images=images[count:])

    rows = Rows(directory.plan, lambda _: (0, job.read()))
    started = time.monotonic()
    with Interrupts() as interrupts:
        for shard in directory.pending():
            outcomes = [load(row) for row in rows.of(shard)]
            for outcome in outcomes:
                advance(outcome)
            directory.commit(shard, outcomes, constants, time.monotonic() - started)
            started = time.monotonic()
            interrupts.check()


def _with_all_images(pair: Pair) -> Sample:
    """The pair's sample with the rejected images after its own."""
    return dataclasses.replace(pair.sample, images=(*pair.sample.images, *pair.rejected_images))


def _as_recorded(image: Image, named: Image | ImageRef) -> Image:
    """The image with the path that an earlier run recorded, if it is the same image."""
    record = named.recorded if isinstance(named, ImageRef) else None
    if record is None or record.sha256 != image.sha256:
        return image
    return dataclasses.replace(image, path=record.path, how=record.how, original=record.original)


def _pair_id(outcome: Outcome) -> str | None:
    return outcome.sample.id if isinstance(outcome, Pair) else None


def import_pairs(job: ImportJob, card: Card, reporter: Reporter, *, dry_run: bool = False) -> Summary | None:
    """Import a set into a run directory, or resume that.

    Args:
        dry_run: show the plan and the first pair, then stop.

    Returns:
        Figures of the finished run; None after a dry run.

    Raises:
        UsageError: no row gives a pair, or none of the images is there. Stopped: by a signal.
    """
    with stoppable(job.output):
        rows = _planned_rows(job, reporter.console, with_pair=dry_run)
        if dry_run:
            return None

        def fill(directory: RunDirectory, rows: int, done: int) -> None:
            with reporter.progress(rows, done) as progress:
                work(job, directory, fetch if job.source.allow_urls else None, progress.advance)

        planned = Plan(rows, job.shard_size, job.fingerprint(), job.config)
        return complete(job.output, planned, card, reporter, fill)


def _planned_rows(job: ImportJob, console: Console, *, with_pair: bool) -> int:
    if Layout(job.output).plan.exists():  # a run to resume; only a new one needs a pass over its input
        return Layout(job.output).read_plan().rows
    found = survey(job)
    missing = found.missing
    if missing.missing:
        console.print(missing.describe(), style="yellow", highlight=False, markup=False)
    if 0 < missing.missing == missing.images:
        roots = " or ".join(f"--image-root {redact(root)}" for root in job.source.roots)
        where = f"under {roots}" if roots else "there"
        raise UsageError(
            f"none of the images of {sources.shown(job.input)} is {where}: "
            "name the folder that holds them with --image-root"
        )
    console.print(render_plan(found, job))
    if found.first is None:
        raise UsageError(f"no row of {sources.shown(job.input)} gives a pair: see the reasons above")
    if with_pair:
        console.print(render_pair(found.first))
    return found.rows


def render_plan(found: ImportSurvey, job: ImportJob) -> RenderableType:
    """The plan as a table."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("input", Text(sources.shown(job.input)))
    table.add_row("read as", job.importer.name)
    table.add_row("rows", f"{found.rows:,}")
    for reason, count in found.dropped.items():
        table.add_row("", Text(f"{count:,} dropped, {reason}, e.g. {found.examples[reason][:200]}"))
    if found.prompts:
        taken = sum(count for (_, is_taken), count in found.prompts.items() if is_taken)
        table.add_row("prompts", f"{taken:,} rows have an id that --prompt-source takes")
        for (beginning, is_taken), count in [*found.prompts.items()][:_BEGINNINGS]:
            table.add_row("", Text(f"{count:,} begin with {beginning!r}: {'taken' if is_taken else 'left out'}"))
    table.add_row("images", _images(found))
    if found.first:
        table.add_row("licence", Text(found.first.sample.licence or "not stated"))
    table.add_row("output", Text(f"{job.output}, shards of {job.shard_size}"))
    return table


def _images(found: ImportSurvey) -> str:
    """Numbers of pictures by location, without zeros."""
    kinds = {
        f"{found.embedded:,} embedded": found.embedded,
        f"{found.missing.images:,} named, {found.missing.missing:,} not found": found.missing.images,
        f"{found.addresses:,} by URL": found.addresses,
    }
    return "; ".join(text for text, count in kinds.items() if count) or "none"


def render_pair(pair: Pair) -> RenderableType:
    """One pair as it will be stored, with pictures as tags."""
    lines = [Text("\nthe first pair", style="bold")]
    for turn in pair.sample.prompt:
        said = "".join(part if isinstance(part, str) else IMAGE_TAG for part in turn.parts)
        lines.append(Text(f"{turn.role}: {said}"))
    lines += [Text(f"chosen: {pair.chosen}"), Text(f"rejected: {pair.rejected}")]
    return Group(*lines)
