from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks import files
from tests.evaluate.benchmarks.world import write_lines


def asked(folder: Path, *names: str, count: int = 3) -> list[files.Question]:
    rows = [{"question_id": n, "image": f"{n}.jpg", "text": f"Is there a {n}?", "label": "yes"} for n in range(count)]
    return files.questions([write_lines(folder / name, rows) for name in names])


def test_answers_by_id_in_any_order_and_those_without_a_question_are_counted(tmp_path: Path) -> None:
    questions = asked(tmp_path, "a.json")
    path = write_lines(tmp_path / "x.jsonl", [{"question_id": n, "text": f"no {n}"} for n in (2, 0, 9)])
    found = files.answers([path], questions)
    assert found.texts == {("a.json", "2"): "no 2", ("a.json", "0"): "no 0"}
    assert found.foreign == 1


def test_answers_in_order_of_the_questions(tmp_path: Path) -> None:
    questions = asked(tmp_path, "a.json", "b.json")
    rows = [{"question": q.text, "answer": f"yes {n}"} for n, q in enumerate(questions)]
    whole = files.answers([write_lines(tmp_path / "x.jsonl", rows)], questions)
    halves = [write_lines(tmp_path / f"{n}.jsonl", rows[3 * n : 3 * n + 3]) for n in (0, 1)]
    assert files.answers(halves, questions).texts == whole.texts
    assert whole.texts["b.json", "1"] == "yes 4"
    (tmp_path / "list.json").write_text(json.dumps(rows))
    assert files.answers([tmp_path / "list.json"], questions).texts == whole.texts


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([{"question_id": 0, "text": "a"}, {"question_id": 0, "text": "b"}], "answered twice"),
        ([{"question": "Is there a 0?", "answer": "a"}] * 2, "2 answers without question_id to 3 questions"),
        ([{"question": "Is it?", "answer": "a"}] * 3, "row 1 answers 'Is it[?]', but question 1 is 'Is there a 0[?]'"),
        ([{"question_id": 0, "label": "yes"}], "row 1 has no answer"),
        ([{"question_id": 77, "text": "a"}], "none of its 1 answers"),
        ([{"question_id": 0, "text": "a"}, {"text": "b"}], "row 2 has no question_id"),
    ],
)
def test_answers_that_do_not_fit(rows: list[dict[str, Any]], named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        files.answers([write_lines(tmp_path / "x.jsonl", rows)], asked(tmp_path, "a.json"))


def test_an_id_of_several_files_needs_a_file_of_answers_for_each(tmp_path: Path) -> None:
    questions = asked(tmp_path, "a.json", "b.json")
    path = write_lines(tmp_path / "x.jsonl", [{"question_id": 0, "text": "a"}])
    with pytest.raises(UsageError, match="stands in 2 files of questions"):
        files.answers([path], questions)
    assert files.answers([path, path], questions).texts == {("a.json", "0"): "a", ("b.json", "0"): "a"}
    with pytest.raises(UsageError, match="2 files of questions take 1 or 2 files of answers, not 3"):
        files.answers([path] * 3, questions)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "holds nothing"),
        ("{}\n", "row 1 has no question_id, image, text"),
        ("[1]", "line 1 is no JSON object"),
        ('{"question_id": 1\n', "line 1 is no JSON"),
        ('{"question_id": 1, "image": "x", "text": "?"}\n' * 2, "row 2: question_id 1 stands there twice"),
    ],
)
def test_files_that_are_no_questions(content: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(content)
    with pytest.raises(UsageError, match=named):
        files.questions([tmp_path / "q.json"])


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one name"):
        files.questions([tmp_path / "a" / "q.json", tmp_path / "b" / "q.json"])
