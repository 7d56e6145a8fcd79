"""Replies of a chat model: asking until one can be used, reading and checking it.

Each check that fails is a reason for which a row is dropped. The phrases are English. What an answer of the source says
itself is never held against a reply.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Generic, Literal, TypeVar

from prefgen import reading
from prefgen.errors import RowError
from prefgen.reading import Read
from prefgen.records import Dropped, Sample
from prefgen.requests import Chat, Message, Reply, Request, chat
from prefgen.text import REFUSAL, split_sentences

_REFUSAL_CHARS = 200  # a refusal comes first
_SLACK_CHARS = 40  # so much longer or shorter is no matter of style: "No." against "Yes, it is on the left."
_SLACK_WORDS = 4  # so many may be exchanged in an answer of any length, as a yes becomes a no
_LEAKED_WORDS = 8  # in a row
_GIVEAWAY = re.compile(
    r"\bincorrect(ly)?\b|\binaccura\w+|\bhallucinat\w*|\bfabricat\w+|\bmade[- ]up\b|\bfactual\w*|\bin reality\b|"
    r"\b(corrupted|altered|modified|rewritten|original|false|wrong|erroneous|new) (answer|response|description|caption|"
    r"text|version|statement)\b|\bcontradict\w*|\bnot actually\b|\b(i|we) (have )?(changed|replaced|altered)\b|"
    r"\bchanged from\b|\b(note|correction|explanation|changes?)\s*:|</?\w+>|\[/?[a-z_ ]+\]|\*\*\w+:\*\*",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_CUT_OFF = ("REPLY_TRUNCATED", "REPLY_REASONING")
_FINAL = ("REPLY_REFUSAL", "REPLY_FILTERED")  # asked again they cost as much and say the same
Form = Literal["json", "text"]
"""A JSON object that says what was changed, or the answer alone."""
KINDS = ("object", "attribute", "count", "position", "relation", "reasoning")
"""Kinds of hallucination."""
CHECKS = ("refusal", "giveaway", "leak", "length")
"""Checks of a corruption that can be switched off; that it is no answer at all, or the same one, is always seen."""


T = TypeVar("T")
Asking = Generator[tuple[Request, ...], tuple[Reply, ...], T]


@dataclass(frozen=True)
class Asked(Generic[T]):
    """Result of asking until a reply can be used.

    Attributes:
        value: read from the reply; None if none could be used.
        problem: of the last reply, if it could not be used.
        attempts: number of requests.
        tokens: generated in all replies.
    """

    value: T | None
    problem: RowError | None
    attempts: int
    tokens: int

    def dropped(self, sample: Sample) -> Dropped:
        """The sample, dropped for the last problem."""
        assert self.problem is not None
        made = Dropped.of(sample, self.problem.reason, self.problem.detail)
        return dataclasses.replace(made, iteration=self.attempts, tokens=self.tokens)


def ask(
    request: Callable[[int, int, str], Chat], read: Callable[[Message], Asking[T]], attempts: int, room: int
) -> Asking[Asked[T]]:
    """Ask until a reply can be used: a refusal once, others `attempts` times at most.

    Args:
        request: makes the request, given the number of the attempt, the limit of tokens and the last problem.
        read: part of a flow that reads a reply; raises `RowError` if it cannot be used.
        room: limit of tokens, doubled after a reply that was cut off.
    """
    tokens, limit = 0, room
    problem: RowError | None = None
    for attempt in range(1, attempts + 1):
        (message,) = yield from chat(request(attempt, limit, str(problem or "")))
        tokens += message.tokens
        try:
            value = yield from read(message)
        except RowError as error:
            problem = error
            if error.reason in _FINAL:
                break
            limit = 2 * room if error.reason in _CUT_OFF else limit
        else:
            return Asked(value, None, attempt, tokens)
    return Asked(None, problem, attempt, tokens)


def spoken(message: Message) -> Read:
    """The text of a complete message, without reasoning.

    Raises:
        RowError: ``REPLY_REFUSAL``, ``REPLY_FILTERED``, ``REPLY_TRUNCATED``, ``REPLY_REASONING``,
            ``REPLY_UNKNOWN_FINISH``, ``REPLY_EMPTY``.
    """
    if message.finish == "refusal":
        raise RowError("REPLY_REFUSAL", _shown(message.text))
    if message.finish == "content_filter":
        raise RowError("REPLY_FILTERED", "by the server's content filter")
    read = reading.answer(message.text)
    thought = bool(read.reasoning or message.reasoning_tokens or "reasoning-field" in message.how)
    if message.finish == "length" and thought and not read.text:
        raise RowError(
            "REPLY_REASONING",
            f"cut off in its reasoning after {message.tokens} tokens: a higher --max-new-tokens, or less "
            "--reasoning-effort, leaves room for the answer",
        )
    if message.finish == "length":
        raise RowError("REPLY_TRUNCATED", f"after {message.tokens} tokens")
    if message.finish != "stop":
        raise RowError("REPLY_UNKNOWN_FINISH", f"it ended for the reason {message.finish[:40]!r}")
    if not read.text and not read.reasoning:
        raise RowError("REPLY_EMPTY", "nothing but white space" if message.text else "no text")
    return Read(read.text, (*message.how, *read.how), read.reasoning)


def parse(message: Message, keys: frozenset[str] = frozenset()) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Parse a reply that should be one JSON object; also gives how it was read (`prefgen.reading`).

    Args:
        keys: that the object must have.

    Raises:
        RowError: as `spoken`; ``REPLY_REFUSAL`` if it refuses in plain words, else ``REPLY_SCHEMA``.
    """
    read = spoken(message)
    found = reading.json_object(message.text, keys)
    if found is None:
        refuse(read.text, "")
        raise RowError("REPLY_SCHEMA", f"not one JSON object of the form asked for: {_shown(message.text)}")
    value, how = found
    return value, (*message.how, *how)


def text(message: Message, *, fenced: bool = False) -> tuple[str, tuple[str, ...]]:
    """Parse a reply that should be the answer itself; also gives how it was read.

    Args:
        fenced: whether a code fence belongs to the answer.

    Raises:
        RowError: as `spoken`; ``REPLY_EMPTY`` if there is nothing but reasoning.
    """
    read = spoken(message)
    if not read.text:
        raise RowError("REPLY_EMPTY", f"nothing but reasoning without an end: {_shown(read.reasoning)}")
    said, how = (read.text, ()) if fenced else reading.unfenced(read.text)
    return said, (*read.how, *how)


def refuse(text: str, chosen: str) -> None:
    """Raise if a reply is a refusal.

    Raises:
        RowError: ``REPLY_REFUSAL``.
    """
    if REFUSAL.search(text[:_REFUSAL_CHARS]) and not REFUSAL.search(chosen[:_REFUSAL_CHARS]):
        raise RowError("REPLY_REFUSAL", _shown(text))


def check_corruption(
    rejected: str,
    chosen: str,
    question: str,
    instructions: str,
    length_ratio: float,
    checks: Collection[str] = CHECKS,
) -> None:
    """Check that a rewritten answer makes a preference against its original.

    Args:
        question: what both answer; words of it are not held against a reply.
        instructions: what may not be repeated.
        length_ratio: how many times as long, or as short, it may be.
        checks: some of `CHECKS`.

    Raises:
        RowError: ``REPLY_EMPTY``, ``REPLY_REFUSAL``, ``REPLY_NOOP``, ``REPLY_GIVEAWAY``, ``REPLY_LEAK``,
            ``REPLY_LENGTH``.
    """
    if not rejected:
        raise RowError("REPLY_EMPTY", "the rewritten answer is empty")
    if "refusal" in checks:
        refuse(rejected, chosen)
    if same_words(rejected, chosen):
        raise RowError("REPLY_NOOP", "the answer came back unchanged")
    hint = next((m.group() for m in _GIVEAWAY.finditer(rejected) if m.group().lower() not in chosen.lower()), None)
    if hint is not None and "giveaway" in checks:
        raise RowError("REPLY_GIVEAWAY", f"{hint!r} in: {_shown(rejected)}")
    leaked = _runs(rejected) & _runs(instructions) - _runs(chosen) - _runs(question)
    if leaked and "leak" in checks:
        raise RowError("REPLY_LEAK", f"it repeats the instructions: {' '.join(min(leaked))}")
    longer, shorter = max(len(rejected), len(chosen)), min(len(rejected), len(chosen))
    if "length" in checks and longer - shorter > _SLACK_CHARS and longer > length_ratio * shorter:
        raise RowError("REPLY_LENGTH", f"{len(rejected)} characters for {len(chosen)}")


def check_revision(revised: str, answer: str, question: str, instructions: str, max_change: float) -> None:
    """Check that an answer is the repair of another, and not a new one.

    Args:
        question, instructions: as in `check_corruption`.
        max_change: largest share of the longer answer's words that may differ, where more than a few do.

    Raises:
        RowError: as `check_corruption`, of which the length does not matter here; ``REPLY_REWRITTEN``,
            ``REPLY_REPEATS``.
    """
    check_corruption(revised, answer, question, instructions, 1.0, ("refusal", "giveaway", "leak"))
    before, after = _plain(answer), _plain(revised)
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    longer = max(len(before), len(after))
    changed = longer - sum(block.size for block in blocks)
    if changed > _SLACK_WORDS and changed > max_change * longer:
        raise RowError("REPLY_REWRITTEN", f"{changed} of {longer} words are others: {_shown(revised)}")
    if (twice := repeated(revised)) and twice != repeated(answer):
        raise RowError("REPLY_REPEATS", f"it says twice: {_shown(twice)}")


def strict_object(properties: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema of an object in the form that strict structured output requires."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def repeated(text: str) -> str:
    """The first sentence of a text that it says twice; empty if there is none."""
    seen: set[tuple[str, ...]] = set()
    for sentence in split_sentences(text):
        words = tuple(_plain(sentence.body))
        if words and words in seen:
            return sentence.body.strip()
        seen.add(words)
    return ""


def same_words(one: str, other: str) -> bool:
    """True if two texts have the same words, whatever their case, punctuation and white space."""
    return _plain(one) == _plain(other)


def _plain(text: str) -> list[str]:
    """The words of a text in lower case, letters only."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@functools.lru_cache(maxsize=8)  # the instructions are the same in every row
def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = _plain(text)
    return frozenset(tuple(words[at : at + _LEAKED_WORDS]) for at in range(len(words) - _LEAKED_WORDS + 1))


def _shown(text: str) -> str:
    return " ".join(text.split())[:200]
