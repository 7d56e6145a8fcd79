import hashlib
import re

import numpy as np
import pytest
from train_vision import patch_cells, patch_labels

from prefgen.evaluate.scenes.metrics import cells_in, colours_in, shapes_in
from prefgen.evaluate.scenes.render import IMAGE_SIZE, draw, photo
from prefgen.evaluate.scenes.text import Mix, absent_partner, absent_popular, caption, conversation, question
from prefgen.evaluate.scenes.world import (
    CELLS,
    FAVOURITE,
    PARTNER,
    TEXT_STREAM,
    TRAINING,
    UNBIASED,
    Scene,
    Thing,
    World,
    sample_scene,
)

SCENES = [sample_scene(TRAINING, 1, index) for index in range(400)]
UNBIASED_SCENES = [sample_scene(UNBIASED, 1, index) for index in range(400)]


def test_partners_are_mutual_and_nobody_is_its_own() -> None:
    assert all(PARTNER[PARTNER[shape]] == shape != PARTNER[shape] for shape in PARTNER)


@pytest.mark.parametrize("world", [TRAINING, UNBIASED])
def test_a_scene_puts_every_object_in_its_own_cell_and_no_shape_in_two_things(world: World) -> None:
    for index in range(200):
        scene = sample_scene(world, 2, index)
        cells = [cell for _, _, cell in scene.objects]
        assert len(set(cells)) == len(cells) <= CELLS
        assert len(scene.shapes) == len(scene.things)
        assert all(thing.cells for thing in scene.things)


def partner_rate(scenes: list[Scene]) -> float:
    return float(np.mean([PARTNER[thing.shape] in scene.shapes for scene in scenes for thing in scene.things]))


def favourite_rate(scenes: list[Scene]) -> float:
    return float(np.mean([FAVOURITE[thing.shape] == thing.colour for scene in scenes for thing in scene.things]))


def test_the_bias_is_strong_in_training_and_gone_in_evaluation() -> None:
    assert partner_rate(SCENES) > 0.9
    assert partner_rate(UNBIASED_SCENES) < 0.6  # p=.30 per seed, and both of a pair count when it comes
    assert favourite_rate(SCENES) > 0.65
    assert favourite_rate(UNBIASED_SCENES) < 0.25


def test_a_scene_depends_on_its_seed_and_index_alone() -> None:
    assert sample_scene(TRAINING, 1, 17) == SCENES[17]
    assert sample_scene(TRAINING, 2, 17) != SCENES[17]


def test_a_caption_mentions_every_shape_with_its_colour_and_nothing_else() -> None:
    for scene in SCENES:
        text = caption(scene, scene.rng(TEXT_STREAM))
        truth = {thing.shape: thing.colour for thing in scene.things}
        assert shapes_in(text) == scene.shapes
        assert {shape: colour for colour, shape in colours_in(text)} == truth


def test_a_caption_places_every_object_where_it_is() -> None:
    for scene in SCENES:
        sentences = caption(scene, scene.rng(TEXT_STREAM)).removesuffix(".").split(". ")
        described = [s for s in sentences if shapes_in(s) and not re.search(r"to the (left|right) of|above|below", s)]
        assert [cells_in(sentence) for sentence in described] == [list(thing.cells) for thing in scene.things]


def test_a_relation_is_true() -> None:
    relation = re.compile(r"The \w+ (\w+) is (to the left of|to the right of|above|below) the \w+ (\w+)\.")
    found = 0
    for scene in SCENES:
        cell = {thing.shape: divmod(thing.cells[0], 3) for thing in scene.things}
        for a, words, b in relation.findall(caption(scene, scene.rng(TEXT_STREAM))):
            found += 1
            (row_a, column_a), (row_b, column_b) = cell[a], cell[b]
            truth = {
                "to the left of": column_a < column_b,
                "to the right of": column_a > column_b,
                "above": row_a < row_b,
                "below": row_a > row_b,
            }
            assert truth[words], (scene, a, words, b)
    assert found > 20


def test_captions_vary_in_wording() -> None:
    scene = SCENES[0]
    assert len({caption(scene, np.random.default_rng(seed)) for seed in range(50)}) > 40


def test_yes_and_no_are_true_and_about_as_frequent() -> None:
    counts = {"yes": 0, "no": 0}
    for scene in SCENES:
        for turn in conversation(scene, scene.rng(TEXT_STREAM), Mix(caption_probability=0)):
            if turn.kind in counts:
                counts[turn.kind] += 1
                assert (shapes_in(turn.question) <= scene.shapes) == (turn.kind == "yes")
                assert turn.answer.lower().startswith(turn.kind)
    assert counts["yes"] / sum(counts.values()) == pytest.approx(0.5, abs=0.07)


def test_a_question_about_an_absent_shape_is_refused() -> None:
    scene = Scene(0, 0, (Thing("circle", "red", (0,)),))
    with pytest.raises(ValueError, match="cannot ask a 'colour' question about 'star'"):
        question(scene, "colour", "star", np.random.default_rng(0))


def test_absent_shapes_for_probes() -> None:
    scene = Scene(0, 0, (Thing("circle", "red", (0,)), Thing("star", "red", (1,)), Thing("bar", "red", (2,))))
    assert absent_partner(scene) == "square"
    assert absent_popular(scene) == "triangle"
    assert absent_partner(Scene(0, 0, scene.things[1:])) is None


def test_drawing_is_deterministic() -> None:
    pixels = draw(sample_scene(UNBIASED, 30_001, 0))
    assert pixels.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert np.array_equal(pixels, draw(sample_scene(UNBIASED, 30_001, 0)))
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == "57b2b68a3324903b"


def test_an_object_brightens_its_cell_and_only_that() -> None:
    empty, full = Scene(0, 0, ()), Scene(0, 0, (Thing("square", "white", (4,)),))
    change = np.abs(draw(full).astype(int) - draw(empty).astype(int)).sum(axis=2) > 0
    assert change[24:40, 24:40].mean() > 0.5
    assert not change[:16].any()
    assert not change[:, 48:].any()


def test_a_picture_can_be_drawn_larger() -> None:
    assert photo(SCENES[0], scale=2).size == (2 * IMAGE_SIZE, 2 * IMAGE_SIZE)


def test_vision_labels_are_those_of_the_cell_of_each_patch() -> None:
    shapes, colours, places = patch_labels([Scene(0, 0, (Thing("square", "green", (8,)),))])
    assert patch_cells().reshape(8, 8)[:, 0].tolist() == [0, 0, 0, 3, 3, 6, 6, 6]
    assert ((shapes > 0) == (places == 8)).all()
    assert ((colours > 0) == (places == 8)).all()
