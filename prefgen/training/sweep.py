"""Training runs over a grid of settings, one folder each, and a table of their held-out metrics.

The reference is computed once for all. A run that is finished is not repeated, one that was stopped goes on, and one
whose loss became no number is said to have. Of all models the best is kept: those of a grid would fill a disk.

Runs are ordered by held-out accuracy, then by held-out loss. Losses under different β are on different scales, so the
loss decides only between runs that order equally many pairs rightly.
"""

from __future__ import annotations

import gc
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import torch

from prefgen import durable
from prefgen.errors import Diverged, UsageError
from prefgen.records import Dropped
from prefgen.training import checkpoints, saved
from prefgen.training import run as job_
from prefgen.training.callbacks import Asked, Metrics
from prefgen.training.config import Loss, settled
from prefgen.training.rows import TrainingSample
from prefgen.training.state import Prepared, TrainingJob

PAPER = {"lr": (1e-7, 5e-7, 1e-6, 5e-6), "projector-lr": (2e-5, 2e-6, 2e-7), "epochs": (3, 5, 7), "batch": (16, 32, 48)}
PAPER_BETA: Mapping[Loss, tuple[float, ...]] = {
    "dpo": (0.05, 0.1, 0.2, 0.5),
    "ipo": (0.8, 0.9, 1.0),
    "ipo-sum": (0.8, 0.9, 1.0),
    "slic": (0.02, 0.1, 0.2),
}
"""The search space of appendix A, with β for each loss."""
AXES = (
    "beta",
    *PAPER,
    "gamma",
    "pair-weight",
    "quality-weight",
    "sft-weight",
    "label-smoothing",
    "lora-r",
    "lora-alpha",
)
"""What a grid may span: settings that change neither the samples nor which of them are held out."""
_WHOLE = ("batch", "lora-r", "lora-alpha")
_SHOWN = {
    "accuracy": "eval_rewards/accuracies",
    "loss": "eval_loss",
    "margin": "eval_rewards/margins",
    "chosen": "eval_logps/chosen",
    "end": "eval_logps/end",
}
_FAILED = "failed.json"
_TABLE, _README = "sweep.json", "README.md"

Axes = Mapping[str, tuple[float, ...]]


class SweepListener(Protocol):
    """Receives the progress of a sweep."""

    def begin(self, name: str, steps: int, samples: int) -> None:
        """A run starts or resumes."""

    def reference(self, done: int) -> None:
        """The reference of so many samples is computed."""

    def add(self, metrics: Metrics) -> None:
        """Metrics of a step or of held-out samples."""

    def say(self, text: str) -> None:
        """A message to print."""


@dataclass(frozen=True)
class Point:
    """One run of a grid.

    Attributes:
        settings: by the names of `AXES`.
    """

    name: str
    settings: Mapping[str, float]
    job: TrainingJob

    @property
    def result(self) -> Metrics | None:
        """The last metrics; empty if the loss was not a number, None if the run has not ended."""
        if job_.finished(self.job):
            return job_.result(self.job)
        return {} if (self.job.records / _FAILED).exists() else None

    @property
    def has_model(self) -> bool:
        """True if its model or adapter exists."""
        return any(self.job.output.glob("*.safetensors"))

    @property
    def order(self) -> tuple[float, float]:
        """Sort key: ended runs by held-out metrics, best first, those without metrics last."""
        metrics = self.result or {}
        return -metrics.get(_SHOWN["accuracy"], -math.inf), metrics.get(_SHOWN["loss"], math.inf)


def parse(given: Sequence[str], loss: Loss) -> dict[str, tuple[float, ...]]:
    """The grid of ``paper`` and ``name=value,value``; named values replace the paper's.

    Raises:
        UsageError: one cannot be read, or names no axis.
    """
    named = {}
    for text in given:
        if text == "paper":
            continue
        name, _, values = text.partition("=")
        if name not in AXES:
            raise UsageError(f"--sweep {text!r}: choose `paper`, or name=value,value with one of {', '.join(AXES)}")
        try:
            found = tuple(dict.fromkeys(map(float, values.split(","))))
        except ValueError:
            raise UsageError(f"--sweep {text!r}: give numbers, such as {name}=1,2") from None
        if name in _WHOLE and not all(value.is_integer() for value in found):
            raise UsageError(f"--sweep {text!r}: give whole numbers")
        named[name] = found
    betas = {"beta": PAPER_BETA[loss]} if loss in PAPER_BETA else {}  # sft has none
    return {**({**betas, **PAPER} if "paper" in given else {}), **named}


def points(
    job: TrainingJob, axes: Axes, config: Callable[[Mapping[str, Any]], str] = lambda changed: ""
) -> list[Point]:
    """Every run of a grid, the last axis changing fastest.

    Args:
        job: what they have in common.
        config: the options of a run as TOML, given those that are not the command's.

    Raises:
        UsageError: a setting makes no sense, nothing is held out, or the epochs are swept and have no effect.
    """
    if not job.optimisation.validation:
        raise UsageError("--sweep needs --validation above 0: runs are compared on samples that none is trained on")
    if "epochs" in axes and job.optimisation.max_steps:
        raise UsageError("--max-steps would end all runs at the same step: leave it out, or epochs out of --sweep")
    return [_point(job, dict(zip(axes, values, strict=True)), config) for values in product(*axes.values())]


def _point(job: TrainingJob, settings: Mapping[str, float], config: Callable[[Mapping[str, Any]], str]) -> Point:
    changed: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "batch":
            changed["grad_accum"], rest = divmod(int(value), job.optimisation.batch_size)
            if rest:
                raise UsageError(f"batch={value:g} is no multiple of --batch-size {job.optimisation.batch_size}")
        else:
            changed[name.replace("-", "_")] = int(value) if name in _WHOLE else value
    name = ",".join(f"{key}={value:g}" for key, value in settings.items())
    output = job.output / name
    objective, optimisation = settled(job.objective, job.optimisation, changed)
    described = {**changed, "output": str(output), "validation": job.optimisation.validation, "sweep": None}
    return Point(
        name,
        settings,
        replace(
            job,
            output=output,
            objective=objective,
            optimisation=optimisation,
            config=config(described),
            reference=job.records,
        ),
    )


def check_drift(runs: Sequence[Point], prepared: Prepared) -> None:
    """Check that finished runs have the current settings.

    Raises:
        CorruptRun: naming what differs.
    """
    for point in runs:
        if point.result is not None:
            job_.check_drift(point.job, prepared)


def run(
    job: TrainingJob,
    runs: Sequence[Point],
    rows: Sequence[TrainingSample | Dropped],
    watch: SweepListener,
    stop: Asked = lambda: None,
    *,
    keep_all: bool = False,
) -> list[Point]:
    """Run every point that has not ended. Writes ``sweep.json`` and a README.md with the table after each.

    The model is loaded anew for every run: training may leave nothing behind.

    Args:
        rows: what `prepare` read for `job`.
        keep_all: delete no model.

    Returns:
        The runs, the best first.

    Raises:
        Stopped: as `stop` asked for. Locked: another process sweeps there.
        UsageError: several processes were started, or the output holds other files.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--sweep runs in one process; start it without torchrun")
    saved.refuse_foreign(job.output, job.engine.model, "sweep")
    with checkpoints.environment(job.output), saved.hold(job.output):
        saved.claim(job.output, "sweep", [_TABLE, _README, *(point.name for point in runs)])
        durable.replace(job.records / "config.toml", job.config.encode())
        for point in runs:
            if point.result is None:
                _train(point, rows, watch, stop)
                _settle(job, runs, keep_all=keep_all)
        return _settle(job, runs, keep_all=keep_all)


def _train(point: Point, rows: Iterable[TrainingSample | Dropped], watch: SweepListener, stop: Asked) -> None:
    prepared = job_.prepare(point.job, rows)
    watch.begin(point.name, prepared.steps, len(prepared.samples))
    try:
        job_.train(point.job, prepared, watch.add, watch.reference, stop, watch.say)
    except Diverged as error:
        durable.replace_json(point.job.records / _FAILED, {"reason": str(error)})
        shutil.rmtree(point.job.records / "checkpoints", ignore_errors=True)
        watch.say(str(error))
    finally:
        del prepared
        gc.collect()  # the Trainer and its optimizer refer to each other
        torch.cuda.empty_cache()


def _settle(job: TrainingJob, runs: Sequence[Point], *, keep_all: bool) -> list[Point]:
    """Rank ended runs, write the table, and delete models that are not kept."""
    ended = sorted((point for point in runs if point.result is not None), key=lambda point: point.order)
    for point in [] if keep_all else ended[1:]:
        if point.has_model:
            saved.drop_model(point.job.output)
    described = [
        {"name": point.name, "settings": point.settings, "metrics": point.result, "model": point.has_model}
        for point in ended
    ]
    durable.replace_json(job.output / _TABLE, {"runs": described})
    durable.replace(job.output / _README, _page(job, ended, len(runs)).encode())
    return ended


def table(ended: Sequence[Point]) -> list[list[str]]:
    """Header and cells of each run."""
    settings = list(ended[0].settings)
    lines = [[*settings, *_SHOWN, "steps"]]
    for point in ended:
        metrics = point.result
        figures = [f"{metrics[name]:.4f}" for name in _SHOWN.values()] if metrics else ["no number", *"–" * 4]
        steps = f"{metrics['step']:,.0f}" if metrics else "–"
        lines.append([*(f"{value:g}" for value in point.settings.values()), *figures, steps])
    return lines


def _page(job: TrainingJob, ended: Sequence[Point], planned: int) -> str:
    """The README.md of a sweep."""
    head, *lines = table(ended)
    best = f"`{ended[0].name}`, with its model" if ended[0].has_model else f"`{ended[0].name}`"
    return "\n".join(
        [
            f"# {job.output.resolve().name}",
            "",
            f"{len(ended):,} of {planned:,} runs of `{job.engine.model}` with {job.objective.loss}. "
            f"The best is {best}.",
            "",
            "```",
            job.command,
            "```",
            "",
            f"Figures are of the held-out samples (a share of {job.optimisation.validation:g}) after the last step; "
            "ordered by accuracy, then by loss. Losses under different β are on different scales.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)),
            "",
        ]
    )
