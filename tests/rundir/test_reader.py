"""Rows of finished runs, read without keeping their files open."""

from __future__ import annotations

from pathlib import Path

from tests.select.runs import pair, stored


def open_in(out: Path) -> int:
    """Files under a folder that this process has open."""
    return sum(link.resolve().is_relative_to(out.resolve()) for link in Path("/proc/self/fd").iterdir())


def test_a_run_of_many_files_keeps_at_most_one_open(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = stored(out, [pair(number) for number in range(12)], shard_size=1)
    assert open_in(out) == 0
    assert [(row["id"], open_in(out)) for row in run.scan(["id"])] == [
        (table["id"][0].as_py(), 1) for table in run.tables()
    ]
    taken = run.take([11, 0, 5])
    assert taken["rejected_response"].to_pylist() == ["A dog 11.", "A dog 0.", "A dog 5."]
    assert open_in(out) == 0
