"""`prefgen revise` against a judge on loopback: real sockets, real processes, the engine is fake."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cli.runs import called, data_digests, start, write_input
from tests.judge import MODEL, Act, Judge, after, asked_about, fail, good, revised, say

ROWS = 24
FAKE = ("-m", "none", "--engine", "fake")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_input(tmp_path_factory.mktemp("input"), ROWS)


def revise(source: Path, out: Path, judge: Judge, *options: str | Path) -> subprocess.CompletedProcess[str]:
    asked = ("--judge", MODEL, "--judge-url", judge.url)
    return called("revise", "-i", source, *FAKE, *asked, "-o", out, *options)


def rows(out: Path) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = pq.read_table(out / "data").to_pylist()
    return made


def test_a_run_ends_with_shards_that_verify(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Judge(good) as judge:
        done = revise(source, out, judge, "--json", "--shard-size", "10")
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert (figures["pairs"], figures["flags"]) == (ROWS, {"kind-position": ROWS})
        assert called("verify", out).returncode == 0
        revise(source, out, judge, "--shard-size", "10")
        assert len(judge.bodies) == ROWS  # a warm re-run sends nothing
    pictures = {body["messages"][-1]["content"][0]["type"] for body in judge.bodies}
    assert pictures == {"image_url"}
    for row in rows(out):
        before, after_ = row["rejected_response"], row["chosen_response"]
        first, *rest = before.split(" ")
        assert after_ == " ".join(["Nowhere", *rest])
        assert row["spans"] == [{"start": 0, "end": len(first)}]
        assert (row["model"], row["method"], row["variant"]) == ("fake", "revise", "policy")
        assert json.loads(row["meta"])["record"]["repairs"][0]["problem"] == "elsewhere"


def test_the_rows_answers_can_be_repaired(source: Path, tmp_path: Path) -> None:
    with Judge(good) as judge:
        done = called(
            *("revise", "-i", source, "--answers", "input", "--judge", MODEL, "--judge-url", judge.url),
            *("-o", tmp_path / "out"),
        )
    assert done.returncode == 0, done.stderr
    rejected = {row["rejected_response"] for row in rows(tmp_path / "out")}
    assert rejected == {f"There are {number} cats on the mat. One of them is red." for number in range(ROWS)}


def test_what_the_judge_leaves_as_it_is_does_not_stop_a_run(source: Path, tmp_path: Path) -> None:
    def rarely(number: int, body: dict[str, Any]) -> str | Act:
        if number == 3:
            return fail(400, message="bad")
        if number == 5:
            return say(None, finish_reason="content_filter")
        return revised(body) if number == 20 else '{"sentences": []}'

    with Judge(rarely) as judge:
        done = revise(source, tmp_path / "out", judge, "--json", "--concurrency", "1")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["pairs"] == 1
    assert figures["dropped"] == {"ANSWER_UNREVISED": ROWS - 3, "API_400": 1, "REPLY_FILTERED": 1}


def test_a_dry_run_tells_the_price_and_sends_nothing(source: Path, tmp_path: Path) -> None:
    shown = called("revise", "-i", source, "-o", tmp_path / "out", *FAKE, "--judge", "gpt4o", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    for expected in ("gpt-4o-2024-08-06", f"{ROWS} if nothing is asked twice", "expected $0.", "[1] There are 0 cats"):
        assert expected in shown.stderr
    assert not (tmp_path / "out").exists()


def test_a_budget_stops_and_the_rest_is_bought_once(source: Path, tmp_path: Path) -> None:
    prices = ("--price-in", "0", "--price-out", "10", "--concurrency", "1")
    with Judge(good) as judge:
        short = revise(source, tmp_path / "out", judge, "--max-cost", "0.013", *prices)
        assert short.returncode == 4, short.stderr
        assert 0 < len(judge.bodies) < ROWS
        assert revise(source, tmp_path / "out", judge, "--max-cost", "10", *prices).returncode == 0
        assert len(judge.bodies) == ROWS


def test_a_kill_buys_nothing_twice_and_changes_nothing(source: Path, tmp_path: Path) -> None:
    with Judge(lambda number, body: after(0.1, revised(body))) as judge:
        command = ("revise", "-i", source, *FAKE, "--judge", MODEL, "--judge-url", judge.url, "--concurrency", "2")
        process = start(*command, "-o", tmp_path / "out")
        while len(judge.bodies) < 8 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        asked = len(judge.bodies)
        judge.script = good
        assert called(*command, "-o", tmp_path / "out").returncode == 0
        assert len(judge.bodies) - asked <= ROWS - asked + 2
        assert revise(source, tmp_path / "unbroken", judge).returncode == 0
    assert data_digests(tmp_path / "out") == data_digests(tmp_path / "unbroken")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--answers", "mine"), "--answers 'mine'"),
        (("--max-change", "2"), "--max-change 2"),
        (("--prompt", "missing.txt"), "missing.txt cannot be read"),
        (("--workers", "2"), "--workers"),
    ],
)
def test_what_cannot_be_is_refused(source: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = called("revise", "-i", source, *FAKE, "-o", tmp_path / "out", *options)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())


def test_a_policy_must_be_named(source: Path, tmp_path: Path) -> None:
    done = called("revise", "-i", source, "-o", tmp_path / "out", "--judge", MODEL)
    assert done.returncode == 2
    assert "--model is missing" in done.stderr


def test_the_reference_is_shown_beside_the_policys_answer(source: Path, tmp_path: Path) -> None:
    with Judge(good) as judge:
        assert revise(source, tmp_path / "out", judge, "--limit", "1").returncode == 0
    shown, answer = asked_about(judge.bodies[0])
    assert "There are 0 cats" in shown
    assert answer.startswith("[1] ")
