"""`prefgen corrupt` against a judge on loopback: real sockets, real processes."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from prefgen.engines.chat.ledger import Ledger
from prefgen.methods import prompts
from tests.cli.runs import Forked, called, data_digests, start, write_input
from tests.engines.chat.test_batch import BatchServer
from tests.judge import MODEL, Act, Judge, Script, after, asked_about, completion, corrupted, fail, good, say


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_input(tmp_path_factory.mktemp("input"), 40)


def arguments(source: Path, judge: Judge, *options: str | Path) -> list[str | Path]:
    return ["corrupt", "-i", source, "--judge", MODEL, "--judge-url", judge.url, *options]


def corrupt(source: Path, out: Path, judge: Judge, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return called(*arguments(source, judge, "-o", out, *options))


def test_a_run_ends_with_shards_that_verify(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Judge(good) as judge:
        done = corrupt(source, out, judge, "--json", "--shard-size", "16")
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert (figures["planned"], figures["pairs"]) == (40, 40)
        assert figures["flags"] == {"kind-position": 40}
        assert len(judge.bodies) == 40
        assert "judge: 40 calls, 1,200 tokens read, 800 generated" in done.stderr
        assert called("verify", out).returncode == 0
        again = corrupt(source, out, judge, "--shard-size", "16")
        assert "finished already" in " ".join(again.stderr.split())
        assert len(judge.bodies) == 40  # a warm re-run sends nothing
    plan = json.loads((out / ".prefgen/plan.json").read_text())["fingerprint"]
    assert plan["judge"] == MODEL
    assert plan["method.prompt"].startswith("corrupt sha256:")
    assert "test-model" in (out / "README.md").read_text()


def test_the_same_judge_gives_the_same_data_whatever_the_order(source: Path, tmp_path: Path) -> None:
    def shuffled(number: int, body: dict[str, Any]) -> Act:
        return after(0.001 * (number * 7 % 11), corrupted(body))

    for name, script, width in (("a", good, "1"), ("b", shuffled, "64")):
        with Judge(script) as judge:
            assert corrupt(source, tmp_path / name, judge, "--concurrency", width).returncode == 0
    assert data_digests(tmp_path / "a") == data_digests(tmp_path / "b")


def test_what_the_judge_would_not_do_is_dropped_with_reasons(source: Path, tmp_path: Path) -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        cats = int(re.findall(r"\d+", asked_about(body)[1])[0])
        acts = [say("I'm sorry, I can't do that."), fail(400, message="bad"), say(None, finish_reason="content_filter")]
        return acts[cats] if cats < 3 else corrupted(body)

    with Judge(lambda number, body: script(number, body)) as judge:
        done = corrupt(source, tmp_path / "out", judge, "--json", "--concurrency", "1")
    assert json.loads(done.stdout)["dropped"] == {"REPLY_REFUSAL": 1, "API_400": 1, "REPLY_FILTERED": 1}


def test_a_dry_run_tells_the_price_and_sends_nothing(source: Path, tmp_path: Path) -> None:
    shown = called("corrupt", "-i", source, "-o", tmp_path / "out", "--judge", "gpt4", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    for expected in ("gpt-4.1-2025-04-14", "40 if nothing is asked twice", "expected $0.", "what the judge is asked"):
        assert expected in shown.stderr
    assert not (tmp_path / "out").exists()


def test_a_budget_needs_a_price_and_ends_in_exit_code_4(source: Path, tmp_path: Path) -> None:
    with Judge(good) as judge:
        assert "--price-in" in corrupt(source, tmp_path / "out", judge, "--max-cost", "1").stderr
        prices = ("--price-in", "10", "--price-out", "10", "--concurrency", "4")
        short = corrupt(source, tmp_path / "out", judge, "--max-cost", "0.05", *prices)
        assert short.returncode == 4, short.stderr
        assert "--max-cost 0.05" in short.stderr
        bought = len(judge.bodies)
        assert 0 < bought < 40
        rest = corrupt(source, tmp_path / "out", judge, "--max-cost", "10", *prices)
        assert rest.returncode == 0, rest.stderr
        assert len(judge.bodies) == 40  # nothing twice
    assert "$0.0200" in rest.stderr


@pytest.mark.parametrize(
    ("script", "code"),
    [(lambda *_: fail(401), 2), (lambda *_: fail(404), 2), (lambda *_: fail(429, code="insufficient_quota"), 4)],
)
def test_exit_codes(source: Path, tmp_path: Path, script: Script, code: int) -> None:
    with Judge(script) as judge:
        done = corrupt(source, tmp_path / "out", judge)
        assert done.returncode == code
        assert len(judge.bodies) == 1


def test_without_a_key_openai_is_not_asked(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = called("corrupt", "-i", source, "-o", tmp_path / "out", "--judge", "gpt4")
    assert done.returncode == 2
    assert "OPENAI_API_KEY is not set" in done.stderr


def test_another_prompt_is_drift(source: Path, tmp_path: Path) -> None:
    assert called("prompts", "export", tmp_path / "prompts").returncode == 0
    own = tmp_path / "prompts" / "corrupt.txt"
    own.write_text(own.read_text().replace("careless", "tired"))
    with Judge(good) as judge:
        corrupt(source, tmp_path / "out", judge)
        drifted = corrupt(source, tmp_path / "out", judge, "--prompt", own)
        assert drifted.returncode == 6
        assert "method.prompt" in drifted.stderr
        assert corrupt(source, tmp_path / "own", judge, "--prompt", own).returncode == 0
        assert "tired viewer" in judge.bodies[-1]["messages"][0]["content"]


def replies_in(out: Path) -> int:
    """Replies in the ledger of a process that is no more."""
    with closing(Ledger(out / ".prefgen" / "ledger.sqlite")) as ledger:
        return ledger.bill().answered


def test_a_kill_during_paid_calls_buys_nothing_twice_that_was_answered(source: Path, tmp_path: Path) -> None:
    """Whatever the ledger holds when the process dies is never asked again; what was in flight is, once a kill."""
    with Judge(lambda number, body: after(0.1, corrupted(body))) as judge:
        out, kills, width, stored, before = tmp_path / "out", 2, 4, 0, 0
        for _ in range(kills):
            process = Forked(*arguments(source, judge, "-o", out, "--concurrency", str(width)))
            deadline = time.monotonic() + 60
            while len(judge.bodies) < before + 10 and time.monotonic() < deadline:
                time.sleep(0.005)
            process.kill()
            process.communicate()
            earlier, stored, before = stored, replies_in(out), len(judge.bodies)
            assert earlier < stored < 40
        done = corrupt(source, out, judge, "--concurrency", str(width))
        assert done.returncode == 0, done.stderr
        assert len(judge.bodies) - before == 40 - stored
        asked = Counter(json.dumps(body["messages"]) for body in judge.bodies)
        assert len(asked) == 40
        assert sum(count - 1 for count in asked.values()) <= kills * width
        judge.script = good
        assert corrupt(source, tmp_path / "unbroken", judge).returncode == 0
    assert data_digests(out) == data_digests(tmp_path / "unbroken")
    assert called("verify", out).returncode == 0


def test_ctrl_c_while_waiting_stops_at_once_and_keeps_what_was_paid(source: Path, tmp_path: Path) -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        return corrupted(body) if number < 10 else fail(503, "Retry-After: 100")

    with Judge(script) as judge:
        out = tmp_path / "out"
        process = start(*arguments(source, judge, "-o", out, "--concurrency", "4"))
        while len(judge.bodies) < 14:
            time.sleep(0.01)
        started = time.monotonic()
        process.terminate()
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 75, output
        assert time.monotonic() - started < 3  # of which the interpreter's end takes a part
        assert replies_in(out) == 10


def test_the_batch_api_makes_the_same_data_at_half_the_price(source: Path, tmp_path: Path) -> None:
    def answer(line: dict[str, Any]) -> dict[str, Any]:
        body = completion(corrupted(line["body"]), line["body"])
        return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}}

    server = BatchServer(answer, polls=1)
    prices = ("--price-in", "10", "--price-out", "10")
    with Judge(good, other=server) as judge:
        through = corrupt(source, tmp_path / "batch", judge, "--batch-api", *prices)
        assert through.returncode == 0, through.stderr
        assert judge.bodies == []
        assert [len(batch) for batch in server.created] == [40]
        plain = corrupt(source, tmp_path / "plain", judge, *prices)
    assert "$0.0100" in through.stderr
    assert "$0.0200" in plain.stderr
    assert data_digests(tmp_path / "batch") == data_digests(tmp_path / "plain")


def test_the_same_requests_can_be_answered_as_files(source: Path, tmp_path: Path) -> None:
    """As `vllm run-batch` would: requests in, one line of result each, in its own order."""
    command = ("corrupt", "-i", source, "-o", tmp_path / "files", "--judge", MODEL, "--batch-files")
    stopped = called(*command)
    assert stopped.returncode == 75
    (requests,) = (tmp_path / "files/.prefgen/batches").iterdir()
    assert f"-i {requests} -o" in stopped.stderr.replace("\n", "")
    asked = [json.loads(line) for line in requests.read_text().splitlines()]
    made = [
        {
            "custom_id": line["custom_id"],
            "response": {"status_code": 200, "body": completion(corrupted(line["body"]), line["body"])},
        }
        for line in reversed(asked)
    ]
    requests.with_suffix(".results.jsonl").write_text("\n".join(map(json.dumps, made)))
    done = called(*command)
    assert done.returncode == 0, done.stderr
    with Judge(good) as judge:
        corrupt(source, tmp_path / "plain", judge)
    assert data_digests(tmp_path / "files") == data_digests(tmp_path / "plain")


def test_prompts_are_exported_and_those_of_the_user_are_kept(tmp_path: Path) -> None:
    listed = called("prompts", "list").stdout
    assert {line.split()[0] for line in listed.splitlines()} == {*prompts.NAMES}
    called("prompts", "export", tmp_path)
    (tmp_path / "rank.txt").write_text("mine")
    again = called("prompts", "export", tmp_path)
    assert again.returncode == 0
    assert "rank.txt is there already" in again.stderr
    assert (tmp_path / "rank.txt").read_text() == "mine"
    assert prompts.load("corrupt", tmp_path / "corrupt.txt").text == prompts.load("corrupt").text
