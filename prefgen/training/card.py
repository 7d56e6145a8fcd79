"""The model card of a trained model: data, method and results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import prefgen
from prefgen.training import processes, rollouts

if TYPE_CHECKING:
    from prefgen.training.callbacks import Metrics
    from prefgen.training.state import Prepared, TrainingJob

_SHOWN = ("loss", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected", "logps/end")
_RATED = ("loss", "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected")
_SAMPLED = (
    *("loss", "reward", "reward_std", "kl", "entropy"),
    *("completions/mean_length", "completions/clipped_ratio", "alike"),
)
_NOTES = {
    "": "At the first step policy and reference are one model. `logps/end` is the log-probability of the chosen "
    "answers' end token: where it falls, answers grow longer.",
    "samples": "`kl` is of whole answers, in nats; `alike` is the share of prompts all of whose answers are alike. A "
    "reward that rises says nothing of what it leaves out: measure the model by other means.",
    "rm": "This is a reward model: `reward_head.safetensors` is the head on the state of an answer's last token, "
    "`reward.json` has the mean and spread of its rewards. `prefgen.rewards.Reward` loads both.",
}


def render(
    job: TrainingJob, prepared: Prepared, digests: Sequence[str], steps: Sequence[Metrics], held_out: Sequence[Metrics]
) -> str:
    """The README.md of a trained model.

    Args:
        steps: metrics of every step.
        held_out: of every measurement of the held-out samples; empty if there are none.
    """
    settings = {**dataclasses.asdict(job.objective), **dataclasses.asdict(job.optimisation)}
    settings |= dataclasses.asdict(job.online) if job.online else {}
    settings["processes"] = processes.count()
    columns = [(f"step {entry['step']}", "", entry) for entry in (steps[0], steps[-1])]
    columns += [(f"held out, step {entry['step']}", "eval_", entry) for entry in (*held_out[:1], *held_out[-1:])]
    without = f"; {len(prepared.held_out):,} more are held out" if held_out else ""
    kind = "rm" if job.objective.loss == "rm" else "samples" if job.objective.samples else ""
    shown = {"rm": _RATED, "samples": _SAMPLED}.get(kind, _SHOWN)
    did = "trained as a reward model" if kind == "rm" else f"aligned with {job.objective.loss}"
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
            f"`{job.engine.model}` ({prepared.loaded.revision}) {did} on "
            f"{len(prepared.trained_on):,} samples by [prefgen](https://pypi.org/project/prefgen/) "
            f"{prefgen.__version__}{without}.",
            "",
            "```",
            job.command,
            "```",
            "",
            "| data | digest of its manifest |",
            "| --- | --- |",
            *(f"| {run.name} | `{digest}` |" for run, digest in zip(prepared.dataset.runs, digests, strict=True)),
            "",
            f"![{', '.join(shown)} by step](training/curves.svg)",
            "",
            _line("metric", *(head for head, _, _ in columns)),
            _line(*["---"] * (1 + len(columns))),
            *(_line(name, *(_figure(entry.get(prefix + name)) for _, prefix, entry in columns)) for name in shown),
            "",
            _NOTES[kind],
            *(["", f"**Collapse**: {collapsed}."] if (collapsed := rollouts.collapse(steps)) else []),
            "",
            "| setting | value |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in settings.items()),
            "",
        ]
    )


def _figure(value: float | None) -> str:
    """A metric as text; unknown for a step without samples."""
    return "–" if value is None else f"{value:.4f}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
