"""Captions, questions and answers about a scene, always true, in many wordings.

A sentence is written from the truth and can be read back to claims (`claims.read`), so that one grammar serves training
data, exact truth and the count of hallucinations. Wordings vary in verb, order and what they mention, so that two true
captions differ in words while a wrong one differs in a claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefgen.evaluate.scenes.claims import (
    CONVERSE,
    LIGHT_SENTENCES,
    NUMBERS,
    RELATION_WORDS,
    SIDES,
    WEATHER_SENTENCES,
    is_carried,
    side_of,
)
from prefgen.evaluate.scenes.truth import KINDS, PLACES, SURFACES, Relation, Scene, Thing

DETAIL_QUESTIONS = (
    "Describe the image in detail.",
    "What do you see in this picture?",
    "Please give a detailed description of the image.",
    "What is shown in the image?",
    "Can you describe this picture for me?",
    "What is happening in the scene?",
    "Write a detailed caption for this picture.",
    "Explain what can be seen in the photo.",
)
BRIEF_QUESTIONS = (
    "Describe the image briefly.",
    "What is this picture about, in one sentence?",
    "Give a short caption.",
    "Summarize the picture in a few words.",
)
PRESENCE_QUESTIONS = (
    "Is there {a} in the image?",
    "Do you see {a}?",
    "Does the picture contain {a}?",
    "Can you see {a} in this picture?",
    "Is {a} visible in the scene?",
)
PRESENCE = {
    wording.format(a=f"{kind.article} {name}"): name for name, kind in KINDS.items() for wording in PRESENCE_QUESTIONS
}
"""Every question about presence, with the kind that it asks about."""
_NO_ANSWERS = (
    "No.",
    "No, there is no {kind} in the image.",
    "No, I do not see {a}.",
    "No, the picture does not contain {a}.",
    "No, {a} cannot be seen here.",
)
_CLEAR_AT_NIGHT = (WEATHER_SENTENCES["clear"][0], WEATHER_SENTENCES["clear"][2])  # "a clear day" is wrong there
_PLACE_SENTENCES = (
    "The scene takes place {phrase}.",
    "The picture was taken {phrase}.",
    "This is a scene {phrase}.",
    "We are {phrase}.",
)
ATMOSPHERES = (
    "The atmosphere is calm and peaceful.",
    "The scene has a quiet and pleasant mood.",
    "Overall, it looks like an ordinary moment of everyday life.",
    "Everything seems to be at rest.",
    "The picture conveys a sense of calm.",
    "It is a lively and cheerful scene.",
    "The overall impression is simple and tidy.",
    "The mood is relaxed.",
)
"""Sentences that claim nothing which could be seen to be false."""


@dataclass(frozen=True)
class SceneTurn:
    """A question and its true answer.

    Attributes:
        kind: detail, brief, yes, no, colour, count, action, where, relation, place, light, weather, category, compare,
            nearest or reason.
        about: The kind that is asked about, if it is one.
    """

    kind: str
    question: str
    answer: str
    about: str = ""


def detail(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of one to about six sentences that names every thing."""
    written = _SceneWriter(scene, rng)
    things = _by_prominence(scene, rng)
    sentences: list[str] = []
    opened = rng.random() < 0.35
    while remaining := [thing for thing in things if thing.kind not in written.named]:
        sentences.append(written.things(remaining, opening=opened and not sentences))
    if rng.random() < 0.3:
        sentences.insert(int(rng.integers(2)) * len(sentences), written.setting(placed=opened))
    if rng.random() < 0.25:
        sentences.append(written.relation_or_side())
    if rng.random() < 0.4:
        sentences.append(_choice(rng, ATMOSPHERES))
    return " ".join(sentence for sentence in sentences if sentence)


def brief(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of one sentence about the most prominent one or two things."""
    written = _SceneWriter(scene, rng)
    things = _by_prominence(scene, rng)
    if len(things) > 1 and rng.random() < 0.6:
        nouns = _join([written.noun(thing) for thing in things[:2]])
        return _sentence(f"{nouns} {PLACES[scene.place].phrase}")
    return _sentence(f"{written.noun(things[0])} {PLACES[scene.place].phrase}")


def sentence_about(scene: Scene, thing: Thing, rng: np.random.Generator) -> str:
    """A sentence about one thing: count, kind, perhaps colour and action, and where it is."""
    return _SceneWriter(scene, rng).one(thing)


class _SceneWriter:
    """Sentences about one scene; remembers the kinds that were named, which take "the" from then on."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self._scene, self._rng = scene, rng
        self._thing = {thing.kind: thing for thing in scene.things}
        self.named: set[str] = set()

    def noun(self, thing: Thing, *, bare: bool | None = None) -> str:
        """The thing at its first mention: "a brown dog", "two people in blue"."""
        self.named.add(thing.kind)
        return noun_phrase(thing, self._rng, bare=self._rng.random() < 0.15 if bare is None else bare)

    def things(self, remaining: Sequence[Thing], *, opening: bool) -> str:
        """A sentence about the first of the remaining things, and perhaps about others."""
        first = remaining[0]
        where = f"{_capital(PLACES[self._scene.place].phrase)}, " if opening else ""
        alike = [thing for thing in remaining[1:] if self._plain(thing) and thing.surface == first.surface]
        if self._plain(first) and alike and self._rng.random() < 0.6:
            group = [first, *alike[: int(self._rng.integers(1, 3))]]
            return self._group(group, where)
        related = self._related(first)
        if related and self._rng.random() < 0.7:
            subject, word, other = related
            return self._relation(subject, word, other, where)
        if len(remaining) > 1 and self._rng.random() < 0.25:
            return _sentence(f"{where}{self._there(first)}, and {self._there(remaining[1])}")
        return self.one(first, where)

    def setting(self, *, placed: bool) -> str:
        """A sentence about the light, the weather, or the place unless another has named it."""
        scene, rng = self._scene, self._rng
        kinds = ["light"] if PLACES[scene.place].indoors else ["light", "weather"]
        match _choice(rng, kinds if placed else ["place", *kinds]):
            case "place":
                return _choice(rng, _PLACE_SENTENCES).format(phrase=PLACES[scene.place].phrase)
            case "light":
                return _choice(rng, LIGHT_SENTENCES[scene.light])
            case _:
                return _choice(rng, weather_sentences(scene))

    def relation_or_side(self) -> str:
        """A closing sentence about a thing that has been named; empty if nothing more can be said."""
        options = []
        for thing in self._scene.things:
            noun, be = definite(thing), _be(thing)
            if side := side_of(thing):
                options.append(f"the {noun} {be} {_choice(self._rng, SIDES[side])}")
            if thing.relation:
                word = _word(thing.relation.word, self._rng)
                options.append(f"the {noun} {be} {word} the {definite(self._thing[thing.relation.other])}")
            options.append(_predicate_colour(thing))
        return _sentence(_choice(self._rng, options))

    def _plain(self, thing: Thing) -> bool:
        """A thing that can be named in a row of others: it does nothing, and nothing carries it."""
        return not thing.action and not is_carried(thing)

    def _related(self, thing: Thing) -> tuple[Thing, str, Thing] | None:
        """A relation in which a thing stands, from either side."""
        if thing.relation:
            return thing, thing.relation.word, self._thing[thing.relation.other]
        others = [other for other in self._scene.things if other.relation and other.relation.other == thing.kind]
        others = [other for other in others if other.kind not in self.named]
        return (others[0], others[0].relation.word, thing) if others and others[0].relation else None

    def _relation(self, subject: Thing, word: str, other: Thing, where: str) -> str:
        if word in CONVERSE and self._rng.random() < 0.5:
            subject, word, other = other, CONVERSE[word], subject
        be = _be(subject)
        if word == "held by" and other.count == 1 and self._rng.random() < 0.6:
            holder, held = self._mention(other), self._mention(subject)
            return _sentence(f"{where}{holder} is holding {held}")
        doing = f" {subject.action}" if subject.action and self._rng.random() < 0.7 else ""
        first, second = self._mention(subject), self._mention(other)
        word = _word(word, self._rng)
        forms = [f"{first} {be}{doing} {word} {second}", f"{first} can be seen{doing} {word} {second}"]
        if not first.startswith("the "):
            forms += [f"there {be} {first}{doing} {word} {second}", f"I can see {first}{doing} {word} {second}"]
        return _sentence(where + _choice(self._rng, forms))

    def _mention(self, thing: Thing) -> str:
        return f"the {definite(thing)}" if thing.kind in self.named else self.noun(thing)

    def _group(self, group: Sequence[Thing], where: str) -> str:
        nouns = _join([self.noun(thing) for thing in group])
        be = "are" if group[0].count > 1 else "is"
        surface = SURFACES[group[0].surface]
        forms = [
            f"there {be} {nouns} {surface}",
            f"{nouns} are {surface}",
            f"{nouns} can be seen {surface}",
            f"I can see {nouns} {surface}",
        ]
        if not where:
            forms += [f"{surface}, there {be} {nouns}", f"{surface}, I can see {nouns}"]
        return _sentence(where + _choice(self._rng, forms))

    def one(self, thing: Thing, where: str = "") -> str:
        """A sentence about one thing."""
        noun, be = self.noun(thing), _be(thing)
        doing = f" {thing.action}" if thing.action and self._rng.random() < 0.85 else ""
        surface = self._where(thing)
        forms = [
            f"there {be} {noun}{doing} {surface}",
            f"{noun} {be}{doing} {surface}",
            f"{noun} can be seen{doing} {surface}",
            f"I can see {noun}{doing} {surface}",
            f"{'the image shows ' if not where else 'we see '}{noun}{doing} {surface}",
        ]
        if not where:
            forms += [f"{surface}, there {be} {noun}{doing}", f"{surface} you can find {noun}{doing}"]
        return _sentence(where + _choice(self._rng, forms))

    def _there(self, thing: Thing) -> str:
        doing = f" {thing.action}" if thing.action else ""
        return f"there {_be(thing)} {self.noun(thing)}{doing} {self._where(thing)}"

    def _where(self, thing: Thing) -> str:
        side = side_of(thing)
        if side and self._rng.random() < 0.15:
            return _choice(self._rng, SIDES[side])
        if is_carried(thing) and thing.relation:
            return f"{_word(thing.relation.word, self._rng)} {self._mention(self._thing[thing.relation.other])}"
        return SURFACES[thing.surface]


def noun_phrase(thing: Thing, rng: np.random.Generator, *, bare: bool = False) -> str:
    """Count, colour and kind: "a brown dog", "three people in red"; without the colour if ``bare``."""
    kind = KINDS[thing.kind]
    name = kind.name if thing.count == 1 else kind.plural
    before, behind = "" if bare else f"{thing.colour} ", ""
    if not bare and thing.kind == "person":  # the colour is that of the clothes
        before, behind = "", _choice(rng, (" in {}", " wearing {}", " dressed in {}")).format(thing.colour)
    words = f"{before}{name}{behind}"
    if thing.count > 1:
        return f"{NUMBERS[thing.count]} {words}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def definite(thing: Thing) -> str:
    """The noun behind "the": singular or plural as the count asks."""
    return thing.kind if thing.count == 1 else KINDS[thing.kind].plural


def weather_sentences(scene: Scene) -> tuple[str, ...]:
    """True sentences about the weather of a scene."""
    return _CLEAR_AT_NIGHT if (scene.weather, scene.light) == ("clear", "night") else WEATHER_SENTENCES[scene.weather]


def question(scene: Scene, kind: str, rng: np.random.Generator, about: str = "") -> SceneTurn:
    """A question of a kind, with its true answer.

    Args:
        kind: One of ``SceneTurn.kind``.
        about: Kind of thing that is asked about; for "no" one that the scene lacks. Needless for questions about the
            scene.

    Raises:
        ValueError: Nothing of the kind can be asked about this scene.
    """
    if kind == "no":
        if about in scene.kinds:
            raise ValueError(f"the scene has a {about}")
        a = f"{KINDS[about].article} {about}"
        answer = _choice(rng, _NO_ANSWERS).format(a=a, kind=about)
        return SceneTurn(kind, _choice(rng, PRESENCE_QUESTIONS).format(a=a), answer, about)
    if about:
        thing = next((thing for thing in scene.things if thing.kind == about), None)
        if thing is None:
            raise ValueError(f"the scene has no {about}")
        return _about_thing(scene, kind, thing, rng)
    return _about_scene(scene, kind, rng)


def _about_thing(scene: Scene, kind: str, thing: Thing, rng: np.random.Generator) -> SceneTurn:
    noun, be = definite(thing), _be(thing)
    match kind:
        case "yes":
            a = f"{KINDS[thing.kind].article} {thing.kind}"
            asked = _choice(rng, PRESENCE_QUESTIONS).format(a=a)
            told = _choice(
                rng,
                (
                    "Yes.",
                    f"Yes, there {be} {noun_phrase(thing, rng)} {_whereabouts(scene, thing, rng)}.",
                    f"Yes, the image shows {noun_phrase(thing, rng)}.",
                ),
            )
        case "colour":
            asked, told = f"What color {be} the {noun}?", _sentence(_predicate_colour(thing))
            if thing.kind == "person":
                asked = f"What color {be} the {noun} wearing?"
        case "count":
            asked = _choice(rng, ("How many {} are there?", "How many {} can you see?", "Count the {}."))
            asked = asked.format(KINDS[thing.kind].plural)
            told = f"There {be} {NUMBERS[thing.count]} {noun}."
        case "action" if thing.action:
            asked, told = f"What {be} the {noun} doing?", f"The {noun} {be} {thing.action}."
        case "where":
            asked = _choice(rng, (f"Where {be} the {noun}?", f"Can you tell me where the {noun} {be}?"))
            told = f"The {noun} {be} {_whereabouts(scene, thing, rng)}."
            side = side_of(thing)
            if side and rng.random() < 0.5:
                asked, told = f"On which side of the picture is the {noun}?", f"The {noun} is {SIDES[side][0]}."
        case "relation" if thing.relation:
            asked = f"How {be} the {noun} related to the {definite(_other(scene, thing.relation))}?"
            told = f"The {noun} {be} {_related_to(scene, thing.relation, rng)}."
        case _:
            raise ValueError(f"no {kind!r} question can be asked about the {thing.kind}")
    return SceneTurn(kind, asked, told, thing.kind)


def _about_scene(scene: Scene, kind: str, rng: np.random.Generator) -> SceneTurn:
    match kind:
        case "detail":
            return SceneTurn(kind, _choice(rng, DETAIL_QUESTIONS), detail(scene, rng))
        case "brief":
            return SceneTurn(kind, _choice(rng, BRIEF_QUESTIONS), brief(scene, rng))
        case "place":
            asked = _choice(rng, ("Where was this picture taken?", "What place is shown?", "Where are we?"))
            return SceneTurn(kind, asked, _choice(rng, _PLACE_SENTENCES).format(phrase=PLACES[scene.place].phrase))
        case "light":
            return SceneTurn(kind, "What time of day is it?", LIGHT_SENTENCES[scene.light][0])
        case "weather" if not PLACES[scene.place].indoors:
            asked = _choice(rng, ("What is the weather like?", "How is the weather in this picture?"))
            return SceneTurn(kind, asked, _choice(rng, weather_sentences(scene)))
        case "category" | "compare" | "nearest" | "reason":
            turns = [turn for turn in _reasoning(scene, rng) if turn.kind == kind]
            if turns:
                return turns[int(rng.integers(len(turns)))]
    raise ValueError(f"no {kind!r} question can be asked about this scene")


def _reasoning(scene: Scene, rng: np.random.Generator) -> list[SceneTurn]:
    """Questions whose answers take two facts or more."""
    turns = []
    for category in sorted({KINDS[thing.kind].category for thing in scene.things} - {"person", "object"}):
        of_it = [thing for thing in scene.things if KINDS[thing.kind].category == category]
        many = {"furniture": "pieces of furniture", "tableware": "tableware", "food": "food"}.get(
            category, f"{category}s"
        )
        asked = f"Which {many} can be seen?"
        told = _sentence(
            "there " + _be(of_it[0]) + " " + _join([noun_phrase(thing, rng, bare=True) for thing in of_it])
        )
        turns.append(SceneTurn("category", asked, told))
    for one in scene.things:
        for other in scene.things:
            if one.count != other.count and one.count + other.count > 2:
                more, fewer = (one, other) if one.count > other.count else (other, one)
                asked = f"Are there more {KINDS[one.kind].plural} than {KINDS[other.kind].plural}?"
                yes = "Yes" if more is one else "No"
                told = f"{yes}, there {_be(more)} {_counted(more)} and {_counted(fewer)}."
                turns.append(SceneTurn("compare", asked, told))
    nearest = scene.things[-1]
    if all(thing.depth - nearest.depth > 0.08 for thing in scene.things[:-1]) and len(scene.things) > 1:
        told = f"The {definite(nearest)} {_be(nearest)} nearest to the camera."
        turns.append(SceneTurn("nearest", "What is nearest to the camera?", told))
    if not PLACES[scene.place].indoors:
        wet = scene.weather in ("rain", "snow")
        why = weather_sentences(scene)[0]
        answer = f"{'Yes' if wet else 'No'}, because {why[0].lower()}{why[1:]}"
        turns.append(SceneTurn("reason", "Would someone get wet here without cover?", answer))
        if scene.weather in ("rain", "snow", "fog"):
            told = f"It may be hard to see, because {why[0].lower()}{why[1:]}"
            turns.append(SceneTurn("reason", "What could make it hard to see things far away?", told))
    if nearest.count == 1:
        whereabouts = _whereabouts(scene, nearest, rng)
        told = f"It is probably {PLACES[scene.place].phrase}, as the {definite(nearest)} is {whereabouts}."
        turns.append(SceneTurn("reason", "What kind of place could this be, and why?", told))
    dark = scene.light in ("dusk", "night")
    told = f"{'Yes' if dark else 'No'}, because {LIGHT_SENTENCES[scene.light][0].lower()}"
    turns.append(SceneTurn("reason", "Would one need a torch to find the way?", told))
    return turns


@dataclass(frozen=True)
class Mix:
    """Composition of conversations.

    Attributes:
        detail: Probability that a conversation opens with a detailed caption. brief: with a brief one.
        more: Fewest and most further questions.
        presence: Share of yes/no questions about presence among them, half of them answered no.
    """

    detail: float = 0.4
    brief: float = 0.1
    more: tuple[int, int] = (1, 3)
    presence: float = 0.5


_THING_QUESTIONS = ("colour", "count", "action", "where", "relation")
_SCENE_QUESTIONS = ("place", "light", "weather", "category", "compare", "nearest", "reason")


def conversation(scene: Scene, rng: np.random.Generator, mix: Mix) -> list[SceneTurn]:
    """Turns about a scene; nothing is asked twice, even in other words."""
    turns: list[SceneTurn] = []
    opening = rng.random()
    if opening < mix.detail + mix.brief:
        turns.append(question(scene, "detail" if opening < mix.detail else "brief", rng))
    wanted = len(turns) + int(rng.integers(mix.more[0], mix.more[1] + 1))
    absent = [kind for kind in KINDS if kind not in scene.kinds]
    while len(turns) < wanted:
        if rng.random() < mix.presence:
            kind = ("yes", "no")[int(rng.integers(2))]
            about = _choice(rng, absent if kind == "no" else sorted(scene.kinds))
        elif rng.random() < 0.65:
            kind, about = _choice(rng, _THING_QUESTIONS), _choice(rng, sorted(scene.kinds))
        else:
            kind, about = _choice(rng, _SCENE_QUESTIONS), ""
        try:
            turn = question(scene, kind, rng, about)
        except ValueError:  # a thing without an action, a scene without weather
            continue
        if (turn.kind, turn.about) not in [(earlier.kind, earlier.about) for earlier in turns]:
            turns.append(turn)
    return turns


def _by_prominence(scene: Scene, rng: np.random.Generator) -> list[Thing]:
    """Things in the order in which they are told: the large and near first, with some chance."""

    def area(thing: Thing) -> float:
        return sum((right - left) * (bottom - top) for left, top, right, bottom in (i.box for i in thing.instances))

    weight = {thing.kind: np.log(area(thing) + 1) + 0.5 * rng.standard_normal() for thing in scene.things}
    return sorted(scene.things, key=lambda thing: -weight[thing.kind])


def _be(thing: Thing) -> str:
    return "is" if thing.count == 1 else "are"


def _counted(thing: Thing) -> str:
    return f"{NUMBERS[thing.count]} {definite(thing)}"


def _whereabouts(scene: Scene, thing: Thing, rng: np.random.Generator) -> str:
    """The words for a place of a thing: its surface, or what carries it."""
    if thing.relation and is_carried(thing):
        return _related_to(scene, thing.relation, rng)
    return SURFACES[thing.surface]


def _related_to(scene: Scene, relation: Relation, rng: np.random.Generator) -> str:
    return f"{_word(relation.word, rng)} the {definite(_other(scene, relation))}"


def _other(scene: Scene, relation: Relation) -> Thing:
    return next(thing for thing in scene.things if thing.kind == relation.other)


def _predicate_colour(thing: Thing) -> str:
    verb = {"person": " wearing", "traffic light": " showing"}.get(thing.kind, "")
    return f"the {definite(thing)} {_be(thing)}{verb} {thing.colour}"


def _word(relation: str, rng: np.random.Generator) -> str:
    return _choice(rng, RELATION_WORDS.get(relation, (relation,)))


def _join(nouns: Sequence[str]) -> str:
    return nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} and {nouns[-1]}"


def _sentence(text: str) -> str:
    return f"{_capital(text)}."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _choice(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
