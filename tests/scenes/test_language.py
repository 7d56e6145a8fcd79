from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from prefgen.evaluate.scenes import language
from prefgen.evaluate.scenes.claims import SceneClaim, claims_of, mentions, read
from prefgen.evaluate.scenes.language import Mix, SceneTurn, question
from prefgen.evaluate.scenes.sample import TRAINING, UNBIASED, sample_scene
from prefgen.evaluate.scenes.truth import COLOURS, KINDS, PLACES, Instance, Relation, Scene, Thing

SCENES = [sample_scene(world, 77, index) for index in range(60) for world in (TRAINING, UNBIASED)]


def thing(kind: str, colour: str, surface: str, count: int = 1, **more: object) -> Thing:
    boxes = [(20.0 * n + 5, 90.0, 20.0 * n + 20, 110.0) for n in range(count)]
    return Thing(kind, colour, surface, 0.3, tuple(Instance(box, 1.0, 0, False) for box in boxes), **more)  # type: ignore[arg-type]


CUP = thing("cup", "white", "table", relation=Relation("beside", "spoon"))
SPOON = thing("spoon", "grey", "table")
APPLES = thing("apple", "red", "table", 3)
KITCHEN = Scene(1, 1, "kitchen", "day", "clear", (APPLES, SPOON, CUP))
PERSON = thing("person", "green", "pavement", action="walking")
UMBRELLA = thing("umbrella", "red", "pavement", relation=Relation("held by", "person"))
DOGS = thing("dog", "brown", "pavement", 2, action="sitting")
STREET = Scene(1, 2, "street", "night", "rain", (DOGS, PERSON, UMBRELLA))


def turns_of(scene: Scene, passes: int = 3) -> Iterator[SceneTurn]:
    for number in range(passes):
        rng = np.random.default_rng([scene.index, number])
        yield from language.conversation(scene, rng, Mix(detail=0.8, brief=0.2, more=(3, 6), presence=0.3))


def test_captions_and_answers_claim_only_what_is_true() -> None:
    kinds: Counter[str] = Counter()
    for scene in SCENES:
        true = claims_of(scene)
        for turn in turns_of(scene):
            kinds[turn.kind] += 1
            assert read(turn.answer) <= true, (turn, read(turn.answer) - true)
    assert set(kinds) == {
        *("detail", "brief", "yes", "no", "colour", "count", "action", "where", "relation"),
        *("place", "light", "weather", "category", "compare", "nearest", "reason"),
    }


def test_a_detailed_caption_names_every_thing_and_nothing_else() -> None:
    for scene in SCENES:
        rng = np.random.default_rng(scene.index)
        text = language.detail(scene, rng)
        assert set(mentions(text)) == scene.kinds, text
        assert {SceneClaim(kind, "exists") for kind in scene.kinds} <= read(text)


def differing(scene: Scene, attribute: str) -> tuple[Scene, set[SceneClaim]] | None:
    """A scene that differs in one fact, and the claims by which a text about it may differ."""
    *others, last = scene.things

    def with_last(changed: Thing) -> Scene:
        return replace(scene, things=(*others, changed))

    match attribute:
        case "colour":
            colour = next(colour for colour in COLOURS if colour != last.colour)
            return with_last(replace(last, colour=colour)), {SceneClaim(last.kind, "colour", colour)}
        case "count":
            more = (*last.instances, last.instances[0])
            return with_last(replace(last, instances=more)), {SceneClaim(last.kind, "count", str(len(more)))}
        case "action" if last.action:
            action = "waving" if last.action != "waving" else "lying"
            return with_last(replace(last, action=action)), {SceneClaim(last.kind, "action", action)}
        case "kind" if not any(thing.relation and thing.relation.other == last.kind for thing in others):
            kind = next(kind for kind in KINDS if kind not in scene.kinds)
            wrong = with_last(replace(last, kind=kind, relation=None))
            return wrong, {claim for claim in claims_of(wrong) if claim.subject == kind}
        case "place":
            place = next(place for place in PLACES if place != scene.place)
            return replace(scene, place=place), {SceneClaim("", "place", place)}
    return None


@pytest.mark.parametrize("attribute", ["colour", "count", "action", "kind", "place"])
def test_a_false_word_is_read_as_a_false_claim_and_as_nothing_else(attribute: str) -> None:
    found = 0
    for scene in SCENES:
        if changed := differing(scene, attribute):
            wrong, may_differ = changed
            false = read(language.detail(wrong, np.random.default_rng(scene.index))) - claims_of(scene)
            assert false <= may_differ
            found += bool(false)
    assert found > 10


HAND_READ = {
    "There is a white cup next to a grey spoon.": "cup count 1, cup colour white, cup beside spoon, spoon count 1, "
    "spoon colour grey",
    "Two people in blue are walking on the pavement.": "person count 2, person colour blue, person action walking, "
    "person surface pavement",
    "On the grass, there are three sheep and an orange tree.": "sheep count 3, sheep surface grass, tree count 1, "
    "tree colour orange, tree surface grass",
    "A person is holding a red umbrella.": "person count 1, umbrella count 1, umbrella colour red, "
    "umbrella held by person",
    "In a park, I can see a dog running on the grass, and there is a bird flying in the sky.": "place park, "
    "dog count 1, dog action running, dog surface grass, bird count 1, bird action flying, bird surface sky",
    "The traffic light is showing green.": "traffic light colour green",
    "The duck is on the left.": "duck side left",
    "The boat is in front of the boats.": "boat in front of boat",
    "It is night. The picture was taken at the beach.": "light night, place beach",
    "No, there is no dog in the image.": "",
    "A dog cannot be seen here.": "",
    "The mood is relaxed.": "",
}


@pytest.mark.parametrize("text", HAND_READ)
def test_sentences_are_read_as_by_hand(text: str) -> None:
    claims = {f"{claim.subject} {claim.attribute} {claim.value}".strip() for claim in read(text)}
    told = {claim for claim in claims if not claim.endswith("exists")}
    assert told == {each for each in HAND_READ[text].split(", ") if each}
    assert {claim for claim in claims if claim.endswith("exists")} == (
        {f"{kind} exists" for kind in mentions(text)} if told else set()
    )


def test_mentions_count_each_noun_plural_or_not_and_no_part_of_a_word() -> None:
    text = "Two Buses and a bus near a busy bookshelf; people, a scarf, the cups."
    assert mentions(text) == ["bus", "bus", "person", "cup"]


def test_every_fact_of_a_scene_is_told_in_some_wording() -> None:
    """Except those that no sentence can hold, everything in the truth can be read from some caption or answer."""
    for scene in (KITCHEN, STREET):
        told: set[SceneClaim] = set()
        for number in range(300):
            rng = np.random.default_rng(number)
            for turn in language.conversation(scene, rng, Mix(detail=1.0, more=(2, 4))):
                told |= read(turn.answer)
        assert told == claims_of(scene) - {SceneClaim("", "weather", "clear")}  # indoors the weather is not told


def test_wordings_are_many() -> None:
    captions = {language.detail(KITCHEN, np.random.default_rng(number)) for number in range(300)}
    assert len(captions) > 250
    lengths = [text.count(".") for text in captions]
    assert min(lengths) == 1
    assert 5 <= max(lengths) <= 6
    told = " ".join(captions)
    for words in ("In a kitchen, ", "On the table, ", "I can see", "can be seen", "The image shows", "next to"):
        assert words in told
    assert any(sentence in told for sentence in language.ATMOSPHERES)


HELD = ("held by the person", "in the hand of the person", "on the left")


@pytest.mark.parametrize(
    ("scene", "kind", "about", "answers"),
    [
        (KITCHEN, "colour", "cup", {"The cup is white."}),
        (KITCHEN, "count", "apple", {"There are three apples."}),
        (KITCHEN, "where", "apple", {"The apples are on the table."}),
        (KITCHEN, "relation", "cup", {"The cup is beside the spoon.", "The cup is next to the spoon."}),
        (STREET, "action", "dog", {"The dogs are sitting."}),
        (STREET, "colour", "person", {"The person is wearing green."}),
        (STREET, "where", "umbrella", {f"The umbrella is {where}." for where in HELD}),
        (STREET, "light", "", {"It is night."}),
    ],
)  # fmt: skip
def test_questions_have_the_true_answer(scene: Scene, kind: str, about: str, answers: set[str]) -> None:
    found = {question(scene, kind, np.random.default_rng(number), about).answer for number in range(40)}
    assert found == answers


def test_questions_about_presence_are_answered_by_the_truth() -> None:
    for scene in SCENES[:40]:
        for kind in KINDS:
            turn = question(scene, "yes" if kind in scene.kinds else "no", np.random.default_rng(3), kind)
            assert mentions(turn.question) == [kind]
            assert turn.answer.startswith("Yes" if kind in scene.kinds else "No")


def test_what_cannot_be_asked_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="the scene has a cup"):
        question(KITCHEN, "no", rng, "cup")
    with pytest.raises(ValueError, match="the scene has no dog"):
        question(KITCHEN, "colour", rng, "dog")
    with pytest.raises(ValueError, match="no 'action' question"):
        question(KITCHEN, "action", rng, "cup")
    with pytest.raises(ValueError, match="no 'weather' question"):
        question(KITCHEN, "weather", rng)


def test_reasons_follow_from_the_scene() -> None:
    answers = {turn.question: turn.answer for turn in map(_reason, [STREET] * 200, range(200))}
    assert answers["Would someone get wet here without cover?"] == "Yes, because it is raining."
    assert answers["Would one need a torch to find the way?"] == "Yes, because it is night."
    dry = {turn.question: turn.answer for turn in map(_reason, [replace(STREET, weather="cloudy")] * 200, range(200))}
    assert dry["Would someone get wet here without cover?"] == "No, because the weather is cloudy."
    more = question(KITCHEN, "compare", np.random.default_rng(0)).answer
    assert more in ("Yes, there are three apples and one cup.", "Yes, there are three apples and one spoon.",
                    "No, there are three apples and one cup.", "No, there are three apples and one spoon.")  # fmt: skip


def _reason(scene: Scene, number: int) -> SceneTurn:
    return question(scene, "reason", np.random.default_rng(number))


def test_comparisons_are_true() -> None:
    for number in range(50):
        turn = question(KITCHEN, "compare", np.random.default_rng(number))
        first, second = mentions(turn.question)
        count = {thing.kind: thing.count for thing in KITCHEN.things}
        assert turn.answer.startswith("Yes" if count[first] > count[second] else "No"), turn


def test_no_question_is_asked_twice_and_the_same_seed_gives_the_same_words() -> None:
    for scene in SCENES[:50]:
        turns = [*turns_of(scene, 1)]
        assert turns == [*turns_of(scene, 1)]
        asked = sorted((turn.kind, turn.about) for turn in turns)
        assert all(a != b for a, b in pairwise(asked))
