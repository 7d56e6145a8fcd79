import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from prefgen.evaluate.scenes.claims import kinds_in
from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, Heldout, heldout
from prefgen.evaluate.scenes.language import PRESENCE
from prefgen.evaluate.scenes.measure import as_json, evaluate
from prefgen.evaluate.scenes.metrics import Tally, attribute_in, first_sentences, sentence_count, yes_or_no
from prefgen.evaluate.scenes.sample import POPULAR, TRAINING, absent_partners, sample_scene
from prefgen.evaluate.scenes.truth import KINDS, Instance, Relation, Scene, Thing

OBJECT = Instance((10.0, 10.0, 20.0, 20.0), 1.0, 0, False)
CUP = Thing("cup", "white", "table", 0.3, (OBJECT,))
APPLES = Thing("apple", "red", "table", 0.3, (OBJECT, OBJECT), relation=Relation("in", "bowl"))
BOWL = Thing("bowl", "blue", "table", 0.3, (OBJECT,))
KITCHEN = Scene(1, 1, "kitchen", "day", "clear", (CUP, APPLES, BOWL))


@pytest.mark.parametrize(
    ("reply", "said"), [("Yes.", "yes"), (" no, there is none", "no"), ("Nothing.", ""), ("", ""), ("Maybe yes", "")]
)
def test_yes_or_no_is_the_first_word(reply: str, said: str) -> None:
    assert yes_or_no(reply) == said


def test_attributes_are_read_from_a_reply() -> None:
    assert attribute_in("colour", "The cup is Yellow, not red.") == "yellow"
    assert attribute_in("place", "We are in a living room.") == "living room"
    assert attribute_in("count", "There are three apples.") == "three"
    assert attribute_in("action", "Running.") == "running"
    assert attribute_in("count", "I cannot say.") == ""
    with pytest.raises(ValueError, match="unknown attribute 'size'"):
        attribute_in("size", "big")


def test_sentences_are_counted_and_cut_behind_their_end() -> None:
    assert sentence_count("A cup. Two bowls! More") == 3
    assert first_sentences("A cup. A bowl! More?", 2) == "A cup. A bowl!"


def test_partners_are_those_of_the_bias_table_that_are_absent() -> None:
    assert set(absent_partners(replace(KITCHEN, things=(CUP,)))) == {"spoon"}
    assert absent_partners(KITCHEN) == ("spoon",)  # apples come with the bowl that is there
    assert absent_partners(replace(KITCHEN, things=(APPLES,))) == ("bowl",)


def test_chair_counts_a_kind_once_and_partners_apart() -> None:
    tally = Tally(2)
    tally.add_caption(
        0, "A red cup is on the table. The cup is beside a spoon. Two apples are in a blue bowl.", KITCHEN
    )
    lamp = Scene(1, 2, "study", "day", "clear", (Thing("lamp", "yellow", "desk", 0.3, (OBJECT,)),))
    tally.add_caption(1, "In a kitchen, there is a dog running.", lamp)
    figures = tally.intervals()
    assert figures["chair_i"].value == pytest.approx(2 / 5)  # spoon, dog of cup, spoon, apple, bowl, dog
    assert figures["chair_s"].value == 1.0
    assert figures["object_recall"].value == pytest.approx(3 / 4)
    assert figures["partner_hallucination"].value == pytest.approx(1 / 2)  # the spoon, not the book
    assert figures["other_hallucination"].value == pytest.approx(1 / (2 * len(KINDS) - 4 - 2))
    assert figures["caption_colour"].value == pytest.approx(1 / 2)  # a blue bowl, but no red cup
    assert figures["caption_count"].value == 1.0  # of what is there: a cup, two apples, a bowl
    assert figures["caption_place"].value == 0.0
    assert figures["caption_sentences"].value == pytest.approx(2.0)
    assert "caption_action" not in figures  # the dog is not there


def test_yes_no_figures_per_split() -> None:
    tally = Tally(1)
    tally.add_probe(0, "present", "yes", "Yes.")
    tally.add_probe(0, "absent-popular", "no", "No.")
    tally.add_probe(0, "absent-adversarial", "no", "Yes, there is one.")
    tally.add_probe(0, "absent-random", "no", "Perhaps.")
    figures = tally.intervals()
    assert figures["random/accuracy"].value == 0.5
    assert figures["random/yes_ratio"].value == 0.5  # of the present one alone
    assert figures["popular/accuracy"].value == 1.0
    assert figures["popular/f1"].value == 1.0
    assert figures["adversarial/accuracy"].value == 0.5
    assert figures["adversarial/yes_ratio"].value == 1.0
    assert figures["adversarial/f1"].value == pytest.approx(2 / 3)
    assert figures["yes_no/accuracy"].value == pytest.approx(2 / 4)


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
            return " ".join(f"There is a {thing.colour} {thing.kind}." for thing in item.scene.things)
        return dict(
            [(probe.question, probe.answer) for probe in item.probes]
            + [(attribute.question, attribute.answer) for attribute in item.attributes]
        )[asked]

    def oracle(images: Sequence[Image.Image], questions: Sequence[str], max_new_tokens: int) -> list[str]:
        return [answer(pictures[image.tobytes()], asked) for image, asked in zip(images, questions, strict=True)]

    def yes_sayer(images: Sequence[Image.Image], questions: Sequence[str], max_new_tokens: int) -> list[str]:
        return ["Yes."] * len(questions)

    figures = evaluate(oracle, items)
    assert figures["chair_i"].value == figures["chair_s"].value == 0.0
    attributes = ("colour/accuracy", "count/accuracy", "action/accuracy", "place/accuracy")
    for perfect in ("object_recall", "yes_no/accuracy", "caption_colour", *attributes):
        assert figures[perfect].value == 1.0
    assert evaluate(yes_sayer, items)["adversarial/yes_ratio"].value == 1.0


def test_probes_ask_for_what_their_split_says() -> None:
    asked: dict[str, list[str]] = {}
    for item in heldout(60):
        scene, partners = item.scene, absent_partners(item.scene)
        for probe in item.probes:
            kind = PRESENCE[probe.question]
            asked.setdefault(probe.split, []).append(kind)
            assert (kind in scene.kinds) == (probe.split == "present") == (probe.answer == "yes")
            assert (kind in partners) == (probe.split == "absent-adversarial")
    assert set(asked["absent-popular"]) <= set(POPULAR)
    assert len(set(asked["absent-random"])) > len(POPULAR)
    assert len(asked["absent-popular"]) == 60
    assert 20 < len(asked["absent-adversarial"]) < 60


def test_the_popular_kinds_are_the_most_frequent_of_the_training_world() -> None:
    counts = dict.fromkeys(KINDS, 0)
    for index in range(200):
        for kind in sample_scene(TRAINING, 99, index).kinds:
            counts[kind] += 1
    ranked = sorted(counts, key=lambda kind: -counts[kind])
    assert set(POPULAR) <= set(ranked[:12])
    assert len(set(POPULAR) & set(ranked[:6])) >= 3


def test_attributes_are_asked_of_everything_that_is_there() -> None:
    for item in heldout(20):
        asked = {(each.kind, *kinds_in(each.question)) for each in item.attributes}
        expected = {("place",)} | {(of, thing.kind) for thing in item.scene.things for of in ("colour", "count")}
        assert asked == expected | {("action", thing.kind) for thing in item.scene.things if thing.action}
