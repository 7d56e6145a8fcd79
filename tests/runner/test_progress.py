from __future__ import annotations

import io

from rich.console import Console

from prefgen.records import Dropped, Outcome, Pair, Sample, Turn
from prefgen.runner.progress import Progress


def outcome(iteration: int) -> Outcome:
    sample = Sample("1", (Turn("user", ("Q",)),), (), "A.", "test", "1")
    if iteration == 0:
        return Dropped.of(sample, "TEXT_ONLY", "")
    return Pair(sample, "bdhs", "attn", "A.", "B.", iteration, 0.5, 0, tokens=100)


def shown(terminal: bool, iterations: list[int], seconds_each: float) -> str:
    now = 0.0
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    with Progress(10, 2, console, clock=lambda: now) as progress:
        for iteration in iterations:
            now += seconds_each
            progress.advance(outcome(iteration))
    return stream.getvalue()


def test_plain_lines_say_speed_iterations_drops_and_what_is_left() -> None:
    lines = shown(False, [1, 1, 2, 0], 10.0).splitlines()
    assert lines[0] == "4/10 rows · 0.1 pairs/s · 10 tokens/s · iterations 1:2 · 60 s left"
    assert lines[-1] == "6/10 rows · 0.1 pairs/s · 8 tokens/s · iterations 1:2 2:1 · dropped 1 · 40 s left"


def test_plain_lines_come_seldom_and_without_control_codes() -> None:
    text = shown(False, [1] * 8, 0.1)
    assert text.splitlines() == ["10/10 rows · 10.0 pairs/s · 1,000 tokens/s · iterations 1:8 · done"]
    assert "\x1b" not in text


def test_a_terminal_gets_a_bar() -> None:
    text = shown(True, [1, 2, 0], 1.0)
    assert "iterations 1:1 2:1 · dropped 1" in text
    assert "5/10" in text
