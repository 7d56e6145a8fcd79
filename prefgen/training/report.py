"""Terminal output of training: the plan, a table of steps, a bar with speed and remaining time, a sweep's ranking."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.table import Table

from prefgen.console import Console, LiveBar
from prefgen.errors import ExitCode, Stopped, UsageError
from prefgen.methods.rank import Rank
from prefgen.records import Dropped
from prefgen.rundir.reader import Stored
from prefgen.training import processes, run, saved
from prefgen.training import sweep as sweep_
from prefgen.training.callbacks import Asked, Metrics
from prefgen.training.config import OF_PAIRS, Online
from prefgen.training.rows import TrainingSample
from prefgen.training.state import Prepared, TrainingJob

_LINES = 40  # for the steps of a run, about
_ROWS = 20  # of a sweep's table; its README.md has all
_COLUMNS = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies"}
PAIRS = {**_COLUMNS, "chosen": "logps/chosen", "rejected": "logps/rejected", "end": "logps/end"}
REWARDS = {**_COLUMNS, "chosen": "rewards/chosen", "rejected": "rewards/rejected"}
SAMPLED = {
    "loss": "loss",
    "reward": "reward",
    "kl": "kl",
    "entropy": "entropy",
    "length": "completions/mean_length",
    "alike": "alike",
}
"""Metrics of a step by the heads of their columns: of losses over log-probabilities, of a reward model, and of sampled
answers."""


class Steps(LiveBar):
    """Prints metrics. A context manager.

    Attributes:
        asked: samples that online training has asked answers for.
        fallen: those among them that came to nothing.

    Args:
        columns: metrics that are shown, by their heads.
        brief: of steps show the bar alone; what is measured on held-out samples has its lines all the same.
        online: a column for the share of samples, since the last line, whose answers came to nothing.
    """

    def __init__(
        self,
        console: Console,
        *,
        columns: Mapping[str, str] = PAIRS,
        brief: bool = False,
        online: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(console)
        self._brief, self._clock = brief, clock
        self._names = tuple(columns.values())
        self._online = online
        self._heads = ("step", *columns, *(("fallback",) if online else ()))
        self._shown = self.asked = self._fallen_shown = self.fallen = 0
        self._steps = self._samples = self._read = 0
        self._started: tuple[int, float] | None = None
        self._headed = False
        self._task = self._bar.add_task("", total=None)

    def begin(self, name: str, steps: int, samples: int) -> None:
        """A run starts or resumes.

        Args:
            name: empty for a lone one.
            steps: of the whole run.
            samples: that the reference is to read.
        """
        self._steps, self._samples, self._read, self._started = steps, samples, 0, None
        if name:
            self.say(f"{name}: {steps:,} steps")

    def say(self, text: str) -> None:
        """Print a line of text."""
        self._console.print(text, markup=False, soft_wrap=True)

    def reference(self, done: int) -> None:
        """Show the progress of computing the reference."""
        if not self._console.is_terminal and done // 1000 > self._read // 1000:
            self.say(f"reference: {done:,} samples")
        if not self._read:
            self._bar.reset(self._task, total=self._samples, description="samples of the reference")
        self._bar.update(self._task, completed=done)
        self._read = done

    def add(self, metrics: Mapping[str, float]) -> None:
        """Show metrics of a step or of held-out samples; others are ignored."""
        step = int(metrics["step"])
        if "eval_loss" in metrics:
            self._line("held out", [metrics[f"eval_{name}"] for name in self._names])
        elif "loss" in metrics:
            self._advance(step, metrics["loss"])
            self.asked += int(metrics.get("online/asked", 0))
            self.fallen += int(metrics.get("online/fallback", 0))
            if not self._brief and (step in (1, self._steps) or not step % max(1, self._steps // _LINES)):
                trained = self._names[1] in metrics  # else all of its samples were left out
                figures = [metrics[name] if trained else None for name in self._names]
                self._line(f"{step:,}", figures, *self._fallback())

    def _advance(self, step: int, loss: float) -> None:
        """Move the bar; speed and remaining time count only this process's steps."""
        now = self._clock()
        if self._started is None:
            self._started = step, now
            self._bar.reset(self._task, total=self._steps, completed=step)
        first, since = self._started
        speed = f"{(now - since) / (step - first):.2f} s/step · " if step > first else ""
        self._bar.update(self._task, completed=step, description=f"{speed}loss {loss:.3f}")

    def _fallback(self) -> Iterator[str]:
        """The table cell with the share of fallback samples since the last line."""
        if self._online:
            asked, fallen = self.asked - self._shown, self.fallen - self._fallen_shown
            self._shown, self._fallen_shown = self.asked, self.fallen
            yield f"{fallen / asked:.0%}" if asked else "–"

    def _line(self, first: str, figures: Sequence[float | None], *others: str) -> None:
        if not self._headed:
            self._print(self._heads)
            self._headed = True
        self._print([first, *("–" if figure is None else f"{figure:.3f}" for figure in figures), *others])

    def _print(self, cells: Sequence[str]) -> None:
        self._console.print("".join(f"{cell:>10}" for cell in cells), soft_wrap=True)


def train(job: TrainingJob, prepared: Prepared, console: Console, stop: Asked = lambda: None) -> Metrics:
    """Train, or check a model that is finished already, and show how it goes.

    Returns:
        Metrics of the last step, and of the held-out samples.

    Raises:
        CorruptRun: the output is of another job, or damaged. Stopped: `stop` asked for it.
    """
    if run.finished(job):
        with processes.together():
            run.check_drift(job, prepared)
            if processes.first():
                run.check_finished(job)
        console.print(f"{job.output} is finished already; nothing to do", soft_wrap=True)
        return run.result(job)
    columns = SAMPLED if job.objective.samples else REWARDS if job.objective.loss == "rm" else PAIRS
    with Steps(console, columns=columns, online=job.online is not None) as steps:
        steps.begin("", prepared.steps, len(prepared.samples))
        last = run.train(job, prepared, steps.add, steps.reference, stop, steps.say)
    if steps.asked:
        console.print(f"online: the answers of {steps.fallen:,} of {steps.asked:,} samples came to nothing")
    return last


def sweep(
    job: TrainingJob,
    axes: sweep_.Axes,
    console: Console,
    stop: Asked = lambda: None,
    config: Callable[[Mapping[str, Any]], str] = lambda changed: "",
    *,
    dry_run: bool = False,
    keep_all: bool = False,
) -> sweep_.Point | None:
    """Train over a grid, and show how it goes; returns the best point, or None for a dry run.

    Args:
        config: as of `prefgen.training.sweep.points`.
        dry_run: show the plan alone.
        keep_all: delete no model.

    Raises:
        UsageError: the output holds something else, or a setting makes no sense. CorruptRun: it is of another grid.
        Stopped: `stop` asked for it.
    """
    if run.finished(job):
        raise UsageError(f"{job.output} holds a trained model: give another --output")
    saved.refuse_foreign(job.output, job.engine.model, "sweep")
    runs = sweep_.points(job, axes, config)
    prepared = run.prepare(job)
    _print_samples(job, prepared, console)
    steps = sum(run.steps_of(point.job.optimisation, len(prepared.trained_on)) for point in runs)
    grid = "; ".join(f"{name} {', '.join(f'{value:g}' for value in values)}" for name, values in axes.items())
    console.print(f"{job.objective.loss}, {len(runs):,} runs, {steps:,} steps in all: {grid}")
    if ended := sum(point.result is not None for point in runs):
        console.print(f"{ended:,} of the runs have ended")
    if dry_run:
        return None
    sweep_.check_drift(runs, prepared)
    rows: list[TrainingSample | Dropped] = [*prepared.samples, *prepared.dropped]
    del prepared  # each run loads the model anew
    with Steps(console, brief=True) as shown:
        best, *others = sweep_.run(job, runs, rows, shown, stop, keep_all=keep_all)
    head, *lines = sweep_.table([best, *others])
    table = Table(*head, box=None)
    for cells in lines[:_ROWS]:
        table.add_row(*cells)
    console.print(table)
    if best.has_model:
        run.check_finished(best.job)
    kept = "model" if best.has_model else "its model was deleted by an earlier sweep; metrics"
    console.print(f"best: {kept} in {best.job.output}; table in {job.output}", markup=False, soft_wrap=True)
    return best


@contextmanager
def stoppable(job: TrainingJob, *, sweep: bool) -> Iterator[None]:
    """Report what is kept when a second Ctrl-C ends training at once.

    Raises:
        Stopped: it was interrupted. SystemExit: likewise, in a process beside the first one.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not processes.first():
            raise SystemExit(ExitCode.INTERRUPTED) from None
        said = "interrupted; the same command goes on with the runs that have not ended" if sweep else run.kept(job)
        raise Stopped(said, ExitCode.INTERRUPTED) from None


def plan(job: TrainingJob, prepared: Prepared, console: Console) -> None:
    """Print the samples, steps and settings of a run."""
    _print_samples(job, prepared, console)
    settings = job.optimisation
    lora = f"{'QLoRA' if settings.qlora else 'LoRA'} {settings.lora_r}/{settings.lora_alpha}"
    kind = lora if settings.lora else "whole"
    effective = settings.batch_size * settings.grad_accum * processes.count()
    pull = "" if job.objective.loss == "rm" else f" β {job.objective.beta:g},"
    console.print(
        f"{job.objective.loss},{pull} {kind}, {prepared.steps:,} steps of {effective} samples on "
        f"{prepared.loaded.device} in {str(prepared.loaded.dtype).removeprefix('torch.')}"
    )
    if job.online:
        _print_online(job.online, console)
    elif job.objective.loss in OF_PAIRS and settings.loss_mask == "all" and _by_bdhs(prepared):
        console.print(
            "advice: answers by BDHS repeat much of the reference; with --loss-mask spans only what differs counts, "
            "which invented less on the scenes (prefgen guide train)",
            markup=False,
        )


def _by_bdhs(prepared: Prepared) -> bool:
    stored = [each for each in prepared.dataset.runs if isinstance(each, Stored)]
    return any(row["method"] == "bdhs" for each in stored for row in each.scan(["method"]))


def _print_samples(job: TrainingJob, prepared: Prepared, console: Console) -> None:
    samples = prepared.samples
    rejected = sum(len(sample.answers) - 1 for sample in samples)
    tokens = sum(sample.length for sample in samples) / len(samples)
    counted = sum(weight > 0 for sample in samples for answer in sample.answers for weight in answer.weights)
    share = counted / sum(len(answer.ids) for sample in samples for answer in sample.answers)
    console.print(
        f"{len(samples):,} samples, {rejected:,} rejected answers, {tokens:,.0f} tokens a sample on average; "
        f"{share:.0%} of the answers' tokens count ({job.optimisation.loss_mask})"
    )
    for reason, count in run.reasons_of(prepared.dropped).items():
        console.print(f"{count:,} rows dropped: {reason}")
    if prepared.separate:
        console.print(f"answers are read in separate sequences: {prepared.separate}")
    if prepared.held_out:
        console.print(f"{len(prepared.held_out):,} samples are held out, {len(prepared.trained_on):,} trained on")


def _print_online(online: Online, console: Console) -> None:
    if online.online == "sampled":
        method = online.method(0)
        assert isinstance(method, Rank)  # of sampled answers
        every = "new in every step" if online.online_every == 1 else f"for {online.online_every:,} steps at a time"
        console.print(f"{method.candidates} answers of the policy to a prompt, {every}", markup=False)
        console.print(f"reward: {online.reward}, normalised by the first model's answers", markup=False)
        console.print(
            f"a prompt whose answers cannot be rated is left out; the run stops if {online.max_fallback:.0%} are"
        )
        return
    made = {"bdhs": "rejected answers by BDHS", "povid": "rejected answers by distortion", "dpo": "both answers"}
    beside = "averaged with the stored ones" if online.averages else "in place of the stored ones"
    given = f" ({', '.join(online.online_args)})" if online.online_args else ""
    every = "every step" if online.online_every == 1 else f"{online.online_every:,} steps at a time"
    console.print(f"online: {made[online.online]}{given} from the policy, {every}, {beside}", markup=False)
    if online.annotator:
        console.print(f"annotator: {online.annotator}, in random order", markup=False)
    if online.mix:
        console.print(f"mix: {online.mix:.0%} of the samples as they are stored, drawn anew in every epoch")
    fate = {"drop": "is left out of its step", "stored": "is trained on as stored"}[online.falls_back]
    console.print(f"a sample whose answers come to nothing {fate}; the run stops if {online.max_fallback:.0%} do")
