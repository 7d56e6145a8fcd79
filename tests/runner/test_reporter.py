from __future__ import annotations

import io
import re

import pytest

from prefgen.console import Console
from prefgen.records import Dropped, Outcome, Pair, Sample, Turn
from prefgen.runner.reporter import Progress


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


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_short_line_cuts_the_words_and_keeps_count_and_time_left(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None)
    now = 0.0
    with Progress(123_456, 0, console, clock=lambda: now) as progress:
        for iteration in [*range(1, 11), 0] * 20:
            now += 0.01
            progress.advance(outcome(iteration))
    last = stream.getvalue().replace("\r", "\n").split("\n")
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in last]
    whole = [line for line in lines if "220/123456" in line]
    assert whole
    assert re.search(r"220/123456 +(\d+:\d\d:\d\d|-:--:--) .*pairs/s", whole[-1])
    assert len(whole[-1].rstrip()) <= width
