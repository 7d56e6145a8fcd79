from __future__ import annotations

import dataclasses
import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from prefgen.engines.fake import FakeEngine
from prefgen.evaluate import tune
from prefgen.methods.bdhs import BDHS
from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Turn
from prefgen.requests import Embed, Generate

BASE = BDHS(iterations=3)
PROMPT = (Turn("user", (Slot.IMAGE, "What is it?")),)
CHOSEN = "A red ball lies there."


def sample(number: int) -> Sample:
    return Sample(f"{number:016x}", PROMPT, (Image(b"", "", 64, 64),), CHOSEN, "test", str(number))


def pair(iteration: int, similarity: float, rejected: str = "A red cube stands here") -> Pair:
    made = Pair(sample(iteration), "bdhs", "attn", CHOSEN, rejected, iteration, similarity, 0)
    return dataclasses.replace(made, image_tokens=64, kept_tokens=16, tokens=10)


def trial(setting: str, last: float, length: float = 1.0, blur: float = 0.0) -> tune.Trial:
    return tune.Trial(BASE, setting, 10, 10, (last / 2, last), 1.0, 64.0, length, blur, 20.0, 0.1)


def test_measures_are_those_of_the_outcomes() -> None:
    equal = dataclasses.replace(Dropped.of(sample(9), "REJECTED_EQUALS_CHOSEN", ""), iteration=3, similarity=1.0)
    outcomes: list[Outcome] = [
        pair(1, 0.5),
        pair(2, 0.9),
        pair(3, 0.99),  # similar to the end, but kept
        pair(1, 0.1, "It is too blurry to tell."),
        equal,
    ]
    found = tune.measure(BASE, "ρ = 0.99", outcomes, 8.0)
    assert (found.rows, found.pairs) == (5, 4)
    assert found.non_similar == pytest.approx((0.4, 0.6, 0.6))
    assert (found.kept_tokens, found.image_tokens) == (16, 64)
    assert found.blur_talk == 0.25
    assert found.length_ratio == pytest.approx((3 * 22 + 25) / (4 * 22))
    assert (found.tokens, found.seconds) == (10, 2)


def test_the_weakest_restriction_near_the_best_is_recommended() -> None:
    found = tune.recommend([trial("a", 0.5), trial("b", 0.88), trial("c", 0.90)])
    assert found is not None
    assert found[0].setting == "b"
    assert "67.5%" in found[1]  # the mean of 45% and 90%


def test_drift_and_talk_of_blur_are_left_out_unless_nothing_else_is_there() -> None:
    found = tune.recommend([trial("a", 0.8), trial("b", 0.95, length=1.5), trial("c", 0.99, blur=0.2)])
    assert found is not None
    assert found[0].setting == "a"
    assert "b, c left out" in found[1]
    found = tune.recommend([trial("b", 0.85, length=1.5), trial("c", 0.99, blur=0.2)])
    assert found is not None
    assert found[0].setting == "c"
    assert "every setting" in found[1]


def test_nothing_is_recommended_where_nothing_came_out() -> None:
    empty = tune.measure(BASE, "ρ = 1", [Dropped.of(sample(1), "ANSWER_EMPTY", "")], 1.0)
    assert (empty.length_ratio, empty.blur_talk, empty.non_similar) == (None, None, ())
    assert tune.recommend([empty]) is None
    tune.render([empty])
    ElementTree.fromstring(tune.plot([empty]))


def test_every_value_is_tried_on_the_same_samples_by_the_same_engine() -> None:
    fake = FakeEngine()
    methods = [(f"ρ = {rho}", dataclasses.replace(BASE, rho=rho)) for rho in (0.0, 1.0)]
    open_, blind = tune.run(methods, [sample(number) for number in range(20)], {Embed: fake, Generate: fake})
    assert open_.rows == blind.rows == 20
    assert open_.kept_tokens == 64
    assert blind.kept_tokens == 0
    assert open_.tokens == blind.tokens  # the fake engine does not look


def test_the_plot_has_a_line_and_a_label_for_each_setting() -> None:
    svg = ElementTree.fromstring(tune.plot([trial("ρ < 1", 0.90), trial("b", 0.91), trial("c", 0.92)]))
    space = "{http://www.w3.org/2000/svg}"
    assert len(svg.findall(f"{space}polyline")) == 3
    labels = [
        text for text in svg.findall(f"{space}text") if (text.text or "").endswith("0%") and ":" in str(text.text)
    ]
    assert [text.text for text in labels] == ["ρ < 1: 90.0%", "b: 91.0%", "c: 92.0%"]
    heights = sorted(float(text.attrib["y"]) for text in labels)
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 16


def test_on_the_figures_of_the_scenes_the_papers_rho_is_recommended() -> None:
    """README's table, 200 samples each."""
    lines = {
        "0": (0.36, 0.485, 0.595, 0.665, 0.78),
        "0.5": (0.43, 0.58, 0.66, 0.715, 0.795),
        "0.9": (0.555, 0.71, 0.82, 0.855, 0.88),
        "0.99": (0.69, 0.795, 0.86, 0.88, 0.895),
        "1": (0.715, 0.81, 0.865, 0.885, 0.895),
    }
    found = tune.recommend([dataclasses.replace(trial(rho, 0.0), non_similar=line) for rho, line in lines.items()])
    assert found is not None
    assert found[0].setting == "0.99"
