"""Files of benchmark questions and answers: JSON Lines, or one JSON list.

Answers are those of LLaVA's scripts, ``{"question_id": …, "text": …}``, those of POPE, ``{"question": …, "answer":
…}`` in the order of the questions, or this program's own, which also name the file of the question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefgen.errors import UsageError

_TEXTS = ("text", "answer", "caption", "model_answer", "response", "output")


@dataclass(frozen=True)
class Question:
    """One question of a benchmark.

    Attributes:
        file: name of its file; `id` is its own there.
        image: file name of its picture; empty if it has none.
        row: all that its line holds.
    """

    file: str
    id: str
    image: str
    text: str
    row: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """Unique key of the question."""
        return self.file, self.id


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a file.

    Raises:
        UsageError: naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if text.lstrip().startswith("["):
        try:
            found = list(enumerate(json.loads(text), 1))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} is no JSON: {error}") from error
    else:
        found = []
        for number, line in enumerate(text.split("\n"), 1):  # other ends of lines may stand in a text
            if line.strip():
                try:
                    found.append((number, json.loads(line)))
                except (ValueError, RecursionError) as error:
                    raise UsageError(f"{path} line {number} is no JSON: {error}") from error
    for number, row in found:
        if not isinstance(row, dict):
            raise UsageError(f"{path} line {number} is no JSON object: {str(row)[:60]}")
    if not found:
        raise UsageError(f"{path} holds nothing")
    return [row for _, row in found]


def questions(paths: Sequence[Path], *, needs: Sequence[str] = ("image", "text")) -> list[Question]:
    """The questions of some files, in order.

    Args:
        needs: keys that every line must have beside ``question_id``.

    Raises:
        UsageError: a file is of another kind, or an id stands twice in it.
    """
    if len({path.name for path in paths}) < len(paths):
        raise UsageError(f"two of the files have one name, which tells them apart: {', '.join(map(str, paths))}")
    found: list[Question] = []
    for path in paths:
        seen: set[str] = set()
        for number, row in enumerate(rows_of(path), 1):
            missing = [key for key in ("question_id", *needs) if key not in row]
            if missing:
                raise UsageError(f"{path} row {number} has no {', '.join(missing)}: is it a file of questions?")
            name = str(row["question_id"])
            if name in seen:
                raise UsageError(f"{path} row {number}: question_id {name} stands there twice")
            seen.add(name)
            found.append(Question(path.name, name, str(row.get("image") or ""), str(row["text"]), row))
    return found


@dataclass(frozen=True)
class GivenAnswers:
    """Answers by question.

    Attributes:
        texts: by `Question.key`.
        foreign: answers that have no question.
    """

    texts: Mapping[tuple[str, str], str]
    foreign: int = 0


def answers(paths: Sequence[Path], asked: Sequence[Question]) -> GivenAnswers:
    """The answers of some files to these questions.

    Args:
        paths: one for all questions, or one for each of their files, in the same order.

    Raises:
        UsageError: a file holds no answers, answers a question twice or other questions, or could mean several.
    """
    files = list(dict.fromkeys(question.file for question in asked))
    if len(paths) not in (1, len(files)):
        raise UsageError(f"{len(files)} files of questions take 1 or {len(files)} files of answers, not {len(paths)}")
    found: dict[tuple[str, str], str] = {}
    foreign = 0
    for place, path in enumerate(paths):
        among = [q for q in asked if len(paths) == 1 or q.file == files[place]]
        foreign += _read(path, among, found)
    if not found:
        raise UsageError(f"{paths[0]}: none of its {foreign:,} answers is to one of the questions")
    return GivenAnswers(found, foreign)


def _read(path: Path, among: Sequence[Question], found: dict[tuple[str, str], str]) -> int:
    """Add the answers of a file; returns the number of answers without a question."""
    rows = rows_of(path)
    in_order = "question_id" not in rows[0]
    if in_order and len(rows) != len(among):
        raise UsageError(f"{path} has {len(rows):,} answers without question_id to {len(among):,} questions")
    keys: dict[str, list[tuple[str, str]]] = {}
    for question in among:
        keys.setdefault(question.id, []).append(question.key)
    foreign = 0
    for number, row in enumerate(rows, 1):
        text = next((row[key] for key in _TEXTS if isinstance(row.get(key), str)), None)
        if text is None:
            raise UsageError(f"{path} row {number} has no answer; it is called text or answer")
        if in_order:
            question = among[number - 1]
            if "question" in row and " ".join(str(row["question"]).split()) != " ".join(question.text.split()):
                raise UsageError(
                    f"{path} row {number} answers {row['question']!r}, but question {number} is {question.text!r}"
                )
            fitting = [question.key]
        else:
            if "question_id" not in row:
                raise UsageError(f"{path} row {number} has no question_id, as rows before it have")
            fitting = keys.get(str(row["question_id"]), [])
            if "questions" in row:
                fitting = [key for key in fitting if key[0] == row["questions"]]
            if len(fitting) > 1:
                raise UsageError(
                    f"{path} row {number}: question_id {row['question_id']} stands in {len(fitting)} files of "
                    "questions; give a file of answers for each of them"
                )
        if not fitting:
            foreign += 1
            continue
        if fitting[0] in found:
            raise UsageError(f"{path} row {number}: question {fitting[0][1]} of {fitting[0][0]} is answered twice")
        found[fitting[0]] = text
    return foreign
