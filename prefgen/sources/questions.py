"""Questions for rows without one: a fixed text, or lines drawn from a file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from prefgen.errors import UsageError
from prefgen.seeds import derive

_FILE_NAME = re.compile(r"\S+\.(txt|list|md|jsonl?|csv)")


def read_questions(given: str) -> str:
    """The questions of a text or of the file that it names, one per line.

    Raises:
        UsageError: the file does not exist, cannot be read or has no question.
    """
    if not os.path.isfile(given):
        if _FILE_NAME.fullmatch(given):
            raise UsageError(f"--question {given}: no such file; give a text, or a file with one question a line")
        return given
    try:
        lines = Path(given).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--question {given} cannot be read: {error}") from error
    questions = [line.strip() for line in lines if line.strip()]
    if not questions:
        raise UsageError(f"--question {given} has no line with a question")
    return "\n".join(questions)


def draw_question(questions: str, seed: int, row: str) -> str:
    """One of the `questions`, drawn by the run's seed and the row's content."""
    lines = questions.splitlines()
    return lines[derive(seed, row, 0, "question") % len(lines)]
