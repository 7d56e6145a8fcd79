"""Changes of one claim in a text of the scenes: another colour, number, action, surface or kind for the one it has."""

import re
from collections.abc import Iterable

from prefgen.evaluate.scenes.claims import LIGHT_SENTENCES, NUMBERS, WEATHER_SENTENCES, SceneClaim, read
from prefgen.evaluate.scenes.truth import COLOURS, KINDS, PLACES, SURFACES

_SETTINGS = {"light": LIGHT_SENTENCES, "weather": WEATHER_SENTENCES}


def exchanged(text: str, claim: SceneClaim, value: str) -> str:
    """A text with another value for one of its claims; as it was where exchanging words would not do.

    Args:
        value: As in `SceneClaim`; for "exists" another kind.
    """
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return " ".join(_exchanged(one, claim, value) if claim in read(one) else one for one in sentences)


def _exchanged(sentence: str, claim: SceneClaim, value: str) -> str:
    names = _any((claim.subject, KINDS[claim.subject].plural)) if claim.subject else ""
    match claim.attribute:
        case "exists":
            forms = {claim.subject: value, KINDS[claim.subject].plural: KINDS[value].plural}
            if claim.subject == KINDS[claim.subject].plural:  # sheep, fish: the number decides
                single = re.search(rf"\b(?:an?|is)\b(?: \w+)? {claim.subject}\b", sentence, re.IGNORECASE)
                forms = {claim.subject: value if single else KINDS[value].plural}
            changed = re.sub(
                rf"\b({_any(forms)})\b", lambda m: _case(m[0], forms[m[0].lower()]), sentence, flags=re.IGNORECASE
            )
        case "colour":
            before = rf"\b(){claim.value}(?= (?:{names})\b)"
            behind = rf"\b((?:{names}) (?:(?:is|are|in|wearing|dressed in|showing) )+){claim.value}\b"
            changed = _put(before, value, sentence)
            changed = _put(behind, value, sentence) if changed == sentence else changed
        case "count" if "1" not in (claim.value, value):
            old, new = NUMBERS[int(claim.value)], NUMBERS[int(value)]
            changed = _put(rf"\b(){old}(?= (?:(?:{_any(COLOURS)}) )?(?:{names})\b)", new, sentence)
        case "action":
            changed = _put(rf"(\b(?:{names})\b.*?\b){claim.value}\b", value, sentence)
        case "surface":
            old, new = SURFACES[claim.value], SURFACES[value]
            changed = _put(rf"(\b(?:{names})\b.*?\b){old}\b", new, sentence)
            changed = _put(rf"\b(){old}\b", new, sentence) if changed == sentence else changed
        case "place":
            changed = _put(rf"\b(){PLACES[claim.value].phrase}\b", PLACES[value].phrase, sentence)
        case "light" | "weather" if sentence in _SETTINGS[claim.attribute][claim.value]:
            changed = _SETTINGS[claim.attribute][value][0]
        case _:
            changed = sentence
    return re.sub(r"\b(an?) (?=(\w))", _article, changed, flags=re.IGNORECASE) if changed != sentence else sentence


def _put(pattern: str, new: str, sentence: str) -> str:
    """Put a word for the first match of a pattern, behind its group 1."""
    return re.sub(
        pattern, lambda m: m[1] + _case(m[0][len(m[1]) :], new), sentence, count=1, flags=re.IGNORECASE | re.DOTALL
    )


def _case(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new


def _article(found: re.Match[str]) -> str:
    return f"{found[1][0]}{'n' if found[2].lower() in 'aeiou' else ''} "


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))
