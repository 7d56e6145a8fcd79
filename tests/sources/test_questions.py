"""Rows without a question, answers that refuse, and the two options that decide about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.records import Dropped, Sample
from prefgen.sources import SourceOptions, read
from prefgen.text import BOILERPLATE
from tests.cli.runs import called, write_input


def rows(folder: Path, *columns: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in columns))
    return str(path)


def prompts(input: str, question: str, seed: int = 0) -> dict[str, str]:
    """The question of each row, by its id."""
    found = read(input, SourceOptions(question=question, seed=seed))
    return {sample.source_id: sample.prompt[0].text for sample in found if isinstance(sample, Sample)}


@pytest.mark.parametrize("column", ["caption", "text", "txt", "description", "answer", "output"])
def test_an_answer_without_a_question_answers_the_one_that_is_given(column: str, tmp_path: Path) -> None:
    input = rows(tmp_path, {"image": "a.jpg", column: "A jug.", "score": 1})
    [sample] = read(input, SourceOptions(question="Describe the image."))
    assert isinstance(sample, Sample)
    assert (sample.prompt[0].text, sample.answer, sample.meta) == ("Describe the image.", "A jug.", {"score": 1})


def test_a_row_of_an_image_alone_is_asked_as_well(tmp_path: Path) -> None:
    [sample] = read(rows(tmp_path, {"image": "a.jpg"}), SourceOptions(question="What is it?"))
    assert isinstance(sample, Sample)
    assert (sample.prompt[0].text, sample.answer) == ("What is it?", None)


def test_a_question_of_the_row_wins_and_its_caption_is_no_answer(tmp_path: Path) -> None:
    input = rows(tmp_path, {"image": "a.jpg", "question": "Which?", "caption": "A jug."})
    [sample] = read(input, SourceOptions(question="Describe the image."))
    assert isinstance(sample, Sample)
    assert (sample.prompt[0].text, sample.answer, sample.meta) == ("Which?", None, {"caption": "A jug."})


def test_questions_of_a_file_are_drawn_by_seed_and_row_and_not_by_place(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("One?\n\n Two? \nThree?\n")
    many = [{"id": f"r{number}", "image": "a.jpg", "caption": f"Jug {number}."} for number in range(60)]
    drawn = prompts(rows(tmp_path, *many), str(tmp_path / "q.txt"))
    assert set(drawn.values()) == {"One?", "Two?", "Three?"}
    assert prompts(rows(tmp_path, *many[::-1]), str(tmp_path / "q.txt")) == drawn
    assert prompts(rows(tmp_path, *many), str(tmp_path / "q.txt"), seed=1) != drawn


def test_the_questions_themselves_identify_a_run_and_not_their_file(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("One?\n")
    before = SourceOptions(question=str(tmp_path / "q.txt"))
    (tmp_path / "q.txt").write_text("Two?\n")
    assert before != SourceOptions(question=str(tmp_path / "q.txt"))


def test_a_file_of_questions_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("\n \n")
    for given, words in ((str(tmp_path / "gone.txt"), "no such file"), (str(tmp_path / "q.txt"), "no line")):
        with pytest.raises(UsageError, match=words):
            SourceOptions(question=given)


@pytest.mark.parametrize("command", ["bdhs", "povid", "rank", "tune bdhs", "baseline blind", "corrupt"])
def test_every_command_names_the_option_without_which_captions_cannot_be_used(command: str, tmp_path: Path) -> None:
    write_input(tmp_path, 1)
    input = rows(tmp_path, {"image": f"{0:012d}.jpg", "caption": "A jug stands on a table. It is red."})
    options = ["--judge", "none"] if command == "corrupt" else ["-m", "none", "--engine", "fake"]
    options += ["--output", str(tmp_path / "out"), "--input", input]
    done = called(*command.split(), *options)
    assert done.returncode == 2
    assert "--question" in done.stderr


def test_a_run_over_captions(tmp_path: Path) -> None:
    write_input(tmp_path, 1)
    answer = "A jug stands on a table. It is red."
    input = rows(tmp_path, *({"image": f"{number:012d}.jpg", "caption": answer} for number in range(4)))
    run = ("bdhs", "-i", input, "-m", "none", "--engine", "fake", "--question", "Describe it.", "--json")
    done = called(*run, "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 4


REFUSALS = (
    "It seems like your message is empty. How can I assist you today?",
    "I'm sorry, but I can't view images.",
    "I\u2019m sorry, but I can\u2019t see the image you attached.",
    "I apologize for the trouble, but I am unable to process this picture.",
    "Sorry, I cannot access the file.",
    "I am sorry. However, I cannot analyse it.",
    "Unfortunately, I'm not able to open attachments.",
    "As an AI language model, I cannot view images.",
    "I'm unable to view images directly.",
    "I can't assist with that.",
    "Hello! How can I help you today?",
)
ANSWERS = (
    "I'm sorry to say the dog is missing its collar.",
    "I can't see any dogs in this picture.",
    "I can't help but notice the red hat.",
    "I can't see the picture on the wall clearly.",
    "Sorry, we are closed is written on the door.",
    "The sign says: I'm sorry, but I can't view images.",
    "It seems like your message board is full of notes.",
    "How can I help you today? is printed on the robot's chest, which stands beside a counter.",
    "A clerk at the counter of the hotel looks up from her papers, smiles at two guests with their suitcases and asks: "
    "How can I help you today?",
)


def test_refusals_are_told_from_answers() -> None:
    assert [text for text in REFUSALS if not BOILERPLATE.search(text)] == []
    assert [text for text in ANSWERS if BOILERPLATE.search(text)] == []


def test_an_answer_that_refuses_is_dropped_alone_unless_it_is_to_be_kept(tmp_path: Path) -> None:
    said = ("1?", "A jug.", "2?", REFUSALS[1], "3?", "A cup.")
    talk = [{"from": ("human", "gpt")[place % 2], "value": value} for place, value in enumerate(said)]
    input = rows(tmp_path, {"image": "a.jpg", "conversations": talk})
    found = list(read(input, SourceOptions()))
    assert [one.reason if isinstance(one, Dropped) else one.answer for one in found] == [
        "A jug.",
        "ANSWER_REFUSES",
        "A cup.",
    ]
    kept = read(input, SourceOptions(keep_refusals=True))
    assert [one.answer for one in kept if isinstance(one, Sample)] == ["A jug.", REFUSALS[1], "A cup."]
