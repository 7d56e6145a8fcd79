r"""Final answers of texts, found by rules, and their comparison with the reference.

A text may state its final answer: the last match of a pattern, by default ``Final answer: …``, ``the answer is …`` or
``\boxed{…}``, as in MMPR (arXiv:2411.10442). Where it states none, the whole text is read, but only if it leaves no
doubt: a leading yes or no, a bare option letter, the only number of a short text, a short text. Reasoning is not read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from prefgen import reading
from prefgen.errors import UsageError

Kind = Literal["yes-no", "option", "number", "text"]
KindOption = Literal["auto", "yes-no", "option", "number", "text"]

_TO_END = r"[^\n]*?(?=[.!?]?\s*(?:\n|\Z)|[.!?]\s)"  # of the sentence or the line
_STATED = re.compile(
    r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
    rf"|\bfinal\s+answer\b(?:\W{{0,4}}is\b|(?!\W{{0,4}}is\b))[\s:*]*(\S{_TO_END})"
    rf"|\banswer\b\**\s*(?:is\b|:)[\s:*]*(\S{_TO_END})",
    re.IGNORECASE,
)
_LATEX = re.compile(r"\\(?:boxed|text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{(-?\d+)\}\s*\{(\d+)\}")
_YES_NO = re.compile(r"\A\W*(yes|no)(?![\w-])", re.IGNORECASE)
_LETTER_ALONE = re.compile(r"\A\W*(?:option|choice)?\W*([A-Z])\W*\Z", re.IGNORECASE)
_LETTER_FIRST = re.compile(r"\A\W*(?:(?:option|choice)\W{1,3})?([A-Z])(?:[.):,]|\W*\Z)")
_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_VALUES = {word: str(value) for value, word in enumerate(_WORDS)}
_NUMBER = re.compile(
    rf"(?<![\w.,])(?:([-−+]?)(\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(\.\d+)?(?:[eE]([-+]?\d{{1,3}}))?(?:\s*/\s*([1-9]\d*))?"
    rf"|\b({'|'.join(_WORDS)})\b)(?![\w,]*\d|[^\W\d_]{{4}})",
    re.IGNORECASE,
)
_ONLY_NUMBER = re.compile(rf"\A[^\w+−-]*{_NUMBER.pattern}\W*\Z", re.IGNORECASE)
_ARTICLES = frozenset(("a", "an", "the"))
_SHORT_WORDS = 12  # a whole text of so many words may be a final answer itself
_PHRASE_WORDS = 3  # of a reference whose kind is not given: a sentence can be said otherwise and be as right


@dataclass(frozen=True)
class Final:
    """A final answer: ``yes`` or ``no``, an option letter, a number as a fraction, or normalised words."""

    kind: Kind
    value: str


@dataclass(frozen=True)
class FinalAnswers:
    """Rules that find and compare final answers.

    Attributes:
        kind: what they are; ``auto`` takes it from the reference.
        pattern: regular expression with one group, the final answer; the last match counts. Empty: the default.
        tolerance: share of the reference by which a number may be off.
    """

    kind: KindOption = "auto"
    pattern: str = ""
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        """Check the pattern.

        Raises:
            UsageError: it is no regular expression, or has not one group.
        """
        if not self.pattern:
            return
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise UsageError(f"--answer-pattern {self.pattern!r} is no regular expression: {error}") from None
        if groups != 1:
            raise UsageError(f"--answer-pattern {self.pattern!r} has {groups} groups; it needs one: the final answer")

    def of_reference(self, text: str) -> Final | None:
        """The final answer of a reference; None if it has none of the requested kind."""
        stated = self._stated(text)
        kind = _kind_of(text if stated is None else stated) if self.kind == "auto" else self.kind
        found = self.read(text, kind)
        is_sentence = found and kind == "text" and stated is None and len(found.value.split()) > _PHRASE_WORDS
        return None if is_sentence and self.kind == "auto" else found

    def read(self, text: str, kind: Kind) -> Final | None:
        """The final answer of a text, of this kind; None if there is none or it is ambiguous."""
        text = reading.answer(text).text
        stated = self._stated(text)
        said = _plain(text if stated is None else stated)
        if kind == "yes-no":
            found = _YES_NO.match(said)
            return Final(kind, found[1].lower()) if found else None
        if kind == "option":
            found = _LETTER_ALONE.match(said) or _LETTER_FIRST.match(said)
            return Final(kind, found[1].upper()) if found else None
        if stated is None and len(said.split()) > _SHORT_WORDS:
            return None
        if kind == "number":
            values = {value for match in _NUMBER.finditer(said) if (value := _value(match)) is not None}
            return Final(kind, str(values.pop())) if len(values) == 1 else None
        words = _normalised(said)
        return Final(kind, " ".join(words)) if words else None

    def agree(self, found: Final, reference: Final) -> bool:
        """True if two final answers of one kind are the same."""
        if found.kind != "number":
            return found == reference
        value, right = Fraction(found.value), Fraction(reference.value)
        return abs(value - right) <= Fraction(str(self.tolerance)) * abs(right)

    def _stated(self, text: str) -> str | None:
        """The stated final answer of the text."""
        matches = list((re.compile(self.pattern) if self.pattern else _STATED).finditer(text))
        groups = [group for group in matches[-1].groups() if group] if matches else []
        return groups[0] if groups else None


def contains(longer: Final, shorter: Final) -> bool:
    """True if the words of one text stand next to each other in the other, as "cat" does in "black cat"."""
    return longer.kind == "text" and f" {shorter.value} " in f" {longer.value} "


def _kind_of(text: str) -> Kind:
    said = _plain(text)
    if _YES_NO.match(said):
        return "yes-no"
    if _LETTER_ALONE.match(said):
        return "option"
    return "number" if _ONLY_NUMBER.match(said) else "text"


def _plain(text: str) -> str:
    return _LATEX.sub(r"\1", _LATEX_FRACTION.sub(r"\1/\2", text)).strip().strip("$*").strip()


def _value(match: re.Match[str]) -> Fraction | None:
    sign, whole, decimals, exponent, divisor, word = match.groups()
    if word:
        return Fraction(_VALUES[word.lower()])
    number = Fraction(f"{whole.replace(',', '')}{decimals or ''}e{exponent or 0}") / int(divisor or 1)
    return -number if sign in ("-", "−") else number


def _normalised(text: str) -> Sequence[str]:
    """Words without case, punctuation and articles."""
    words = re.findall(r"\w+(?:['’.]\w+)*", unicodedata.normalize("NFKC", text).casefold())
    return [word for word in words if word not in _ARTICLES] or words
