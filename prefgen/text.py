"""Sentence splitting, cuts and yes/no swaps for BDHS. Every split can be joined to the original text.

Sentence boundaries come from sentencex (offsets into the unchanged text) and from newlines. Everything here keeps the
text byte for byte: the pieces of a split, white space included, re-join to the input.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from prefgen.records import Span

if TYPE_CHECKING:
    import regex

Splitter = Literal["sentencex", "newline", "none"]


class Pattern:
    """A regular expression of the package `regex`, compiled on first use: help texts need none.

    Args:
        pattern: as `regex.compile` takes it.
        signs: pieces in lower case of which every match has one, so that the pattern need not be tried on most texts.
    """

    def __init__(self, pattern: str, *, ignore_case: bool = False, signs: tuple[str, ...] = ()) -> None:
        self.pattern = pattern
        self.signs = signs
        self._ignore_case = ignore_case

    @cached_property
    def _compiled(self) -> regex.Pattern[str]:
        import regex

        return regex.compile(self.pattern, regex.IGNORECASE if self._ignore_case else 0)

    def search(self, text: str) -> regex.Match[str] | None:
        """The first match."""
        if self.signs and text.isascii():  # where lower case is all there is to ignoring case
            lower = text.lower()
            for sign in self.signs:  # not any(): a generator would take as long as the rest
                if sign in lower:
                    break
            else:
                return None
        return self._compiled.search(text)

    def match(self, text: str) -> regex.Match[str] | None:
        """The match at the start."""
        return self._compiled.match(text)

    def findall(self, text: str) -> list[str]:
        """All matches, as text."""
        found: list[str] = self._compiled.findall(text)
        return found

    def finditer(self, text: str) -> Iterator[regex.Match[str]]:
        """All matches."""
        return self._compiled.finditer(text)


_SORRY = (
    r"(?:(?:I['’]m|I am)\s+(?:(?:very|so|really|truly|terribly)\s+)?sorry|(?:so )?sorry|I apologi[sz]e|"
    r"(?:my )?apologies|unfortunately|regrettably)\b[^.!?\n]{0,60}?[,.;:!]?\s+(?:(?:but|however),?\s+)?"
)
_UNABLE = (
    r"(?:as an? [^,.\n]{0,60},\s*)?I(?:\s+am|['’]m)?\s+(?:currently\s+|still\s+)?(?:can ?not|can['’]t|unable to|"
    r"not able to|(?:don['’]t|do not) have the (?:ability|capability) to)\s+(?:\w+ly\s+)?"
)
_PICTURE = (
    r"(?:(?:any|the|this|that|your|these|those|to|or)\s+)?(?:\w+\s+){0,2}?"
    r"(?:images?|pictures?|photos?|photographs?|files?|attachments?|visuals?|media|links?|urls?)\b"
    r"(?!\s+(?:of|on|in|with|behind|hanging)\b)"
)
BOILERPLATE = Pattern(
    rf"\A\s*(?:{_SORRY}{_UNABLE}(?:(?:view|access|process|analy[sz]e|open|assist|help)\b(?! (?:but|noticing)\b)|"
    rf"see\s+{_PICTURE})|"
    rf"{_UNABLE}(?:(?:view|see|access|process|analy[sz]e|open)(?: or \w+)?\s+{_PICTURE}|"
    r"(?:assist|help)\s+(?:you\b|with (?:that|this)\b))|"
    r"it (?:seems|looks|appears)(?: like| as if| as though| that)? your "
    r"(?:message|input|prompt|question|query|request) (?:is|was|may be|might be|has been|got) "
    r"(?:empty|blank|incomplete|missing|cut off)\b|"
    r"(?=.{0,120}\Z)[^\n\r]*\bhow (?:can|may) I (?:assist|help) you(?: today)?\s*[?.!]*\s*\Z)",
    ignore_case=True,
    signs=("cannot", "can not", "can't", "unable to", "not able to", "ability", " your ", "help you", "assist you"),
)
"""An answer that is boilerplate of a chat service: it cannot see or help, or the message is empty. In English."""
REFUSAL = Pattern(
    rf"{BOILERPLATE.pattern}|"
    r"\b(I['’]m sorry|I am sorry|I apologi[sz]e|I (can ?not|can['’]t|am unable to|am not able to)|"
    r"I['’]m (unable|not able) to|as an AI|as a language model|I (do not|don['’]t) have (access|the ability))\b",
    ignore_case=True,
    signs=(*BOILERPLATE.signs, "sorry", "apologi", "as an ai", "as a language model", "have access"),
)
"""Words of a model that does not answer, in English."""
_LINE = Pattern(r"[^\n\r]*(?:\r\n|\n|\r|\Z)")
_LIST_MARKER = Pattern(r"\s*(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)]\s*\Z")
# Abbreviations that sentencex takes for a sentence end although a number or a lower-case word follows.
_ABBREVIATED = Pattern(r"(?:\A|[\s(])(?:approx|ca|cf|est|fig|incl|max|min|resp|vs)\.[ \t]+\Z", ignore_case=True)
_CONTINUES = Pattern(r"[\p{Ll}\d]")
_YES_NO_WORD = Pattern(r"\A\s*(yes|no)(?![\w-])", ignore_case=True)
_YES_NO_PAPER = Pattern(r"\A[\s]*(Yes|yes|No|no)")  # algorithm 1, line 12, as printed
_WORD = Pattern(r"\S+")
# Scripts written without spaces between words: there, a cut may fall between any two characters.
_SPACELESS = Pattern(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_LETTER = Pattern(r"\w")
_LAST_LETTER = Pattern(r"(?r)\w")
_CLUSTER = Pattern(r"\X")
_OPPOSITE = {"yes": "no", "no": "yes"}


@dataclass(frozen=True)
class Sentence:
    """A sentence of a longer text.

    Attributes:
        start: offset of `body` in the text.
        body: the sentence without the white space that follows it.
        tail: that white space, line breaks included.
    """

    start: int
    body: str
    tail: str


@dataclass(frozen=True)
class Cut:
    """A sentence with the part that is kept and the part that the model replaces.

    Attributes:
        prefix: y+_{k,1}, what stays, with a swapped yes/no word.
        offset: where the cut lies, as an offset into `Sentence.body`.
        swap: the swapped word as offsets into `prefix`, or None.
    """

    prefix: str
    offset: int
    swap: Span | None = None


def split_sentences(text: str, splitter: Splitter = "sentencex", language: str = "en") -> tuple[Sentence, ...]:
    """Split a text into sentences whose bodies and tails, joined in order, give the text again.

    White space before the first sentence belongs to its body. A bare list marker ("1.") stays with what it introduces,
    and "approx." with its number.

    Args:
        splitter: ``sentencex`` (sentence ends and line breaks), ``newline`` (line breaks only) or ``none``.
        language: ISO 639-1 code; it decides which abbreviations are known.
    """
    if not text.strip():
        return ()
    pieces: list[str] = []
    carried = ""  # white space or a list marker that waits for the text it belongs to
    for piece in _pieces(text, splitter, language):
        if pieces and not carried and _continues(pieces[-1], piece):
            pieces[-1] += piece
        elif not piece.strip() or (_LIST_MARKER.match(carried + piece) and not piece.endswith(("\n", "\r"))):
            carried += piece
        else:
            pieces.append(carried + piece)
            carried = ""
    if carried.strip() or not pieces:
        pieces.append(carried)
    else:
        pieces[-1] += carried
    sentences, start = [], 0
    for piece in pieces:
        body = piece.rstrip()
        sentences.append(Sentence(start, body, piece[len(body) :]))
        start += len(piece)
    return tuple(sentences)


def _pieces(text: str, splitter: Splitter, language: str) -> list[str]:
    """Consecutive pieces of the text; `sentencex` may return white space as a piece of its own."""
    if splitter == "none":
        return [text]
    lines = [line for line in _LINE.findall(text) if line]
    if splitter == "newline":
        return lines
    return [
        line[boundary["start_index"] : boundary["end_index"]]
        for line in lines
        for boundary in _boundaries(line, language)
    ]


def _continues(previous: str, piece: str) -> bool:
    """True if `piece` is white space, or follows an abbreviation at the end of `previous`."""
    return not piece.strip() or bool(_ABBREVIATED.search(previous) and _CONTINUES.match(piece))


def _boundaries(line: str, language: str) -> list[dict[str, int]]:
    import sentencex

    boundaries: list[dict[str, int]] = sentencex.get_sentence_boundaries(language, line)
    return boundaries


def sentence_end(text: str, open_at: int, floor: int, *, final: bool, language: str = "en") -> int | None:
    """Offset at which the sentence that is being generated ends, or None. Both engines use it while they decode.

    A full stop ends a sentence unless it belongs to a number, an abbreviation or the like, which only what follows can
    tell: the end is known once the next sentence has begun. Closing quotes and brackets belong to the sentence.

    Args:
        text: the answer so far: its prefix and what has been generated.
        open_at: offset where the open sentence starts.
        floor: length of the prefix; no end is looked for in what was given.
        final: no more text will come, so the end of the text ends the sentence.

    Returns:
        Offset into `text` just behind the sentence's last character, or None if it continues.
    """
    start = min(open_at, floor)
    sentences = split_sentences(text[start:], "sentencex", language)
    for sentence in sentences if final else sentences[:-1]:
        end = start + sentence.start + len(sentence.body)
        if end > floor:
            return end
    # A line break ends the last sentence, too: nothing that follows can undo it.
    if sentences and not final and ("\n" in sentences[-1].tail or "\r" in sentences[-1].tail):
        end = start + sentences[-1].start + len(sentences[-1].body)
        return end if end > floor else None
    return None


def full_stop_end(text: str, floor: int) -> int | None:
    """Offset behind the first generated ".", as printed in the paper, or None."""
    found = text.find(".", floor)
    return found + 1 if found >= 0 else None


def swap_yes_no(body: str, *, literal: bool = False) -> tuple[str, Span] | None:
    """Algorithm 1, lines 12 and 13: exchange a leading yes or no, in the same case.

    Args:
        literal: match as printed in the paper, without a word boundary ("Nothing" becomes "Yesthing").

    Returns:
        The new body and the new word's offsets in it; None where the sentence starts with neither.
    """
    match = (_YES_NO_PAPER if literal else _YES_NO_WORD).match(body)
    if match is None:
        return None
    word: str = match.group(1)
    opposite = _OPPOSITE[word.lower()]
    if word.isupper():
        opposite = opposite.upper()
    elif word[0].isupper():
        opposite = opposite.capitalize()
    start, end = match.span(1)
    return body[:start] + opposite + body[end:], Span(start, start + len(opposite))


def cut_points(body: str) -> tuple[int, ...]:
    """Offsets at which a sentence may be cut: word ends with text before them and a word after them.

    In scripts that write no spaces, also between characters. Empty for a single word.
    """
    points: list[int] = []
    spaceless, last = _SPACELESS.search(body), _LAST_LETTER.search(body)
    for word in _WORD.finditer(body):
        if spaceless and _SPACELESS.search(word.group()):
            points.extend(_points_in_spaceless(word.group(), word.start()))
        points.append(word.end())
    return tuple(point for point in points if last and point <= last.start())


def _points_in_spaceless(word: str, start: int) -> list[int]:
    """Boundaries of grapheme clusters inside a word, beside a character of a script without spaces."""
    clusters: list[str] = _CLUSTER.findall(word)
    points, offset = [], 0
    for left, right in itertools.pairwise(clusters):
        offset += len(left)
        if (_SPACELESS.match(left) or _SPACELESS.match(right)) and _LETTER.match(right):
            points.append(start + offset)
    return points


def cut_sentence(body: str, swap_draw: float, cut_draw: float, *, literal: bool = False) -> Cut:
    """Algorithm 1, lines 11 to 14: swap a yes/no word with probability one half, then cut at a random position.

    At least one word is kept and at least one re-generated. Of a single word nothing is kept, unless it is a swapped
    yes/no, which must survive into the prefix.

    Args:
        literal: as printed in the paper: cut between any two characters, and swap as `swap_yes_no` says.
        swap_draw: xi ~ U(0, 1); the word is swapped from 0.5 on.
        cut_draw: u ~ U[0, 1), picks one of the possible cuts uniformly.
    """
    swapped = swap_yes_no(body, literal=literal) if swap_draw >= 0.5 else None
    text, swap = swapped if swapped else (body, None)
    possible = range(len(text)) if literal else cut_points(text)
    points = [point for point in possible if swap is None or point >= swap.end]
    if points:
        at = points[int(cut_draw * len(points))]
        at = len(text[:at].rstrip()) if literal else at  # the space belongs to what is generated
    else:
        at = swap.end if swap else 0
    return Cut(text[:at], at + len(body) - len(text) if swap else at, swap)
