"""Checks of a chat model's reply. Each failure is a reason for which a row is dropped.

The phrases are English. What an answer of the source says itself is never held against a reply.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Any

from prefgen import reading
from prefgen.errors import RowError
from prefgen.reading import Read
from prefgen.requests import Message
from prefgen.text import REFUSAL

_REFUSAL_CHARS = 200  # a refusal comes first
_SLACK_CHARS = 40  # so much longer or shorter is no matter of style: "No." against "Yes, it is on the left."
_LEAKED_WORDS = 8  # in a row
_GIVEAWAY = re.compile(
    r"\bincorrect(ly)?\b|\binaccura\w+|\bhallucinat\w*|\bfabricat\w+|\bmade[- ]up\b|\bfactual\w*|\bin reality\b|"
    r"\b(corrupted|altered|modified|rewritten|original|false|wrong|erroneous|new) (answer|response|description|caption|"
    r"text|version|statement)\b|\bcontradict\w*|\bnot actually\b|\b(i|we) (have )?(changed|replaced|altered)\b|"
    r"\bchanged from\b|\b(note|correction|explanation|changes?)\s*:|</?\w+>|\[/?[a-z_ ]+\]|\*\*\w+:\*\*",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
CHECKS = ("refusal", "giveaway", "leak", "length")
"""Checks of a corruption that can be switched off; that it is no answer at all, or the same one, is always seen."""


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
    if _plain(rejected) == _plain(chosen):
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


def _plain(text: str) -> list[str]:
    """The words of a text in lower case, letters only."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _plain(text)
    return {tuple(words[at : at + _LEAKED_WORDS]) for at in range(len(words) - _LEAKED_WORDS + 1)}


def _shown(text: str) -> str:
    return " ".join(text.split())[:200]
