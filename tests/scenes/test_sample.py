"""The distribution of scenes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from prefgen.evaluate.scenes.layout import SEATS, SIZES, possible_kinds
from prefgen.evaluate.scenes.pen import PAINTERS
from prefgen.evaluate.scenes.sample import (
    BONDS,
    PLACE_WEIGHTS,
    TYPICAL_COUNT,
    UNBIASED,
    USUAL,
    World,
    partner,
    sample_scene,
)
from prefgen.evaluate.scenes.truth import COLOURS, IMAGE_SIZE, KINDS, PLACES, RELATIONS, SURFACES, Scene, Thing

NUMBER = 400


@pytest.fixture(scope="module")
def biased() -> list[Scene]:
    return [sample_scene(World(), 1, index) for index in range(NUMBER)]


@pytest.fixture(scope="module")
def unbiased() -> list[Scene]:
    return [sample_scene(UNBIASED, 1, index) for index in range(NUMBER)]


def things(scenes: list[Scene]) -> list[tuple[Scene, Thing]]:
    return [(scene, thing) for scene in scenes for thing in scene.things]


def share_that_comes_along(scenes: list[Scene]) -> float:
    """Of the kinds with one partner only, the share of scenes that have the partner too."""
    found = [
        partner(thing.kind, scene.place)[0] in scene.kinds
        for scene, thing in things(scenes)
        if len(partner(thing.kind, scene.place)) == 1
    ]
    return float(np.mean(found))


def test_the_truth_is_consistent(biased: list[Scene], unbiased: list[Scene]) -> None:
    for scene, thing in things(biased + unbiased):
        kind = KINDS[thing.kind]
        assert len(scene.kinds) == len(scene.things)
        assert thing.colour in kind.colours
        assert (thing.action in kind.actions) if kind.actions else (thing.action is None)
        assert thing.surface in PLACES[scene.place].surfaces
        assert thing.kind in possible_kinds(scene.place)
        assert 0 <= thing.depth <= 1
        assert 0 < thing.visibility <= 1
        if thing.relation:
            assert thing.relation.word in RELATIONS
            assert thing.relation.other in scene.kinds - {thing.kind}
        for instance in thing.instances:
            left, top, right, bottom = instance.box
            assert 0 <= left < right <= IMAGE_SIZE
            assert 0 <= top < bottom <= IMAGE_SIZE
            assert instance.shown >= 0.3
        lefts = [instance.box[0] for instance in thing.instances]
        assert lefts == sorted(lefts)


def test_relations_are_where_they_say(biased: list[Scene], unbiased: list[Scene]) -> None:
    seen = Counter()  # type: Counter[str]
    for scene, thing in things(biased + unbiased):
        if thing.relation is None:
            continue
        other = next(candidate for candidate in scene.things if candidate.kind == thing.relation.other)
        (left, top, right, bottom), anchor = thing.instances[0].box, other.instances[0].box
        seen[thing.relation.word] += 1
        match thing.relation.word:
            case "on":
                seats = SEATS[other.kind]
                seat = anchor[1] + (anchor[3] - anchor[1]) * seats[other.instances[0].drawing % len(seats)]
                assert top < seat <= bottom + 0.5
                assert anchor[0] < (left + right) / 2 < anchor[2]
            case "in":
                assert anchor[0] - 4 < (left + right) / 2 < anchor[2] + 4
                assert anchor[1] < bottom < anchor[3]
            case "under":
                assert bottom > anchor[1] + 0.6 * (anchor[3] - anchor[1])
                assert anchor[0] < (left + right) / 2 < anchor[2]
            case "beside":
                gap = max(anchor[0] - thing.instances[-1].box[2], left - other.instances[-1].box[2])
                assert -0.2 * (right - left) - 2 < gap < 6
            case "in front of":
                assert scene.things.index(thing) > scene.things.index(other)
                assert max(left, anchor[0]) < min(right, anchor[2])
            case "held by":
                assert thing.surface == "sky" or max(left, anchor[0]) < min(right, anchor[2]) + 2
    assert set(seen) >= {"on", "in", "under", "beside", "held by", "in front of"}


def test_partners_come_along_in_the_biased_world_alone(biased: list[Scene], unbiased: list[Scene]) -> None:
    assert share_that_comes_along(biased) > 0.85
    assert share_that_comes_along(unbiased) < 0.55


def test_places_and_kinds_follow_the_tables_of_the_biased_world_alone(
    biased: list[Scene], unbiased: list[Scene]
) -> None:
    counts = Counter(scene.place for scene in biased)
    for place, weight in PLACE_WEIGHTS.items():
        assert counts[place] / NUMBER == pytest.approx(weight / sum(PLACE_WEIGHTS.values()), abs=0.06)
    even = Counter(scene.place for scene in unbiased)
    assert max(even.values()) - min(even.values()) < 0.12 * NUMBER

    def unusual(scenes: list[Scene]) -> float:
        return float(np.mean([thing.kind not in USUAL[scene.place] for scene, thing in things(scenes)]))

    assert unusual(biased) < 0.25  # some partners are not usual themselves
    assert unusual(unbiased) > 2 * unusual(biased)
    assert {thing.kind for _, thing in things(unbiased)} == set(KINDS)


def test_colours_and_counts_follow_the_tables_of_the_biased_world_alone(
    biased: list[Scene], unbiased: list[Scene]
) -> None:
    def typical(scenes: list[Scene]) -> float:
        return float(np.mean([thing.colour == KINDS[thing.kind].colours[0] for _, thing in things(scenes)]))

    even = float(np.mean([1 / len(KINDS[thing.kind].colours) for _, thing in things(unbiased)]))
    assert typical(biased) == pytest.approx(0.7 + 0.3 * even, abs=0.05)
    assert typical(unbiased) == pytest.approx(even, abs=0.05)

    def several(scenes: list[Scene]) -> float:
        return float(np.mean([thing.count > 1 for _, thing in things(scenes) if thing.kind in TYPICAL_COUNT]))

    assert several(biased) > several(unbiased) + 0.08


def test_a_share_of_the_training_scenes_is_unbiased() -> None:
    rates = [
        share_that_comes_along([sample_scene(World(unbiased_share=share), 2, index) for index in range(120)])
        for share in (0.0, 0.6)
    ]
    assert rates[0] > rates[1] + 0.08


def test_scenes_do_not_depend_on_each_other() -> None:
    assert sample_scene(UNBIASED, 4, 9) == sample_scene(UNBIASED, 4, 9)
    assert sample_scene(UNBIASED, 4, 9) != sample_scene(UNBIASED, 5, 9)


def test_the_tables_name_what_there_is() -> None:
    assert set(SIZES) == set(KINDS)
    assert {colour for kind in KINDS.values() for colour in kind.colours} <= set(COLOURS)
    assert {surface for place in PLACES.values() for surface in place.surfaces} == set(SURFACES)
    for place, usual in USUAL.items():
        assert set(usual) <= set(possible_kinds(place)), place
    for bond in BONDS:
        assert any(bond.first in possible_kinds(p) and bond.second in possible_kinds(p) for p in bond.places or PLACES)
        assert set(bond.words) <= set(RELATIONS)
    assert all(len(shares) == len(PAINTERS[kind, None]) for kind, shares in SEATS.items())
    assert len(KINDS) >= 32
    for kind in KINDS.values():
        assert kind.article == ("an" if kind.name in ("umbrella", "apple", "airplane") else "a")
