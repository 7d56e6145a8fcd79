"""What a run is going to do: told before it starts, from the first rows and the model's processor."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefgen import text
from prefgen.engines.preview import Preview
from prefgen.launch import Job
from prefgen.methods.bdhs import BDHS
from prefgen.records import Sample
from prefgen.restrict import alpha_bar


@dataclass(frozen=True)
class Estimate:
    """Expected size of a run; the figures are means of its first rows, carried over to all.

    Attributes:
        sentences: of all reference answers together.
        kept_tokens: expected image tokens left visible, of `image_tokens`.
    """

    rows: int
    sentences: float
    text_tokens: float
    image_tokens: float
    kept_tokens: float
    prompt: str


def estimate(rows: int, answers: Sequence[str], preview: Preview, method: BDHS) -> Estimate:
    """Carry the figures of some samples over to all rows.

    Args:
        answers: reference answers of some rows, at least one.
    """
    view = method.view("", 1)
    sentences = [len(text.split_sentences(answer, method.splitter, method.language)) for answer in answers]
    return Estimate(
        rows=rows,
        sentences=statistics.mean(sentences) * rows,
        text_tokens=preview.text_tokens * rows,
        image_tokens=preview.image_tokens,
        kept_tokens=view.expected_kept(round(preview.image_tokens)),
        prompt=preview.prompt,
    )


def render(expected: Estimate, job: Job) -> RenderableType:
    """The plan as a table."""
    method = job.method
    view = method.view("", 1)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("input", Text(job.input))
    table.add_row(
        "rows", f"{expected.rows:,} ({expected.sentences:,.0f} sentences, {expected.text_tokens:,.0f} text tokens)"
    )
    detail = {"fake": "", "openai": f" at {job.engine.base_url}"}.get(
        job.engine.engine, f", attention {job.engine.attention}"
    )
    table.add_row("model", Text(f"{job.engine.model} ({job.engine.engine}{detail})"))
    table.add_row("method", f"{method.name} {method.variant}, {'guided' if method.guidance else 'unguided'}")
    if view.masks:
        share = expected.kept_tokens / expected.image_tokens if expected.image_tokens else 0.0
        table.add_row(
            "image tokens",
            f"{expected.kept_tokens:.1f} of {expected.image_tokens:.0f} expected to stay visible ({share:.1%})",
        )
        if method.keep_tokens is None and 0.0 < method.rho < 1.0:
            table.add_row("", f"none at all in {method.rho**expected.image_tokens:.0%} of the draws")
    if view.noise_steps:
        left = alpha_bar(view.noise_steps, view.schedule) ** 0.5
        table.add_row(
            "noise", f"N = {view.noise_steps}: {left:.3f} of the amplitude is left ({view.noise_space} space)"
        )
    embedder = "bags of words (fake)" if job.engine.engine == "fake" else job.engine.similarity_model
    table.add_row("similarity", f"{embedder}; answers from {method.similarity_threshold} on are made again")
    table.add_row("iterations", f"at most {method.iterations}")
    table.add_row("output", Text(f"{job.output}, shards of {job.shard_size}"))
    return table


def render_prompt(expected: Estimate, sample: Sample, method: BDHS) -> RenderableType:
    """One prompt as the model sees it, and the beginnings that it is asked to complete in the first iteration."""
    lines = [Text("\nprompt of the first row", style="bold"), Text(expected.prompt)]
    if method.guidance:
        lines.append(
            Text("\nits reference, cut for iteration 1 (what stands behind the bar is re-generated)", style="bold")
        )
        for k, sentence in enumerate(text.split_sentences(sample.answer or "", method.splitter, method.language)):
            cut = method.cut(sentence, sample.id, 1, k)
            swapped = " (yes/no swapped)" if cut.swap else ""
            lines.append(Text(f"{cut.prefix} ▏{sentence.body[cut.offset :].strip()}{swapped}"))
    return Group(*lines)
