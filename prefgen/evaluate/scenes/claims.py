"""Claims: what a text says about a scene, one by one; the truth as claims, and a reader of text.

The wordings of sides, lights, weathers and relations stand here, so that `language` writes what is read here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from prefgen.evaluate.scenes.truth import (
    ACTIONS,
    COLOURS,
    IMAGE_SIZE,
    KINDS,
    LIGHTS,
    PLACES,
    RELATIONS,
    SURFACES,
    WEATHERS,
    Scene,
    Thing,
)

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
SIDES = {
    "left": ("on the left", "on the left side", "on the left of the picture"),
    "middle": ("in the middle", "in the centre", "in the middle of the picture"),
    "right": ("on the right", "on the right side", "on the right of the picture"),
}
LIGHT_SENTENCES = {
    "day": ("It is daytime.", "The scene is set in daylight.", "Daylight fills the scene."),
    "sunset": ("It is sunset.", "The sun is setting.", "The warm light of sunset fills the scene."),
    "dusk": ("It is dusk.", "The scene is set at dusk.", "Dusk is falling, and it is getting dark."),
    "night": ("It is night.", "The scene is set at night.", "It is dark, as it is night."),
}
WEATHER_SENTENCES = {
    "clear": ("The weather is clear.", "It is a clear day without clouds.", "The sky is clear."),
    "cloudy": ("The weather is cloudy.", "The sky is cloudy.", "Clouds cover the sky."),
    "rain": ("It is raining.", "Rain is falling.", "The weather is rainy."),
    "fog": ("It is foggy.", "Fog lies over the scene.", "The weather is foggy."),
    "snow": ("It is snowing.", "Snow is falling.", "The weather is snowy."),
}
RELATION_WORDS = {"beside": ("beside", "next to"), "held by": ("held by", "in the hand of")}
_SYNONYMS = {
    word: relation for relation in RELATIONS for word in RELATION_WORDS.get(relation, (relation,))
}  # "next to" -> "beside"
CONVERSE = {"beside": "beside", "in front of": "behind", "behind": "in front of"}


@dataclass(frozen=True, order=True)
class SceneClaim:
    """One thing that a text says.

    Attributes:
        subject: A kind; empty for a claim about the scene.
        attribute: exists, colour, count, action, surface, side, or a relation; of the scene: place, light or weather.
        value: A word of the world; for a relation the other kind, for a count its digits, for exists empty.
    """

    subject: str
    attribute: str
    value: str = ""


def claims_of(scene: Scene) -> frozenset[SceneClaim]:
    """Everything that a text may truly claim about a scene."""
    found = {
        SceneClaim("", "place", scene.place),
        SceneClaim("", "light", scene.light),
        SceneClaim("", "weather", scene.weather),
    }
    for thing in scene.things:
        found |= {
            SceneClaim(thing.kind, "exists"),
            SceneClaim(thing.kind, "colour", thing.colour),
            SceneClaim(thing.kind, "count", str(thing.count)),
        }
        if not is_carried(thing):
            found.add(SceneClaim(thing.kind, "surface", thing.surface))
        if thing.action:
            found.add(SceneClaim(thing.kind, "action", thing.action))
        if side := side_of(thing):
            found.add(SceneClaim(thing.kind, "side", side))
        if thing.relation:
            word, other = thing.relation.word, thing.relation.other
            found.add(SceneClaim(thing.kind, word, other))
            if word in CONVERSE:
                found.add(SceneClaim(other, CONVERSE[word], thing.kind))
    return frozenset(found)


def side_of(thing: Thing) -> str | None:
    """The side of the picture on which a single object clearly is."""
    if thing.count > 1:
        return None
    left, _, right, _ = thing.instances[0].box
    middle = (left + right) / 2 / IMAGE_SIZE
    bounds = {"left": (0.0, 0.3), "middle": (0.42, 0.58), "right": (0.7, 1.0)}
    return next((side for side, (low, high) in bounds.items() if low <= middle <= high), None)


def is_carried(thing: Thing) -> bool:
    """A thing that is on, in or held by another, so that its own surface is not named."""
    return thing.relation is not None and thing.relation.word in ("on", "in", "held by")


_NAMES = {name: kind.name for kind in KINDS.values() for name in (kind.name, kind.plural)}
_COUNTS = {word: str(number) for number, word in enumerate(NUMBERS)} | {"a": "1", "an": "1"}


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_NOUN = re.compile(
    rf"\b(?:(?P<number>{_any([*_COUNTS, 'the'])}) )?(?:(?P<colour>{_any(COLOURS)}) )?(?P<name>{_any(_NAMES)})\b"
    rf"(?: (?:in|wearing|dressed in) (?P<clothes>{_any(COLOURS)})\b)?",
    re.IGNORECASE,
)
_ACTION = re.compile(rf"\b({_any(ACTIONS)})\b", re.IGNORECASE)
_SURFACE = re.compile(rf"\b({_any(SURFACES.values())})\b", re.IGNORECASE)
_SIDE_OF = {phrase: side for side, phrases in SIDES.items() for phrase in phrases}
_SIDE = re.compile(rf"\b({_any(_SIDE_OF)})\b", re.IGNORECASE)
_RELATED = re.compile(rf"\b({_any(_SYNONYMS)}) $", re.IGNORECASE)
_COLOURED = re.compile(rf"^ (?:is|are) (?:(?:wearing|showing) )?({_any(COLOURS)})\b", re.IGNORECASE)
_CONNECTED = re.compile(r"^(?:,| and|, and)? $")
_DENIED = re.compile(r"\b(?:no|not|cannot)\b(?!,)", re.IGNORECASE)
_SCENE_PHRASES = {
    **{place.phrase: SceneClaim("", "place", place.name) for place in PLACES.values()},
    **{light: SceneClaim("", "light", light) for light in LIGHTS if light != "day"},
    **dict.fromkeys(("daytime", "daylight"), SceneClaim("", "light", "day")),
    "sun is setting": SceneClaim("", "light", "sunset"),
    **{
        sentence.rstrip("."): SceneClaim("", "weather", weather)
        for weather in WEATHERS
        for sentence in WEATHER_SENTENCES[weather]
    },
}
_SCENE = re.compile(rf"\b({_any(_SCENE_PHRASES)})\b", re.IGNORECASE)
_SCENE_OF = {phrase.lower(): claim for phrase, claim in _SCENE_PHRASES.items()}


def mentions(text: str) -> list[str]:
    """The kinds that a text mentions, once per mention, in order; denied ones as well."""
    return [_NAMES[match["name"].lower()] for match in _NOUN.finditer(text)]


def kinds_in(text: str) -> frozenset[str]:
    """The kinds that a text mentions; denied ones as well."""
    return frozenset(mentions(text))


def read(text: str) -> frozenset[SceneClaim]:
    """Everything that a text of this world's grammar claims; what it denies is left out."""
    return frozenset(claim for sentence in re.split(r"(?<=[.!?])\s+", text) for claim in _read(sentence))


def _read(sentence: str) -> Iterable[SceneClaim]:
    if _DENIED.search(sentence):
        return
    for match in _SCENE.finditer(sentence):
        yield _SCENE_OF[match[1].lower()]
    sentence = _SCENE.sub(lambda match: match[1] if match[1].lower() in _SURFACE_PHRASES else "_", sentence)
    found = list(_NOUN.finditer(sentence))
    groups: list[list[re.Match[str]]] = []
    for match in found:
        if groups and _CONNECTED.match(sentence[groups[-1][-1].end() : match.start()]):
            groups[-1].append(match)
        else:
            groups.append([match])
    for number, group in enumerate(groups):
        before = sentence[: group[0].start()]
        following = groups[number + 1][0] if number + 1 < len(groups) else None
        after = sentence[group[-1].end() : following.start() if following else None]
        for match in group:
            yield from _of_noun(match)
            kind = _NAMES[match["name"].lower()]
            leading = before if number == 0 else ""
            for where in [*_SURFACE.finditer(leading), *_SURFACE.finditer(after)]:
                yield SceneClaim(kind, "surface", _SURFACE_PHRASES[where[1].lower()])
            yield from (SceneClaim(kind, "side", _SIDE_OF[m[1].lower()]) for m in _SIDE.finditer(leading + "|" + after))
            yield from (SceneClaim(kind, "action", m[1].lower()) for m in _ACTION.finditer(after))
            if coloured := _COLOURED.match(after):
                yield SceneClaim(kind, "colour", coloured[1].lower())
            if following:
                other = _NAMES[following["name"].lower()]
                if after.endswith(" holding "):
                    yield SceneClaim(other, "held by", kind)
                elif related := _RELATED.search(after):
                    yield SceneClaim(kind, _SYNONYMS[related[1].lower()], other)


_SURFACE_PHRASES = {phrase: surface for surface, phrase in SURFACES.items()}


def _of_noun(match: re.Match[str]) -> Iterable[SceneClaim]:
    kind = _NAMES[match["name"].lower()]
    yield SceneClaim(kind, "exists")
    number = (match["number"] or "the").lower()
    if number in _COUNTS:
        yield SceneClaim(kind, "count", _COUNTS[number])
    for colour in (match["colour"], match["clothes"]):
        if colour:
            yield SceneClaim(kind, "colour", colour.lower())
