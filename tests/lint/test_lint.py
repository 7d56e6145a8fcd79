from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rich.console

from prefgen.errors import UsageError
from prefgen.lint import lint, render
from prefgen.lint.findings import LEVELS
from prefgen.rundir.shards import RunDirectory
from prefgen.select import Excluded
from tests.handmade import PROVENANCE, finished_run, pair, plan


def test_every_check_speaks_about_a_run(tmp_path: Path) -> None:
    found = lint(finished_run(tmp_path / "out"))
    assert found.rows == 12
    assert {finding.check for finding in found.findings} == {
        "identical",
        "near-identical",
        "identical-when-cut",
        "length-bias",
        "detectable",
        "similarity",
        "edit-size",
        "yes-no",
        "refusals",
        "blur-talk",
        "tags",
        "unknown-words",
        "script",
        "repeated-pairs",
        "repeated-images",
        "repeated-prompts",
        "image-size",
    }
    levels = [LEVELS.index(finding.level) for finding in found.findings]
    assert levels == sorted(levels)
    assert len(found.at_least("info")) == len(found.findings)
    assert not found.at_least("error")


def test_an_unfinished_run_and_a_data_set_without_its_run_are_read_too(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "out", plan(8, 4)) as run:
        run.commit(0, [pair(row) for row in range(4)], PROVENANCE)
    assert lint(tmp_path / "out").rows == 4
    (tmp_path / "copy" / "data").mkdir(parents=True)
    for path in (finished_run(tmp_path / "whole") / "data").iterdir():
        (tmp_path / "copy" / "data" / path.name).write_bytes(path.read_bytes())
    assert lint(tmp_path / "copy").rows == 12


def test_excluded_images(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("cat.png\n")
    found = lint(finished_run(tmp_path / "out"), excluded=Excluded.read(tmp_path / "list"))
    assert found.findings[0].check == "leakage"
    assert found.findings[0].count == 12


def test_no_data_set_and_foreign_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pairs"):
        lint(tmp_path)
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"chosen": ["a"]}), tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(UsageError, match="has no column id"):
        lint(tmp_path)


def test_terminal_and_json_show_hostile_text_as_text(tmp_path: Path) -> None:
    evil = "\x1b[31m[bold]x[/bold]\u202e\x9b </s>"
    with RunDirectory.open(tmp_path / "out", plan(1, 1)) as run:
        run.commit(0, [pair(rejected=evil, spans=(), cuts=(), finish=())], PROVENANCE)
    found = lint(tmp_path / "out")
    screen = io.StringIO()
    rich.console.Console(file=screen, width=200, force_terminal=True, color_system=None).print(render.render(found))
    assert "[bold]x[/bold]" in screen.getvalue()
    assert not {"\x1b", "\x9b", "\u202e"} & {*screen.getvalue()}
    text = render.to_json(found)
    assert text.isascii()
    assert json.loads(text)["rows"] == 1
