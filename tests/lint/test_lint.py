from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefgen.console import Console
from prefgen.errors import UsageError
from prefgen.linting import lint, render
from prefgen.linting.findings import LEVELS, Finding, Lint
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
    Console(file=screen, width=200, force_terminal=True, color_system=None).print(render.render(found))
    assert "[bold]x[/bold]" in screen.getvalue()
    assert not {"\x1b", "\x9b", "\u202e"} & {*screen.getvalue()}
    text = render.to_json(found)
    assert text.isascii()
    assert json.loads(text)["rows"] == 1


def screen_of(found: Lint) -> str:
    screen = io.StringIO()
    Console(file=screen, width=160).print(render.render(found))
    return screen.getvalue()


def test_the_last_line_is_the_verdict_and_checks_without_findings_share_one() -> None:
    loud = Finding("tags", "error", 3, 0.5, "3 tags", "Remove them.")
    mild = Finding("refusals", "warning", 2, 0.2, "2 refuse")
    quiet = [Finding(name, "info", 0, 0.0, f"nothing of {name}") for name in ("script", "identical")]
    figure = Finding("similarity", "info", 9, 1.0, "median 0.5")
    lines = screen_of(Lint(500, (loud, mild, *quiet, figure))).splitlines()
    assert lines[-2].rstrip() == "nothing found by: script, identical"
    assert lines[-1].rstrip() == "500 pairs: mend before training: tags; then see refusals"
    assert not any("nothing of" in line for line in lines)
    assert any("median 0.5" in line for line in lines)
    assert "no error; see before training: refusals" in screen_of(Lint(500, (mild,)))
    assert screen_of(Lint(500, (figure,))).splitlines()[-1].startswith("500 pairs: nothing found that speaks against")


@pytest.mark.parametrize(
    ("rows", "iteration", "advice"),
    [(120, 1, "--temperature"), (120, 0, "Filter these rows"), (30, 1, ""), (30, 0, "")],
)
def test_advice_fits_where_the_rows_come_from_and_how_many_they_are(
    rows: int, iteration: int, advice: str, tmp_path: Path
) -> None:
    pairs = [
        pair(
            n,
            chosen="A cat on a mat.",
            rejected="A cat on a tablorp.",
            iteration=iteration,
            spans=(),
            cuts=(),
            finish=(),
        )
        for n in range(rows)
    ]
    with RunDirectory.open(tmp_path / "out", plan(rows, rows)) as run:
        run.commit(0, pairs, PROVENANCE)
    found = lint(tmp_path / "out")
    (words,) = [finding for finding in found.findings if finding.check == "unknown-words"]
    assert words.level == "warning"
    assert advice in words.advice
    assert bool(words.advice) == bool(advice)
    assert ("advice is given from 100 pairs on" in screen_of(found)) == (rows < 100)
