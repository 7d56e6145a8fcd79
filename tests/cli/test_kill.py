"""A run that is killed again and again ends with the bytes of an unbroken one."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

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
