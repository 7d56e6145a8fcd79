"""What a training run shows of itself, in a terminal and elsewhere."""

from __future__ import annotations

import io
import re

from prefgen.console import Console
from prefgen.training.report import Steps

NAMES = ("loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected", "logps/end")


def metrics(step: int, prefix: str = "") -> dict[str, float]:
    return {"step": step, **{f"{prefix}{name}": step / 8 for name in NAMES}}


def shown(*, terminal: bool, brief: bool = False, steps: int = 120, first: int = 1) -> str:
    """A run of which each step takes two seconds, with held-out samples measured before and after."""
    out = io.StringIO()
    now = iter(range(0, 10_000, 2))
    console = Console(file=out, force_terminal=terminal, width=120)
    with Steps(console, brief=brief, clock=lambda: float(next(now))) as progress:
        progress.begin("lr=1" if brief else "", steps, 5000)
        for done in range(500, 5001, 500):
            progress.reference(done)
        progress.add(metrics(0, "eval_"))
        for step in range(first, steps + 1):
            progress.add(metrics(step))
        progress.add(metrics(steps, "eval_"))
        progress.add({"train_runtime": 1.0, "step": steps})
    return out.getvalue()


def test_elsewhere_a_line_for_the_first_the_last_and_some_steps_between() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line for line in lines if "reference" in line] == [f"reference: {n},000 samples" for n in range(1, 6)]
    table = [line.split() for line in lines if "reference" not in line]
    assert table[0] == ["step", "loss", "margin", "accuracy", "chosen", "rejected", "end"]
    assert table[1] == ["held", "out", *["0.000"] * 6]
    assert [row[0] for row in table[2:-1]] == ["1", *(f"{step}" for step in range(3, 121, 3))]
    assert table[-1] == ["held", "out", *["15.000"] * 6]
    assert table[-2] == ["120", *["15.000"] * 6]


def test_online_training_shows_the_share_of_answers_that_came_to_nothing() -> None:
    out = io.StringIO()
    with Steps(Console(file=out, width=120), online=True) as progress:
        progress.begin("", 80, 80)
        for step in range(1, 5):
            progress.add({**metrics(step), "online/asked": 8, "online/fallback": step})
        progress.add({"loss": 0.0, "step": 6, "online/asked": 8, "online/fallback": 8})
    head, first, second, third, none = [line.split() for line in out.getvalue().splitlines()]
    assert head[-1] == "fallback"
    assert [first[-1], second[-1], third[-1]] == ["12%", "25%", "44%"]  # 1 of 8; 2 of 8; 3 and 4 of 16
    assert none[1:] == ["–"] * 6 + ["100%"]
    assert (progress.asked, progress.fallen) == (40, 18)


def test_a_run_of_a_grid_is_named_and_has_lines_for_held_out_samples_alone() -> None:
    lines = [line for line in shown(terminal=False, brief=True).splitlines() if "reference" not in line]
    assert [line.split()[0] for line in lines] == ["lr=1:", "step", "held", "held"]


def test_a_terminal_has_a_bar_with_the_speed_of_this_process() -> None:
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(terminal=True, first=101))
    assert "120/120" in said
    assert "2.00 s/step · loss 15.000" in said
    assert re.search(r"held out +15\.000", said)
