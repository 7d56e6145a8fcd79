"""Captions, questions and answers about a scene, always true, in varied wording.

One thing is one sentence. The wording varies (verb, order, name of the place, an opening that counts, a closing
relation), so that two true captions of a picture differ in words while a wrong one differs in meaning.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefgen.evaluate.scenes.world import PARTNER, PLURAL, POPULAR, SHAPES, Scene, Thing

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLACES = (
    ("in the top left corner", "at the top left"),
    ("at the top", "in the middle of the top row"),
    ("in the top right corner", "at the top right"),
    ("on the left side", "in the middle of the left column"),
    ("in the centre", "in the middle"),
    ("on the right side", "in the middle of the right column"),
    ("in the bottom left corner", "at the bottom left"),
    ("at the bottom", "in the middle of the bottom row"),
    ("in the bottom right corner", "at the bottom right"),
)
CAPTION_QUESTIONS = (
    "Describe the image.",
    "What do you see in this picture?",
    "Please describe this image in detail.",
    "What is shown in the image?",
    "Can you tell me what is in this picture?",
    "Give a description of the scene.",
    "What are the contents of this image?",
    "Write a caption for this picture.",
)
_PRESENCE_QUESTIONS = (
    "Is there a {} in the image?",
    "Do you see a {}?",
    "Does the picture contain a {}?",
    "Can you see a {} in this picture?",
    "Is a {} visible in the scene?",
)
_NO_ANSWERS = (
    "No.",
    "No, there is no {} in the image.",
    "No, I do not see a {}.",
    "No, the picture does not contain a {}.",
    "No, a {} is not visible here.",
)
_COLOUR_QUESTIONS = (
    "What colour {be} the {}?",
    "What is the colour of the {}?",
    "Can you tell me the colour of the {}?",
)
_PLACE_QUESTIONS = (
    "Where {be} the {}?",
    "In which part of the image {be} the {}?",
    "Can you tell me where the {} {be}?",
)
_COUNT_QUESTIONS = ("How many {} are there?", "How many {} do you see?", "What is the number of {} in the image?")
_TOTAL_QUESTIONS = ("How many objects are there?", "How many objects do you see in total?")
_ONE = (
    "There is {a} {place}.",
    "{A} is {place}.",
    "{A} can be seen {place}.",
    "{A} sits {place} of the picture.",
    "I can see {a} {place}.",
    "The image shows {a} {place}.",
    "{Place} there is {a}.",
    "{Place} you can find {a}.",
)
_MANY = (
    "There are {a}, {place}.",
    "{A} can be seen, {place}.",
    "I can see {a}, {place}.",
    "The image shows {a}, {place}.",
)
_OVERVIEWS_ONE = (
    "There is one object in the image.",
    "The picture shows a single object.",
    "This is a scene with one object.",
)
_OVERVIEWS = (
    "There are {n} objects in the image.",
    "The picture shows {n} objects.",
    "This is a scene with {n} objects.",
)
OVERVIEW_PROBABILITY, RELATION_PROBABILITY, BARE_ANSWER_PROBABILITY = 0.3, 0.25, 0.25


@dataclass(frozen=True)
class SceneQuestion:
    """One question and its true answer. ``kind``: caption, yes, no, colour, place or count."""

    kind: str
    question: str
    answer: str


@dataclass(frozen=True)
class Mix:
    """Composition of a conversation."""

    caption_probability: float = 0.5
    questions_after_caption: tuple[int, int] = (0, 2)  # inclusive range
    questions_alone: tuple[int, int] = (2, 4)
    presence_share: float = 0.6  # of the questions, half of them answered no


def conversation(scene: Scene, rng: np.random.Generator, mix: Mix) -> list[SceneQuestion]:
    """Turns about a scene: a caption and some questions, or questions only. No question is asked twice."""
    turns: list[SceneQuestion] = []
    low, high = mix.questions_alone
    if rng.random() < mix.caption_probability:
        turns.append(SceneQuestion("caption", _choice(rng, CAPTION_QUESTIONS), caption(scene, rng)))
        low, high = mix.questions_after_caption
    asked: set[tuple[str, str]] = set()
    for _ in range(int(rng.integers(low, high + 1))):
        kind = ("yes", "no")[int(rng.integers(2))] if rng.random() < mix.presence_share else ""
        kind = kind or ("colour", "place", "count")[int(rng.integers(3))]
        shape = _choice(rng, [s for s in SHAPES if s not in scene.shapes] if kind == "no" else sorted(scene.shapes))
        if (kind, shape) not in asked:
            asked.add((kind, shape))
            turns.append(question(scene, kind, shape, rng))
    return turns


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A true description: perhaps a count first, one sentence per thing, perhaps a relation last."""
    sentences = [thing_sentence(thing, rng) for thing in scene.things]
    if rng.random() < OVERVIEW_PROBABILITY:
        total = len(scene.objects)
        opening = _choice(rng, _OVERVIEWS_ONE if total == 1 else _OVERVIEWS)
        sentences.insert(0, opening.format(n=NUMBERS[total]))
    if rng.random() < RELATION_PROBABILITY:
        sentences += _relation(scene, rng)
    return " ".join(sentences)


def question(scene: Scene, kind: str, shape: str, rng: np.random.Generator) -> SceneQuestion:
    """A question of the given kind about a shape, with the true answer.

    Raises:
        ValueError: ``kind`` asks about a shape that the scene lacks, or "no" about one that it has.
    """
    thing = next((thing for thing in scene.things if thing.shape == shape), None)
    if (thing is None) != (kind == "no"):
        raise ValueError(f"cannot ask a {kind!r} question about {shape!r}: the scene has {sorted(scene.shapes)}")
    if thing is None:
        return SceneQuestion(
            kind, _choice(rng, _PRESENCE_QUESTIONS).format(shape), _choice(rng, _NO_ANSWERS).format(shape)
        )
    many = len(thing.cells) > 1
    noun = PLURAL[shape] if many else shape
    be = "are" if many else "is"
    match kind:
        case "yes":
            text = _choice(rng, _PRESENCE_QUESTIONS).format(shape)
            return SceneQuestion(kind, text, _yes_answer(thing, rng))
        case "colour":
            text = _choice(rng, _COLOUR_QUESTIONS).format(noun, be=be)
            return SceneQuestion(kind, text, f"The {noun} {be} {thing.colour}.")
        case "place":
            text = _choice(rng, _PLACE_QUESTIONS).format(noun, be=be)
            return SceneQuestion(kind, text, f"The {noun} {be} {_places(thing, rng)}.")
        case "count":
            text = _choice(rng, _COUNT_QUESTIONS).format(PLURAL[shape])
            return SceneQuestion(kind, text, f"There {be} {NUMBERS[len(thing.cells)]} {noun}.")
        case _:
            raise ValueError(f"unknown question kind {kind!r}; choose yes, no, colour, place or count")


def thing_sentence(thing: Thing, rng: np.random.Generator) -> str:
    """One true sentence that names a thing's count, colour, shape and place."""
    many = len(thing.cells) > 1
    noun = _noun(thing)
    place = _places(thing, rng)
    template = _choice(rng, _MANY if many else _ONE)
    return template.format(a=noun, A=_capital(noun), place=place, Place=_capital(place))


def absent_partner(scene: Scene) -> str | None:
    """The first absent partner of a present shape, what the language prior would add (None if none is absent)."""
    return next((PARTNER[t.shape] for t in scene.things if PARTNER[t.shape] not in scene.shapes), None)


def absent_popular(scene: Scene) -> str:
    """The most frequent shape of the training world that is absent and is no partner of a present one."""
    excluded = scene.shapes | {PARTNER[shape] for shape in scene.shapes}
    return next(shape for shape in POPULAR if shape not in excluded)


def _yes_answer(thing: Thing, rng: np.random.Generator) -> str:
    if rng.random() < BARE_ANSWER_PROBABILITY:
        return "Yes."
    many = len(thing.cells) > 1
    noun = _noun(thing)
    if rng.random() < 0.5:
        return f"Yes, the image contains {noun}."
    return f"Yes, there {'are' if many else 'is'} {noun} {_places(thing, rng)}."


def _noun(thing: Thing) -> str:
    count = len(thing.cells)
    if count == 1:
        return f"a {thing.colour} {thing.shape}"
    return f"{NUMBERS[count]} {thing.colour} {PLURAL[thing.shape]}"


def _places(thing: Thing, rng: np.random.Generator) -> str:
    return " and ".join(_choice(rng, PLACES[cell]) for cell in thing.cells)


def _relation(scene: Scene, rng: np.random.Generator) -> list[str]:
    """A sentence that relates two single things lying in different rows or columns, if there are such."""
    singles = [thing for thing in scene.things if len(thing.cells) == 1]
    if len(singles) < 2:
        return []
    a, b = (singles[int(i)] for i in rng.permutation(len(singles))[:2])
    (row_a, col_a), (row_b, col_b) = divmod(a.cells[0], 3), divmod(b.cells[0], 3)
    words = (
        ["to the left of", "to the right of"][col_a > col_b] if col_a != col_b else ["above", "below"][row_a > row_b]
    )
    return [f"The {a.colour} {a.shape} is {words} the {b.colour} {b.shape}."]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _choice(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
