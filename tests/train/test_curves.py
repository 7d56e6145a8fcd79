"""The drawing of a run, read back as XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefgen.training import curves

NAMES = ("loss", "rewards/accuracies", "rewards/margins", "logps/end", "logps/chosen", "logps/rejected")
SVG = "{http://www.w3.org/2000/svg}"


def history(steps: int, held: tuple[int, ...] = (), **changes: float) -> list[dict[str, float]]:
    """A loss that falls by 1 / steps a step; all else stays."""
    entries = [
        {**dict.fromkeys(NAMES, 0.5), "loss": 1 - step / steps, **changes, "step": step} for step in range(1, steps + 1)
    ]
    return [*entries, *({**{f"eval_{name}": 0.5 for name in NAMES}, "step": step} for step in held)]


def panels(drawn: str) -> list[Any]:
    return ET.fromstring(drawn).findall(f"{SVG}g")


def points(panel: Any, kind: str) -> list[tuple[float, float]]:
    (path,) = panel.findall(f"{SVG}path[@class='{kind}']")
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in path.get("d")[1:].split())]


def words(part: Any) -> list[str]:
    return [text.text for text in part.iter(f"{SVG}text")]


def test_a_line_goes_through_its_values_in_steps_and_units_of_the_axes() -> None:
    loss, *others = panels(curves.draw(history(8)))
    assert len(others) == 5
    line = points(loss, "mean")
    across, down = zip(*line, strict=True)
    assert len(line) == 8
    assert np.allclose(np.diff(across), np.diff(across)[0], atol=0.11)
    assert np.allclose(np.diff(down), np.diff(down)[0], atol=0.11)
    assert down[-1] > down[0]  # the loss falls, and y grows downwards
    assert words(loss)[0] == "loss"
    assert words(loss)[-1] == "optimizer step"


def test_held_out_samples_are_drawn_with_a_mark_each_and_named() -> None:
    drawn = curves.draw(history(8, held=(0, 4, 8)))
    for panel in panels(drawn):
        assert len(panel.findall(f"{SVG}circle[@class='held']")) == 3
        assert len(points(panel, "held")) == 3
    assert "held-out samples" in words(ET.fromstring(drawn))
    assert "held-out samples" not in words(ET.fromstring(curves.draw(history(8))))


def test_many_steps_are_drawn_as_means_over_pale_single_ones() -> None:
    drawn = curves.draw(history(2000))
    loss = panels(drawn)[0]
    assert "mean of 200 steps" in words(ET.fromstring(drawn))
    assert 400 < len(points(loss, "each")) <= 600
    assert 400 < len(points(loss, "mean")) <= 600


@pytest.mark.parametrize(
    "entries", [[], history(1), [{**history(1)[0], "logps/end": float("nan")}], history(3, loss=-2.0)]
)
def test_whatever_was_measured_can_be_drawn(entries: list[dict[str, float]]) -> None:
    assert len(panels(curves.draw(entries))) == 6


def test_means_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(size=(20, 2))
    expected = np.stack([np.convolve(column, np.ones(5) / 5, "valid") for column in values.T], axis=1)
    assert np.allclose(curves.means(values, 5), expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_evenly_spaced_and_inside(low: float, width: float) -> None:
    found = curves.ticks(low, low + width)
    assert 2 <= len(found) <= 8
    assert low - width / 1e6 <= found[0]
    assert found[-1] <= low + width * (1 + 1e-6)
    assert np.allclose(np.diff(found), found[1] - found[0], rtol=1e-3)


@given(st.integers(1, 100_000))
def test_steps_have_whole_ticks_from_zero(last: int) -> None:
    found = curves.ticks(0, last, whole=True)
    assert found[0] == 0
    assert all(tick == int(tick) <= last for tick in found)
