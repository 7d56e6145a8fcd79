"""What a command says of its rows before it starts: reasons, columns that it does not use, and when it stops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.runs import called, write_input

ANSWER = "A jug stands on a table. It is red."
GOOD: dict[str, Any] = {"image": f"{0:012d}.jpg", "question": "What?", "answer": ANSWER}


def run(folder: Path, rows: Sequence[Any], *options: str, command: str = "bdhs") -> Any:
    if not (folder / "images").exists():
        write_input(folder, 1)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"id": n, **row}) + "\n" for n, row in enumerate(rows)))
    arguments = [
        "-i",
        str(folder / "rows.jsonl"),
        "-m",
        "none",
        "--engine",
        "fake",
        "-o",
        str(folder / "out"),
        *options,
    ]
    return called(*command.split(), *arguments)


def test_the_plan_names_columns_that_are_not_asked(tmp_path: Path) -> None:
    rows = [{**GOOD, "solution": "2 + 2", "score": None}, {**GOOD, "solution": "", "objects": {"bbox": [[1, 2, 3, 4]]}}]
    shown = run(tmp_path, rows, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "kept in meta: solution (1 rows), objects (1 rows)" in " ".join(shown.stderr.split())
    assert "score" not in shown.stderr
    assert "samples have none" not in shown.stderr
    unanswered = run(tmp_path, [GOOD, {"image": GOOD["image"], "question": "What?", "verdict": ANSWER}], "--dry-run")
    assert "1 samples have none" in " ".join(unanswered.stderr.split())


@pytest.mark.parametrize("command", ["bdhs", "povid", "rank", "baseline blind"])
def test_a_run_whose_first_rows_all_drop_for_one_reason_stops_and_can_go_on(command: str, tmp_path: Path) -> None:
    rows = [*({**GOOD, "choices": ["a", "b"], "answer": f"{n}. {ANSWER}"} for n in range(50)), GOOD]
    stopped = run(tmp_path, rows, command=command)
    assert stopped.returncode == 2
    assert "none of the first 50 rows" in stopped.stderr
    assert "ROW_UNREAD 50, e.g. line 1: choices" in " ".join(stopped.stderr.split())
    gone_on = run(tmp_path, rows, "--keep-going", command=command)
    assert "50 of 51 rows will be dropped" in gone_on.stderr
    assert "1/1" in gone_on.stderr or "51/51" in gone_on.stderr


def test_two_reasons_or_a_good_row_among_the_first_do_not_stop_it(tmp_path: Path) -> None:
    bad = [{**GOOD, "choices": ["a", "b"], "answer": f"{n}."} for n in range(60)]
    for rows in ([{"note": "x"}, *bad, GOOD], [GOOD, *bad]):
        done = run(tmp_path, rows, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "of 6" in done.stderr


def test_pictures_that_all_fail_alike_stop_it_too(tmp_path: Path) -> None:
    write_input(tmp_path, 1)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
    rows = [{**GOOD, "image": "broken.jpg", "answer": f"{n}. {ANSWER}"} for n in range(50)] + [GOOD]
    stopped = run(tmp_path, rows)
    assert stopped.returncode == 2
    assert "none of the first 50 rows" in stopped.stderr
    assert "IMG_" in stopped.stderr
    assert run(tmp_path, rows, "--keep-going").returncode == 0


def test_every_reason_is_reported_where_no_row_can_be_used(tmp_path: Path) -> None:
    rows = [{"photo": 5}, {"photo": 6}, {**GOOD, "image": None}, {"image": "a.jpg", "question": "What?", "answer": " "}]
    told = " ".join(run(tmp_path, rows).stderr.split())
    assert "ROW_SHAPE 2, e.g. line 1: expected one of" in told
    assert "TEXT_ONLY 1, e.g. line 3:" in told
    assert "TEXT_EMPTY 1, e.g. line 4:" in told
    assert "TEXT_ONLY 1" in " ".join(run(tmp_path, rows[2:], command="tune bdhs").stderr.split())
