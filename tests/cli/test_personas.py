"""Judges as met in the field: every usable one gives all pairs, no other costs more than 8 calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.cli.runs import called, write_input
from tests.judge import MODEL, Act, Judge, Script, asked_about, corrupted, fail, good, raw, say

ROWS = 12
COMMANDS = {"corrupt": ("corrupt",), "revise": ("revise", "-m", "none", "--engine", "fake")}
PRICES = ("--price-in", "1", "--price-out", "1")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_input(tmp_path_factory.mktemp("input"), ROWS)


def rewritten(body: dict[str, Any]) -> str:
    return good(0, body)


def prose(body: dict[str, Any]) -> str:
    said = json.loads(rewritten(body))
    return str(said["answer"] if "answer" in said else said["sentences"][0]["revised"])


def thinks(number: int, body: dict[str, Any]) -> str:
    return f"<think>A draft: {rewritten(body)}? Yes.</think>\n\n{rewritten(body)}"


def thinks_from_the_prompt_on(number: int, body: dict[str, Any]) -> str:
    return f"Let me see.</think>\n```json\n{rewritten(body)}\n```"


def talks(number: int, body: dict[str, Any]) -> str:
    return f"Here is what you asked for:\n{rewritten(body)}\nI hope that this helps!"


def ignores_formats(number: int, body: dict[str, Any]) -> str:
    return prose(body)


def refuses_formats(number: int, body: dict[str, Any]) -> str | Act:
    if "response_format" in body:
        return fail(400, message="response_format is not supported by this model")
    return prose(body)


def wants_objects(number: int, body: dict[str, Any]) -> str | Act:
    if body.get("response_format", {}).get("type") == "json_schema":
        return fail(422, message="response_format: json_schema is unknown")
    return rewritten(body)


def ignores_schemas(number: int, body: dict[str, Any]) -> str:
    return rewritten(body) if body.get("response_format", {}).get("type") == "json_object" else "Hm."


def gives_parts(number: int, body: dict[str, Any]) -> Act:
    parts: Any = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": rewritten(body)}]
    return say(parts)


def gives_no_finish(number: int, body: dict[str, Any]) -> Act:
    return say(rewritten(body), finish_reason=None)


USABLE: list[tuple[Script, int]] = [
    (good, 0),
    (thinks, 0),
    (thinks_from_the_prompt_on, 0),
    (talks, 0),
    (gives_parts, 0),
    (gives_no_finish, 0),
    (wants_objects, 1),
    (ignores_schemas, 2),
    (refuses_formats, 3),
    (ignores_formats, 4),
]


def run(source: Path, out: Path, judge: Judge, *options: str, command: str = "corrupt") -> Any:
    asked = ("--judge", MODEL, "--judge-url", judge.url, *PRICES)
    return called(*COMMANDS[command], "-i", source, "-o", out, *asked, "--json", *options)


@pytest.mark.parametrize(("script", "wasted"), USABLE, ids=[script.__name__ for script, _ in USABLE])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_usable_judge_gives_all_pairs(
    command: str, script: Script, wasted: int, source: Path, tmp_path: Path
) -> None:
    with Judge(script) as judge:
        done = run(source, tmp_path / "out", judge, command=command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == ROWS
    assert len(judge.bodies) == ROWS + wasted
    assert ("judge: it " in done.stderr) == (wasted > 0)


def unchanged(number: int, body: dict[str, Any]) -> str:
    return json.dumps({"changes": [], "answer": asked_about(body)[1]})


def empty(number: int, body: dict[str, Any]) -> Act:
    return say("")


def refusing(number: int, body: dict[str, Any]) -> str:
    return "I'm sorry, but I can't help with that."


def cut_off_while_thinking(number: int, body: dict[str, Any]) -> Act:
    return say("<think>Let me see whether", finish_reason="length")


def gibberish(number: int, body: dict[str, Any]) -> str:
    return "ok"


def error_with_status_200(number: int, body: dict[str, Any]) -> Act:
    return raw(json.dumps({"error": {"message": "quota of the upstream", "code": 402}}).encode())


def no_choice(number: int, body: dict[str, Any]) -> Act:
    return raw(b'{"choices": []}')


UNUSABLE: list[tuple[Script, int, str]] = [
    (unchanged, 9, "REPLY_NOOP"),
    (empty, 9, "REPLY_EMPTY"),
    (refusing, 9, "the latest reply: I'm sorry, but I can't help"),
    (cut_off_while_thinking, 9, "cut off in its reasoning"),
    (gibberish, 9, "the latest reply: ok"),
    (error_with_status_200, 4, "quota of the upstream"),
    (no_choice, 5, "without a choice"),
]


@pytest.mark.parametrize(("script", "code", "words"), UNUSABLE, ids=[script.__name__ for script, _, _ in UNUSABLE])
@pytest.mark.parametrize("width", ["1", "64"])
def test_no_useless_judge_costs_more_than_a_few_calls(
    script: Script, code: int, words: str, width: str, source: Path, tmp_path: Path
) -> None:
    with Judge(script) as judge:
        done = run(source, tmp_path / "out", judge, "--concurrency", width)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert len(judge.bodies) <= 8


def test_a_judge_that_was_mended_goes_on_elsewhere_and_nothing_is_bought_twice(source: Path, tmp_path: Path) -> None:
    with Judge(refusing) as judge:
        assert run(source, tmp_path / "out", judge).returncode == 9
        paid = len(judge.bodies)
    with Judge(good) as judge:
        done = run(source, tmp_path / "out", judge)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["pairs"], figures["dropped"]) == (ROWS - paid, {"REPLY_REFUSAL": paid})
    assert len(judge.bodies) == ROWS - paid


def test_keep_going_asks_to_the_end(source: Path, tmp_path: Path) -> None:
    with Judge(refusing) as judge:
        done = run(source, tmp_path / "out", judge, "--keep-going")
    assert done.returncode == 3
    assert len(judge.bodies) == ROWS


def test_how_a_reply_was_read_is_recorded(source: Path, tmp_path: Path) -> None:
    with Judge(thinks) as judge:
        assert run(source, tmp_path / "out", judge).returncode == 0
    (path,) = (tmp_path / "out").rglob("*.parquet")
    for meta in pyarrow.parquet.read_table(path, columns=["meta"])["meta"].to_pylist():
        assert json.loads(meta)["record"] == {"reply_read": ["reasoning"]}


def test_reasoning_is_asked_for_paid_for_and_has_room(source: Path, tmp_path: Path) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 3000, "completion_tokens_details": {"reasoning_tokens": 2900}}
    with Judge(lambda number, body: say(corrupted(body), usage=usage)) as judge:
        done = run(source, tmp_path / "out", judge, "--reasoning-effort", "low")
    assert done.returncode == 0, done.stderr
    assert {body["reasoning_effort"] for body in judge.bodies} == {"low"}
    assert {body["max_tokens"] for body in judge.bodies} == {1024 + 4096}
    assert "36,000 generated" in done.stderr


def test_a_password_in_an_address_is_refused_and_not_repeated(source: Path, tmp_path: Path) -> None:
    for options in (["corrupt", "--judge-url"], ["bdhs", "-m", "m", "--engine", "openai", "--base-url"]):
        command, *rest = options
        done = called(command, "-i", source, "-o", tmp_path / "out", *rest, "http://user:hunter2@127.0.0.1:1/v1")
        assert done.returncode == 2
        assert "hunter2" not in done.stdout + done.stderr
        assert not (tmp_path / "out").exists()
