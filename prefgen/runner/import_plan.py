"""The plan of an import, from one pass over its input."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefgen import sources
from prefgen.records import Pair
from prefgen.rundir.schema import IMAGE_TAG
from prefgen.runner.import_job import ImportJob, Survey

_BEGINNINGS = 20  # of rows' ids that are shown


def render(found: Survey, job: ImportJob) -> RenderableType:
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


def _images(found: Survey) -> str:
    """Where the pictures are, without entries that are zero."""
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
