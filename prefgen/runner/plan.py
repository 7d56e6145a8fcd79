"""The plan of a run: expected size, tokens and time, from the first rows and the model's processor."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefgen import sources, text
from prefgen.engines.base import NO_SIMILARITY
from prefgen.engines.hf.preview import Preview
from prefgen.estimate import costs, forecast, hardware, workload
from prefgen.methods.base import Method
from prefgen.records import Sample
from prefgen.requests import Chat, Embed, of_policy
from prefgen.runner.launch import Job, Survey

_COLUMNS = 12  # that are named


@dataclass(frozen=True)
class Estimate:
    """Expected size of a run, extrapolated from the means of its first rows.

    Attributes:
        sentences: of all reference answers together.
        image_tokens: of one prompt.
    """

    rows: int
    sentences: float
    text_tokens: float
    image_tokens: float
    prompt: str


def estimate(rows: int, answers: Sequence[str], preview: Preview) -> Estimate:
    """Extrapolate the figures of some samples to all rows.

    Args:
        answers: reference answers of some rows, at least one.
    """
    return Estimate(
        rows=rows,
        sentences=statistics.mean(len(text.split_sentences(answer)) for answer in answers) * rows,
        text_tokens=preview.text_tokens * rows,
        image_tokens=preview.image_tokens,
        prompt=preview.prompt,
    )


def render(expected: Estimate, job: Job, samples: Sequence[Sample], found: Survey | None = None) -> RenderableType:
    """The plan as a table.

    Args:
        samples: some of the rows, images loaded; the cost of a judge is estimated from them.
        found: the survey of the input, which knows what is not made use of.
    """
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("input", Text(sources.shown(job.input)))
    table.add_row(
        "rows", f"{expected.rows:,} ({expected.sentences:,.0f} sentences, {expected.text_tokens:,.0f} text tokens)"
    )
    if found is not None and found.unanswered:
        table.add_row(
            "answers", f"{found.unanswered:,} samples have none: if a column holds them, --columns answer=COLUMN"
        )
    if found is not None and found.kept:
        most = [f"{name} ({count:,} rows)" for name, count in list(found.kept.items())[:_COLUMNS]]
        more = f" and {len(found.kept) - _COLUMNS} more" if len(found.kept) > _COLUMNS else ""
        table.add_row("not asked", Text(f"kept in meta: {', '.join(most)}{more}"))
    fake = job.engine.engine == "fake"
    if job.engine.model:
        details = {"fake": "", "openai": f" at {job.engine.base_url}"}
        detail = details.get(job.engine.engine, f", attention {job.engine.attention}")
        table.add_row("model", Text(f"{job.engine.model} ({job.engine.engine}{detail})"))
    for name, sentence in job.method.explain(expected.image_tokens):
        table.add_row(name, Text(sentence))
    if Embed in job.method.asks:
        named = "not recorded" if job.engine.similarity_model == NO_SIMILARITY else job.engine.similarity_model
        table.add_row("similarity", Text("bags of words (fake)" if fake else named))
    if job.judge is not None and Chat in job.method.asks:
        for name, sentence in costs.expect(job.judge, job.method, samples, expected.rows):
            table.add_row(name, Text(sentence))
    if not fake and job.engine.engine != "openai" and of_policy(job.method.asks):
        for name, sentence in _forecast(expected, job, samples):
            table.add_row(name, Text(sentence))
    table.add_row("output", Text(f"{job.output}, shards of {job.shard_size}"))
    return table


def _forecast(expected: Estimate, job: Job, samples: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    """Expected time and disk space on this machine's device."""
    from prefgen.engines.hf import loading, shape

    characters = sum(len(turn.text) for sample in samples for turn in sample.prompt)
    characters += sum(len(sample.answer or "") for sample in samples)
    rate = expected.text_tokens / expected.rows * len(samples) / max(characters, 1)
    device = hardware.of_device(loading.resolve_device(job.engine.device))
    found = forecast.forecast(
        expected.rows,
        workload.work(job.method, samples, expected.image_tokens, lambda written: rate * len(written)),
        workload.rounds(job.method),
        shape.of_model(job.engine),
        device,
        embedder=job.engine.similarity_model if Embed in job.method.asks else "",
        picture_bytes=statistics.mean(sum(len(image.data) for image in sample.loaded_images) for sample in samples),
    )
    yield "device", device.describe()
    yield from forecast.lines(found)


def render_prompt(expected: Estimate, sample: Sample, method: Method) -> RenderableType:
    """One rendered prompt, and what the method would ask for in its first round."""
    lines = [Text("\nprompt of the first row", style="bold"), Text(expected.prompt)]
    for number, line in enumerate(method.rehearse(sample)):
        lines.append(Text(line if number else f"\n{line}", style="" if number else "bold"))
    return Group(*lines)
