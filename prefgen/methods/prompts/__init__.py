"""Prompts for chat models: text files with placeholders, which users can export, edit and pass back.

A prompt is a conversation. A line ``=== system ===``, ``=== user ===`` or ``=== assistant ===`` starts a turn;
``$name`` in a turn is replaced by what a method puts there, ``$$`` is a dollar sign.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template as _Text

from prefgen.errors import UsageError
from prefgen.records import Role, Sample, Turn

_TURN = re.compile(r"^=== (system|user|assistant) ===[ \t]*\n", re.MULTILINE)
_SIZE_MAX = 1 << 20
NAMES = (
    "corrupt",
    "corrupt-text",
    "revise",
    "revise-text",
    "rank",
    "rank-text",
    "claims",
    "sentence",
    "mmhal",
    "llava-bench",
)
"""The prompts that are part of prefgen."""


@dataclass(frozen=True)
class Template:
    """A prompt with placeholders. Its string form is its name and the first characters of its digest."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name} sha256:{hashlib.sha256(self.text.encode()).hexdigest()[:16]}"

    @functools.cached_property
    def turns(self) -> tuple[tuple[Role, str], ...]:
        """Role and text of each turn, placeholders not filled.

        Raises:
            UsageError: if there is no turn, or text before the first.
        """
        before, *pieces = _TURN.split(self.text)
        if before.strip() or not pieces:
            raise UsageError(f"prompt {self.name} must start with a line === system === or === user ===")
        return tuple((role, text.strip()) for role, text in zip(pieces[::2], pieces[1::2], strict=True))  # type: ignore[misc]

    def check(self, required: Iterable[str], optional: Iterable[str] = ()) -> None:
        """Check that every required placeholder is in the prompt, and no unknown one.

        Raises:
            UsageError: naming the place.
        """
        required, known = {*required}, {*required, *optional}
        found = self._places()
        for name in sorted(found - known):
            raise UsageError(f"prompt {self.name}: ${name} means nothing here ($$ is a dollar sign)")
        for name in sorted(required - found):
            raise UsageError(
                f"prompt {self.name} lacks ${name}; it may use {', '.join(f'${p}' for p in sorted(known))}"
            )

    def has(self, place: str) -> bool:
        """True if the prompt has this placeholder."""
        return place in self._places()

    def _places(self) -> set[str]:
        return {
            match["named"] or match["braced"] or match.group()
            for _, text in self.turns
            for match in _Text.pattern.finditer(text)
            if match["escaped"] is None
        }

    def fill(self, **values: str) -> tuple[Turn, ...]:
        """The conversation with its placeholders filled; values are inserted literally."""
        return tuple(Turn(role, (_Text(text).substitute(values),)) for role, text in self.turns)


def load(name: str, file: Path | None = None) -> Template:
    """The built-in prompt of this name, or the user's file if one is given.

    Raises:
        UsageError: if the file cannot be read.
    """
    if file is None:
        return Template(name, (resources.files(__package__) / f"{name}.txt").read_text(encoding="utf-8"))
    try:
        if file.stat().st_size > _SIZE_MAX:
            raise UsageError(f"{file} is larger than {_SIZE_MAX:,} bytes; is it a prompt?")
        return Template(file.name, file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"prompt {file} cannot be read: {error}") from error


def question(sample: Sample) -> str:
    """The text of the last user turn, preceded by the earlier turns with their roles."""
    *earlier, last = sample.prompt
    told = [f"{turn.role.capitalize()}: {turn.text.strip()}" for turn in earlier]
    return "\n".join([*told, f"User: {last.text.strip()}"] if told else [last.text.strip()])
