"""Which rows a loader stumbles over; the real loaders are asked in tests/trainers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from prefgen.formats import LOADERS, checking, installed
from tests.cli.runs import called as prefgen
from tests.select.runs import pair, stored

Attempted = Callable[[Any], Any]
Install = Callable[[Attempted], None]


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes an installed TRL of a function of a chunk of rows."""

    def install(attempt: Attempted) -> None:
        monkeypatch.setattr(installed, "version", lambda trainer: "9.9")
        monkeypatch.setitem(LOADERS, "trl", replace(LOADERS["trl"], load=lambda *given: attempt))

    return install


def test_every_row_that_raises_is_named(tmp_path: Path, loader: Install) -> None:
    given: list[int] = []

    def attempt(rows: Any) -> None:
        given.append(len(rows))
        for row in rows:
            if int(row["source_id"]) in (3, 130, 131):
                raise TypeError(f"no,\nnot {row['source_id']}")

    loader(attempt)
    out = tmp_path / "out"
    rows = stored(out, [pair(number) for number in range(250)], shard_size=60)
    found = checking.check(out, "trl")
    ids = [row["id"] for row in rows.scan(["id"])]
    assert [(problem.row, problem.detail) for problem in found.problems] == [
        (f"row {number + 1} (id {ids[number]})", f"trl 9.9: TypeError: no, not {number}") for number in (3, 130, 131)
    ]
    assert (found.rows, found.loader, found.loaded) == (250, "9.9", None)
    given.clear()
    assert checking.check(out, "trl", loaded=3).problems == ()
    assert given == [3]


def test_rows_that_break_only_together_are_named_together(tmp_path: Path, loader: Install) -> None:
    def attempt(rows: Any) -> None:
        if len(rows) > 2:
            raise ValueError("too many")

    loader(attempt)
    stored(tmp_path / "out", [pair(number) for number in range(6)])
    found = checking.check(tmp_path / "out", "trl").problems
    assert [problem.row for problem in found] == ["rows 1 to 3 together", "rows 4 to 6 together"]


def test_pictures_are_decoded_as_a_trainer_would(tmp_path: Path, loader: Install) -> None:
    sizes: list[tuple[int, int]] = []
    loader(lambda rows: sizes.extend(image.size for row in rows for image in row["images"]))
    stored(tmp_path / "out", [pair(number) for number in range(2)])
    checking.check(tmp_path / "out", "trl")
    assert sizes == [(16, 12), (16, 12)]


def test_data_of_which_no_table_can_be_made(tmp_path: Path, loader: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*arguments: Any, **settings: Any) -> None:
        raise datasets.exceptions.DatasetGenerationError("mixed types")

    loader(lambda rows: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    stored(tmp_path / "out", [pair(0)])
    (problem,) = checking.check(tmp_path / "out", "trl").problems
    assert (problem.row, problem.detail) == ("from row 1 on", "trl 9.9: DatasetGenerationError: mixed types")


def test_the_command_says_whether_the_trainer_was_asked(tmp_path: Path, loader: Install) -> None:
    stored(tmp_path / "out", [pair(number) for number in range(6)])
    assert "trl is not installed here" in prefgen("check", tmp_path / "out", "--with", "trl").stderr
    loader(lambda rows: sys.stdout.write("trainers talk"))
    done = prefgen("check", tmp_path / "out", "--with", "trl", "--rows", "4", "--json")
    assert "its own loader was given 4 of 6 rows" in done.stderr
    assert json.loads(done.stdout)["loaded"] == 4
