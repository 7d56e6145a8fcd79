"""A run that is killed again and again ends with the bytes of an unbroken one."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import EnvironmentFault
from prefgen.records import Dropped, Sample
from prefgen.rundir.layout import Layout
from prefgen.rundir.shards import RunDirectory
from prefgen.sources.columns import outcomes
from prefgen.sources.row import Row
from tests.cli.runs import Forked, called, data_digests, start, write_input

SCENES = Path(__file__).parent.parent.parent / "examples" / "scenes"


def committed(out: Path) -> int:
    """Shards that are done."""
    records = out / ".prefgen" / "shards"
    return len(list(records.iterdir())) if records.exists() else 0


def run_with_kills(arguments: list[str], out: Path, kills: int, rng: random.Random, shards: int) -> int:
    """Kill a run at random moments, then let it finish; how often it was killed."""
    done = 0
    while done < kills:
        process = Forked(*arguments, "-o", out)
        # Let it come as far as a fair share of the shards, so that the kills spread over the whole run.
        target = min(shards * (done + 1) // (kills + 1) + rng.randint(0, 1), shards)
        deadline = time.monotonic() + 300
        while committed(out) < target and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        process.kill()
        process.communicate()
        if process.returncode == 0:
            break
        done += 1
    finished = called(*arguments, "-o", out)
    assert finished.returncode == 0, finished.stderr
    return done


def check(arguments: list[str], tmp_path: Path, kills: int, shards: int) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    reference = called(*arguments, "-o", unbroken)
    assert reference.returncode == 0, reference.stderr
    assert run_with_kills(arguments, broken, kills, random.Random(0), shards) == kills
    assert data_digests(unbroken)
    assert data_digests(broken) == data_digests(unbroken)
    assert called("verify", broken).returncode == 0


def fake(source: Path, shard_size: int) -> list[str]:
    return ["bdhs", "-i", str(source), "-m", "none", "--engine", "fake", "--shard-size", str(shard_size)]


def scenes(limit: int, shard_size: int) -> list[str]:
    return [
        *("bdhs", "-i", str(SCENES / "llava_instruct.json"), "-m", str(SCENES / "model"), "--device", "cpu"),
        *("--similarity-model", "minilm", "--limit", str(limit), "--shard-size", str(shard_size)),
    ]


def test_a_fake_run_survives_kills(tmp_path: Path) -> None:
    check(fake(write_input(tmp_path / "input", 200), 8), tmp_path, kills=4, shards=25)


@pytest.mark.slow
def test_a_fake_run_of_2000_rows_survives_200_kills(tmp_path: Path) -> None:
    check(fake(write_input(tmp_path / "input", 2000), 8), tmp_path, kills=200, shards=250)


def test_a_run_on_the_scenes_survives_kills(tmp_path: Path) -> None:
    check(scenes(24, 6), tmp_path, kills=2, shards=4)


@pytest.mark.slow
def test_a_run_on_the_scenes_survives_20_kills(tmp_path: Path) -> None:
    check(scenes(240, 8), tmp_path, kills=20, shards=30)


def test_sigterm_commits_what_is_in_flight_and_the_same_command_goes_on(tmp_path: Path) -> None:
    arguments = fake(write_input(tmp_path / "input", 600), 10)
    process = start(*arguments, "-o", tmp_path / "out")
    while committed(tmp_path / "out") < 3:
        time.sleep(0.005)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert "the same command continues" in output
    assert 3 <= committed(tmp_path / "out") < 60
    assert called("verify", tmp_path / "out").returncode == 0
    resumed = called(*arguments, "-o", tmp_path / "out")
    assert resumed.returncode == 0
    assert "resuming" in resumed.stderr


@pytest.mark.parametrize("options", ["", "--limit 38", "--sample 40", "--by similarity --pairs all --candidates 3"])
def test_a_resumed_run_interprets_no_row_of_its_first_shards_again(
    options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless rows are drawn or samples are several rows. Repetitions of the first rows are dropped all the same.

    The run that began them interprets each row once, for its survey.
    """
    source = write_input(tmp_path / "input", 36)
    rows = json.loads(source.read_text())
    rows[3]["image"] = "missing.jpg"
    source.write_text(json.dumps([*rows, *rows[1:5]]))
    arguments = ["rank" if "--by" in options else "bdhs", *fake(source, 8)[1:], *options.split()]
    counted = options in ("", "--limit 38")
    commit = RunDirectory.commit
    interpreted: list[str] = []

    def fail(directory: RunDirectory, shard: int, *rest: Any) -> None:
        if shard == 4:
            raise EnvironmentFault("the disk is full")
        commit(directory, shard, *rest)

    def noted(row: Row, *rest: Any) -> Iterator[Sample | Dropped]:
        interpreted.append(row.where)
        return outcomes(row, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("prefgen.sources.reading.outcomes", noted)
        assert called(*arguments, "-o", tmp_path / "unbroken").returncode == 0
    most = {"--limit 38": 38, "--sample 40": 80}.get(options, 40)  # for the draw another time, to the last drawn
    assert most - 5 < len(interpreted) <= most
    interpreted.clear()
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "commit", fail)
        assert called(*arguments, "-o", tmp_path / "broken").returncode == 8
    with monkeypatch.context() as patch:
        patch.setattr("prefgen.sources.reading.outcomes", noted)
        assert called(*arguments, "-o", tmp_path / "broken").returncode == 0
    assert not counted or interpreted == [f"row {number}" for number in range(33, 39 if options else 41)]
    assert data_digests(tmp_path / "broken") == data_digests(tmp_path / "unbroken")
    dropped = [list(Layout(tmp_path / name).read_dropped()) for name in ("broken", "unbroken")]
    assert dropped[0] == dropped[1]
    expected = {"IMG_MISSING": 1, "DUPLICATE": 2 if options else 4}
    assert not counted or Counter(row["reason"] for row in dropped[0]) == expected


def test_a_second_process_on_the_same_output_stops_at_once(tmp_path: Path) -> None:
    arguments = fake(write_input(tmp_path / "input", 600), 10)
    first: subprocess.Popen[str] = start(*arguments, "-o", tmp_path / "out")
    while committed(tmp_path / "out") < 1:
        time.sleep(0.005)
    second = called(*arguments, "-o", tmp_path / "out")
    first.kill()
    first.communicate()
    assert second.returncode == 7
    assert f"process {first.pid}" in second.stderr
