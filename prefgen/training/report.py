"""Progress display of training: a table of steps, and in a terminal a bar with speed and remaining time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prefgen.console import Console, LiveBar
from prefgen.training import processes, run
from prefgen.training.callbacks import Asked, Metrics
from prefgen.training.state import Prepared, TrainingJob

_LINES = 40  # for the steps of a run, about
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
        console.print(f"{job.output} is finished already; nothing to do")
        return run.result(job)
    columns = SAMPLED if job.objective.samples else REWARDS if job.objective.loss == "rm" else PAIRS
    with Steps(console, columns=columns, online=job.online is not None) as steps:
        steps.begin("", prepared.steps, len(prepared.samples))
        last = run.train(job, prepared, steps.add, steps.reference, stop, steps.say)
    if steps.asked:
        console.print(f"online: the answers of {steps.fallen:,} of {steps.asked:,} samples came to nothing")
    return last
