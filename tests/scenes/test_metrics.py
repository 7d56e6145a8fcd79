import math
from collections.abc import Sequence

import pytest
from PIL import Image
from prefgen.evaluate.scenes.text import PLACES

from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, Heldout, heldout
from prefgen.evaluate.scenes.measure import as_json, evaluate
from prefgen.evaluate.scenes.metrics import Tally, attribute_in, cells_in, colours_in, shapes_in, yes_or_no


def test_shapes_are_found_singular_plural_and_capital_but_not_inside_words() -> None:
    assert shapes_in("Two crosses, a Ring. Stars! barely encircled") == {"cross", "ring", "star"}


def test_colours_belong_to_the_shape_behind_them() -> None:
    assert colours_in("A red circle and two blue crosses; the square is green.") == [
        ("red", "circle"),
        ("blue", "cross"),
    ]


def test_the_longest_name_of_a_place_wins() -> None:
    assert cells_in("In the middle of the top row, at the top left and in the middle.") == [1, 0, 4]


@pytest.mark.parametrize(
    ("reply", "said"), [("Yes.", "yes"), (" no, there is none", "no"), ("Nothing.", ""), ("", ""), ("Maybe yes", "")]
)
def test_yes_or_no_is_the_first_word(reply: str, said: str) -> None:
    assert yes_or_no(reply) == said


def test_attributes_are_read_from_a_reply() -> None:
    assert attribute_in("colour", "The star is Yellow.") == "yellow"
    assert attribute_in("place", "It is at the bottom right.") == "8"
    assert attribute_in("count", "There are three stars.") == "three"
    assert attribute_in("count", "I cannot say.") == ""
    with pytest.raises(ValueError, match="unknown attribute 'size'"):
        attribute_in("size", "big")


def test_chair_counts_a_shape_once_and_partners_apart() -> None:
    tally = Tally(2)
    tally.add_caption(0, "A red circle. The red circle is above the blue square. Two stars.", {"circle": "red"})
    tally.add_caption(1, "A green ring.", {"ring": "red", "bar": "blue"})
    figures = tally.intervals()
    assert figures["chair_i"].value == pytest.approx(2 / 4)
    assert figures["chair_s"].value == pytest.approx(1 / 2)
    assert figures["object_recall"].value == pytest.approx(2 / 3)
    assert figures["partner_hallucination"].value == pytest.approx(1 / 3)
    assert figures["other_hallucination"].value == pytest.approx(1 / (6 + 4))
    assert figures["caption_colour"].value == pytest.approx(2 / 3)  # both "red circle" count, "green ring" is wrong
    assert figures["caption_sentences"].value == pytest.approx(2.0)


def test_yes_no_figures_per_split() -> None:
    tally = Tally(1)
    tally.add_probe(0, "present", "yes", "Yes.")
    tally.add_probe(0, "absent-popular", "no", "No.")
    tally.add_probe(0, "absent-adversarial", "no", "Yes, there is one.")
    figures = tally.intervals()
    assert figures["popular/accuracy"].value == 1.0
    assert figures["popular/f1"].value == 1.0
    assert figures["adversarial/accuracy"].value == 0.5
    assert figures["adversarial/yes_ratio"].value == 1.0
    assert figures["adversarial/f1"].value == pytest.approx(2 / 3)
    assert figures["yes_no/accuracy"].value == pytest.approx(2 / 3)


def test_the_interval_surrounds_the_value_and_is_seeded() -> None:
    tally = Tally(200)
    for scene in range(200):
        tally.add("rate", scene, scene % 4 == 0, 1)
    figure = tally.intervals(seed=3)["rate"]
    assert figure.low < figure.value == 0.25 < figure.high
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 * 0.75 / 200), rel=0.15)
    assert figure == tally.intervals(seed=3)["rate"]


def test_nothing_counted_is_nan_and_null_in_json() -> None:
    tally = Tally(3)
    tally.add("empty", 0, 0, 0)
    assert math.isnan(tally.intervals()["empty"].value)
    assert '"value": null' in as_json(tally.intervals())


def test_an_oracle_is_perfect_and_a_yes_sayer_is_not() -> None:
    items = heldout(12)
    pictures = {item.picture().tobytes(): item for item in items}

    def answer(item: Heldout, asked: str) -> str:
        if asked == CAPTION_QUESTION:
            return " ".join(f"There is a {thing.colour} {thing.shape}." for thing in item.scene.things)
        known = dict(
            [(probe.question, probe.answer) for probe in item.probes]
            + [(attribute.question, attribute.answer) for attribute in item.attributes]
        )[asked]
        return PLACES[int(known)][0] if known.isdigit() else known

    def oracle(images: Sequence[Image.Image], questions: Sequence[str], max_new_tokens: int) -> list[str]:
        return [answer(pictures[image.tobytes()], asked) for image, asked in zip(images, questions, strict=True)]

    def yes_sayer(images: Sequence[Image.Image], questions: Sequence[str], max_new_tokens: int) -> list[str]:
        return ["Yes."] * len(questions)

    figures = evaluate(oracle, items)
    assert figures["chair_i"].value == figures["chair_s"].value == 0.0
    for perfect in ("object_recall", "yes_no/accuracy", "colour/accuracy", "place/accuracy", "count/accuracy"):
        assert figures[perfect].value == 1.0
    assert evaluate(yes_sayer, items)["adversarial/yes_ratio"].value == 1.0
