"""The model card: what was trained on what, how, and with which result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import prefgen

if TYPE_CHECKING:
    from prefgen.train.job import Job

_SHOWN = ("loss", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected", "logps/end")


def render(job: Job, revision: str, digests: Sequence[str], samples: int, steps: Sequence[dict[str, float]]) -> str:
    """README.md of a trained model.

    Args:
        steps: metrics of every step.
    """
    online = dataclasses.asdict(job.online) if job.online else {}
    settings = {**dataclasses.asdict(job.objective), **dataclasses.asdict(job.optimisation), **online}
    first, last = steps[0], steps[-1]
    library = "peft" if job.optimisation.save == "adapter" else "transformers"
    return "\n".join(
        [
            "---",
            f"base_model: {job.engine.model}",
            f"library_name: {library}",
            "pipeline_tag: image-text-to-text",
            f"tags: [prefgen, {job.objective.loss}]",
            "---",
            "",
            f"# {job.output.resolve().name}",
            "",
            f"`{job.engine.model}` ({revision}) aligned with {job.objective.loss} on {samples:,} samples by "
            f"[prefgen](https://pypi.org/project/prefgen/) {prefgen.__version__}.",
            "",
            "```",
            job.command,
            "```",
            "",
            "| data | digest of its manifest |",
            "| --- | --- |",
            *(f"| {run.resolve().name} | `{digest}` |" for run, digest in zip(job.runs, digests, strict=True)),
            "",
            f"| metric | step {first['step']} | step {last['step']} |",
            "| --- | --- | --- |",
            *(f"| {name} | {first[name]:.4f} | {last[name]:.4f} |" for name in _SHOWN),
            "",
            "At the first step policy and reference are one model. `logps/end` is the log-probability of the chosen "
            "answers' end token: where it falls, answers grow longer.",
            "",
            "| setting | value |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in settings.items()),
            "",
        ]
    )
