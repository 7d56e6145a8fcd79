"""Trainer callbacks: writing of metrics and curves, and stopping on a signal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers

from prefgen.errors import ExitCode
from prefgen.training import curves, processes, rollouts

Metrics = dict[str, float]
Asked = Callable[[], ExitCode | None]


class Stop(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Ends a run after the current step, with a checkpoint, once any of its processes is asked to."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def on_step_end(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        """Stop the trainer if a process was asked to."""
        if processes.most(self._asked() or 0) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True


class Watch(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Says once that a run's answers have collapsed, as soon as its metrics show it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said = False

    def on_log(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        """After every step."""
        if not self._said and (found := rollouts.collapse(state.log_history)):
            self._said = True
            self._say(f"collapse: {found}")


class Log(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Writes ``metrics.jsonl``, truncated to the checkpoint's step on resume, and draws the curves."""

    def __init__(self, records: Path, told: Callable[[Metrics], None]) -> None:
        self._file = records / "metrics.jsonl"
        self._curves = records / "curves.svg"
        self._told = told

    def on_train_begin(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        """Truncate the file to the resumed step."""
        self._file.write_text("".join(json.dumps(entry) + "\n" for entry in state.log_history), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        """Append the metrics of a step."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(state.log_history[-1]) + "\n")
        self._told(state.log_history[-1])

    def on_save(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        """Draw the curves."""
        self._curves.write_text(curves.draw(state.log_history), encoding="utf-8")
