"""Several inputs, and patterns of names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.records import Dropped, Sample
from prefgen.sources import SourceOptions, fingerprint, read, rows
from tests.store import s3

ALL = SourceOptions()


def lines(*numbers: int) -> str:
    rows = [{"id": n, "image": f"{n}.jpg", "question": "What?", "answer": f"Thing {n}."} for n in numbers]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for name, numbers in (("part-b", (2, 3)), ("part-a", (0, 1)), ("more", (4, 1))):
        (tmp_path / f"{name}.jsonl").write_text(lines(*numbers))
    return tmp_path


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3() as fs:
        yield fs


def source_ids(*inputs: str) -> list[str]:
    return [found.source_id for found in read(inputs, ALL) if isinstance(found, Sample)]


def test_the_files_of_a_pattern_are_read_by_name_and_inputs_in_their_order(parts: Path) -> None:
    assert source_ids(f"{parts}/part-*.jsonl") == ["0", "1", "2", "3"]
    assert source_ids(f"{parts}/more.jsonl", f"{parts}/part-?.jsonl") == ["4", "1", "0", "2", "3"]


def test_a_file_that_is_named_twice_is_read_once(parts: Path) -> None:
    assert source_ids(f"{parts}/part-a.jsonl", f"{parts}/part-*.jsonl") == ["0", "1", "2", "3"]


def test_a_row_that_stands_in_two_files_is_a_duplicate_that_names_its_file(parts: Path) -> None:
    found = list(read([f"{parts}/part-a.jsonl", f"{parts}/more.jsonl"], ALL))
    [dropped] = [outcome for outcome in found if isinstance(outcome, Dropped)]
    assert (dropped.reason, dropped.source) == ("DUPLICATE", "more.jsonl")
    assert dropped.detail.startswith("more.jsonl, line 2: ")
    assert [outcome.source for outcome in found] == ["part-a.jsonl"] * 2 + ["more.jsonl"] * 2


def test_files_of_one_name_are_told_apart_by_their_folders(parts: Path) -> None:
    for folder in ("x", "y"):
        (parts / folder).mkdir()
        (parts / folder / "a.jsonl").write_text(lines(7))
    assert [row.where for row in rows(f"{parts}/[xy]/a.jsonl", ALL)] == [f"{parts}/{f}/a.jsonl, line 1" for f in "xy"]


def test_the_fingerprint_is_that_of_all_files(parts: Path) -> None:
    pattern = f"{parts}/part-*.jsonl"
    before = fingerprint(pattern, ALL)
    assert before == fingerprint([f"{parts}/part-a.jsonl", f"{parts}/part-b.jsonl"], ALL)
    assert before != fingerprint([f"{parts}/part-b.jsonl", f"{parts}/part-a.jsonl"], ALL)
    (parts / "part-c.jsonl").write_text(lines(9))
    assert fingerprint(pattern, ALL) != before


def test_one_input_in_a_list_is_that_input(parts: Path) -> None:
    file = f"{parts}/more.jsonl"
    assert fingerprint([file], ALL) == fingerprint(file, ALL)
    assert list(rows([file], ALL)) == list(rows(file, ALL))


def test_images_are_looked_for_beside_each_file(parts: Path) -> None:
    other = parts / "other"
    other.mkdir()
    (other / "part-z.jsonl").write_text(lines(8))
    root = ALL.root([f"{parts}/part-*.jsonl", f"{other}/*.jsonl"])
    assert root.folders == (parts, parts / "images", other, other / "images")


@pytest.mark.parametrize("pattern", ["none-*.jsonl", "[q]*.jsonl", "sub/**/x.jsonl"])
def test_a_pattern_without_a_file_is_no_input(pattern: str, parts: Path) -> None:
    with pytest.raises(UsageError, match="INPUT_NOT_FOUND: no file has a name like"):
        list(read([f"{parts}/more.jsonl", f"{parts}/{pattern}"], ALL))


def test_a_file_whose_name_is_like_a_pattern_is_that_file(parts: Path) -> None:
    (parts / "part-[a].jsonl").write_text(lines(6))
    assert source_ids(f"{parts}/part-[a].jsonl") == ["6"]


def test_patterns_and_files_at_addresses(bucket: Any, parts: Path) -> None:
    for file in parts.glob("*.jsonl"):
        bucket.pipe_file(f"bucket/many/{file.name}", file.read_bytes())
    assert source_ids("s3://bucket/many/part-*.jsonl", f"{parts}/more.jsonl") == ["0", "1", "2", "3", "4"]
    assert list(read("s3://bucket/many/*.jsonl", ALL)) == list(read(f"{parts}/*.jsonl", ALL))


def test_a_column_that_only_some_files_have_may_be_named(parts: Path) -> None:
    (parts / "other.jsonl").write_text(lines(8).replace('"question"', '"ask"'))
    options = SourceOptions(columns="question=ask")
    found = list(rows([f"{parts}/more.jsonl", f"{parts}/other.jsonl"], options))
    assert [row.source for row in found] == ["more.jsonl", "more.jsonl", "other.jsonl"]
    assert isinstance(found[2].columns, dict)
    assert found[2].columns["question"] == "What?"
