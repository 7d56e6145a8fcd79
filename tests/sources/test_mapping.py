"""`--columns` and `--roles`: what they rename, for every reader, and the lines that errors tell the user to type."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.formats import IMPORTERS
from prefgen.records import Dropped, ImageRef, Pair, Sample
from prefgen.sources import SourceOptions, read
from prefgen.sources.mapping import suggest_columns
from tests.cli.runs import called


def rows(folder: Path, *columns: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in columns))
    return str(path)


def only(input: str, **options: Any) -> Sample:
    [sample] = read(input, SourceOptions(**options))
    assert isinstance(sample, Sample), sample
    return sample


OWN = {"photo": "a.jpg", "ask": "What?", "reply": "A jug.", "note": "x"}


def test_columns_get_the_names_that_prefgen_knows(tmp_path: Path) -> None:
    sample = only(rows(tmp_path, OWN), columns="question=ask, answer=reply ,image=photo")
    assert (sample.prompt[0].text, sample.answer, sample.images) == ("What?", "A jug.", (ImageRef(path="a.jpg"),))
    assert sample.meta == {"note": "x"}


def test_a_named_column_goes_before_others_of_its_kind(tmp_path: Path) -> None:
    row = {"images": ["b.jpg"], "question": "Other?", "answer": "Other.", **OWN}
    sample = only(rows(tmp_path, row), columns="question=ask,answer=reply,image=photo")
    assert (sample.prompt[0].text, sample.answer, sample.images) == ("What?", "A jug.", (ImageRef(path="a.jpg"),))
    assert sample.meta == {"note": "x", "images": ["b.jpg"], "source_question": "Other?", "source_answer": "Other."}


def test_a_column_may_be_inside_another(tmp_path: Path) -> None:
    row = {"image": "a.jpg", "extra": {"say": ["No.", "Yes."]}, "query": {"de": "Was?", "en": "What?"}}
    sample = only(rows(tmp_path, row), columns="question=query.de,answer=extra.say.1")
    assert (sample.prompt[0].text, sample.answer) == ("Was?", "Yes.")


def test_a_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    row = {"image": "a.jpg", "question": "Which?", "answer": "A jug.", "choices": ["a jug", "a cup"]}
    [dropped] = read(rows(tmp_path, row), SourceOptions())
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "ROW_UNREAD"
    line = re.search(r"--columns (\S+)", dropped.detail)
    assert line
    assert only(rows(tmp_path, row), columns=line[1]).answer == "A jug."


SAID = [{"from": "Kundin", "value": "What?"}, {"from": "Helfer", "value": "A jug."}]


@pytest.mark.parametrize("said", [SAID, json.dumps(SAID), {"from": ["Kundin", "Helfer"], "value": ["What?", "A jug."]}])
def test_speakers_get_their_roles_in_every_form_of_a_conversation(said: object, tmp_path: Path) -> None:
    sample = only(rows(tmp_path, {"image": "a.jpg", "conversations": said}), roles="user=kundin,assistant=HELFER")
    assert (sample.prompt[0].text, sample.answer) == ("What?", "A jug.")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (OWN, "--columns image=photo,question=ask,answer=reply"),
        ({"photo": {"bytes": None, "path": "a.png"}, "dialog": SAID}, "--columns image=photo,messages=dialog"),
        ({"id": "1", "image": "a.jpg", "words": "A jug."}, "--columns answer=words"),
        ({"a": 1, "b": [2]}, ""),
    ],
)
def test_columns_are_suggested_by_what_they_look_like(row: dict[str, Any], expected: str) -> None:
    assert suggest_columns(row, ("image", "images")) == expected


@pytest.mark.parametrize("row", [OWN, {"image": "a.jpg", "conversations": SAID}])
def test_what_an_error_suggests_works_as_it_stands(row: dict[str, Any], tmp_path: Path) -> None:
    input = rows(tmp_path, row)
    with pytest.raises(UsageError) as caught:
        list(read(input, SourceOptions()))
    line = re.search(r"--(columns|roles) (\S+)", str(caught.value))
    assert line
    options = {line[1]: shlex.split(line[2])[0]}
    sample = only(input, **options)
    assert (sample.prompt[0].text, sample.answer) == ("What?", "A jug.")


def test_one_of_several_answers_is_chosen_by_the_line_that_is_told(tmp_path: Path) -> None:
    input = rows(tmp_path, {"image": "a.jpg", "question": "What?", "chosen": ["A jug.", "A red jug."]})
    with pytest.raises(UsageError) as caught:
        list(read(input, SourceOptions()))
    line = re.search(r"--columns (\S+),", str(caught.value))
    assert line
    assert only(input, columns=line[1]).answer == "A jug."


def test_a_picture_in_a_column_of_another_name_is_named(tmp_path: Path) -> None:
    [dropped] = read(rows(tmp_path, {"photo": "a.jpg", "question": "What?", "answer": "A."}), SourceOptions())
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.detail) == (
        "TEXT_ONLY",
        "line 1: no image; photo looks like one: --columns image=photo",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": "question"}, "'question' should be like"),
        ({"columns": "question=a,question=b"}, "twice"),
        ({"columns": "question=aks"}, "no row has a column 'aks'; is it ask?"),
        ({"roles": "human=Kundin"}, "give one of system, user, assistant"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(options: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        list(read(rows(tmp_path, OWN), SourceOptions(**options)))  # type: ignore[arg-type]


def test_importers_take_both(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "photo": "a.jpg",
        "good": {"role": "Helfer", "content": "A jug."},
        "bad": {"role": "Helfer", "content": "A cup."},
    }
    row["ask"] = [{"role": "Kundin", "content": "What?"}]
    options = SourceOptions(
        columns="images=photo,prompt=ask,chosen=good,rejected=bad", roles="user=Kundin,assistant=Helfer"
    )
    [pair] = IMPORTERS["trl"](source=options)(rows(tmp_path, row))
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected) == ("A jug.", "A cup.")
    assert pair.sample.prompt[0].role == "user"


def test_an_import_names_the_option(tmp_path: Path) -> None:
    done = called("import", "jsonl", rows(tmp_path, OWN), "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "--columns prompt=…,chosen=…,rejected=…" in " ".join(done.stderr.split())


def test_the_command_line_takes_both(tmp_path: Path) -> None:
    input = rows(tmp_path, {**OWN, "reply": "A jug stands on a table. It is red."})
    arguments = ("bdhs", "-i", input, "-m", "none", "--engine", "fake", "-o", str(tmp_path / "out"))
    assert "--columns image=photo,question=ask,answer=reply" in " ".join(called(*arguments).stderr.split())
    done = called(*arguments, "--columns", "image=photo,question=ask,answer=reply")
    assert "IMG_MISSING" in done.stderr  # read, but there is no such picture


def test_of_several_speakers_only_the_unknown_one_is_asked_for(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "What?"}, {"from": "bing", "value": "A jug."}]
    with pytest.raises(UsageError, match="--roles 'assistant=bing'"):
        list(read(rows(tmp_path, {"image": "a.jpg", "conversations": said}), SourceOptions()))
