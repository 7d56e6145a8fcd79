from __future__ import annotations

from pathlib import Path

import pytest

from prefgen.errors import CorruptRun
from prefgen.rundir.layout import Layout
from prefgen.rundir.shards import RunDirectory
from prefgen.select import Amount, SelectJob, mix
from tests.cli.runs import data_digests
from tests.select.runs import pair, stored, write


class Killed(Exception):
    pass


def test_a_killed_selection_ends_with_the_bytes_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stored(tmp_path / "a", [pair(number) for number in range(20)])
    second = stored(tmp_path / "b", [pair(number, rejected="A fish.") for number in range(20)])
    selection = mix([(first, Amount()), (second, Amount(rows=10))], 0)
    jobs = [SelectJob("mix", {"seed": 0}, selection, tmp_path / name, 4) for name in ("whole", "broken")]
    write(jobs[0])
    commit = RunDirectory.commit_rows

    def killed(self: RunDirectory, shard: int, *arguments: object) -> None:
        if shard == 3:
            raise Killed
        commit(self, shard, *arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(RunDirectory, "commit_rows", killed)
    with pytest.raises(Killed):
        write(jobs[1])
    monkeypatch.undo()
    assert len(Layout(tmp_path / "broken").read_commits()) == 3
    write(jobs[1])
    assert data_digests(tmp_path / "whole") == data_digests(tmp_path / "broken")


def test_the_plan_records_inputs_and_what_was_left_out(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(number) for number in range(5)])
    job = SelectJob("sample", {"seed": 1}, mix([(run, Amount(rows=2))], 1), tmp_path / "out", 4)
    settings = job.plan().fingerprint
    assert settings["method"] == "sample"
    assert (settings["input.0"], settings["input.0.rows"]) == ("a", 5)
    assert settings["input.0.manifest_sha256"] == run.digest
    assert settings["left_out.NOT_DRAWN"] == 3


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    for number in (0, 1):
        run = stored(tmp_path / str(number), [pair(number)])
        job = SelectJob("mix", {"seed": 1}, mix([(run, Amount())], 1), tmp_path / "out", 4)
        if number:
            with pytest.raises(CorruptRun, match=r"input\.0\.manifest_sha256"):
                write(job)
        else:
            write(job)
