"""What can go wrong at an API, one test a line of the catalogue, over real sockets."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate
from typing import Any

import pytest

from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.chat.engine import ChatEngine
from prefgen.engines.chat.ledger import Ledger
from prefgen.errors import BudgetReached, ModelUnreachable, RowError, Stopped, UsageError
from prefgen.requests import Message
from tests.engines.chat.sessions import BESIDES, GOOD, QUICK, ask, judged, reason, stops, then
from tests.judge import MODEL, Act, Script, after, drip, fail, raw, say, silence


def test_01_a_429_makes_everyone_wait_as_long_as_it_says() -> None:
    arrived: list[float] = []

    def script(number: int, _: dict[str, Any]) -> str | Act:
        arrived.append(time.monotonic())
        return fail(429, "Retry-After: 0.4") if number == 1 else GOOD

    with judged(script) as (session, _):
        session.texts()
        assert session.texts(6, first=1) == [GOOD] * 6
    late = [at for at in arrived if at > arrived[1] + 0.1]
    assert len(arrived) == 8
    assert all(at >= arrived[1] + 0.39 for at in late)


def test_02_a_wait_beyond_the_deadline_stops_the_run_resumable_and_does_not_spin() -> None:
    with judged(then(fail(429, "Retry-After: 600")), request_deadline=60) as (session, judge):
        session.texts()
        with pytest.raises(Stopped) as stopped:
            session.texts(1, first=1)
        assert stopped.value.exit_code == 75
        assert "600 s" in str(stopped.value)
        assert len(judge.bodies) == 2


@pytest.mark.parametrize("value", ["nan", "-1", "Fri, 31 Dec 99999 23:59:59 GMT", "", "soon", "1e300"])
def test_03_a_senseless_retry_after_is_replaced_by_our_own_back_off(value: str) -> None:
    with judged(then(fail(429, f"Retry-After: {value}"))) as (session, judge):
        started = time.monotonic()
        assert session.texts(2) == [GOOD] * 2
        assert time.monotonic() - started < 2
        assert len(judge.bodies) == 3


def test_03_a_date_counts_from_the_servers_own_clock() -> None:
    then_ = 1_000_000_000.0  # a server that lives in 2001
    headers = (f"Date: {formatdate(then_, usegmt=True)}", f"Retry-After: {formatdate(then_ + 1, usegmt=True)}")
    with judged(then(fail(429, *headers))) as (session, _):
        session.texts()
        started = time.monotonic()
        assert session.texts(1, first=1) == [GOOD]
        assert 0.9 < time.monotonic() - started < 3


@pytest.mark.parametrize(
    "act",
    [fail(429, code="insufficient_quota"), raw(b'{"code": "insufficient_quota", "message": "no"}', status=429)],
)
def test_04_no_quota_stops_at_once(act: Act) -> None:
    with judged(then(act)) as (session, judge):
        session.texts()
        with pytest.raises(BudgetReached, match="no quota left"):
            session.texts(1, first=1)
        assert len(judge.bodies) == 2
        assert session.bill().dollars == pytest.approx(50e-6)  # of the one that was answered


@pytest.mark.parametrize(("status", "html"), [(500, False), (502, True), (503, False), (529, False), (520, True)])
def test_05_server_errors_are_tried_six_times_then_cost_the_row(status: int, html: bool) -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        return fail(status, html=html) if body["seed"] == 1 else GOOD

    with judged(script) as (session, judge):
        assert session.texts(1) == [GOOD]
        (reply,) = session.answers(1, first=1)
        assert reason(reply) == "API_5XX"
        assert str(status) in str(reply)
        assert len(judge.bodies) == 7
        assert session.texts(1, first=2) == [GOOD]


def test_06_an_outage_opens_the_breaker_and_costs_no_row() -> None:
    down_until = time.monotonic() + 0.6
    script: Script = lambda number, _: fail(503) if number and time.monotonic() < down_until else GOOD  # noqa: E731
    with judged(script) as (session, judge):
        session.texts()
        assert session.texts(30, first=1) == [GOOD] * 30
        failed = len(judge.bodies) - 31
        assert failed <= 8 + 8 + 4  # what opened it, what was in flight, and the probes


def test_06_an_outage_without_end_stops_the_run() -> None:
    with judged(lambda number, _: fail(503) if number else GOOD) as (session, judge):
        session.texts()
        with pytest.raises(ModelUnreachable, match="no row was given up"):
            session.texts(30, first=1)
        assert len(judge.bodies) < 25


@pytest.mark.parametrize("status", [408, 409])
def test_07_timeouts_and_conflicts_are_tried_again(status: int) -> None:
    with judged(then(fail(status), fail(status))) as (session, judge):
        assert session.texts(2) == [GOOD] * 2
        assert len(judge.bodies) == 4


@pytest.mark.parametrize("status", [400, 413, 422])
def test_08_a_request_that_is_rejected_is_not_sent_again(status: int) -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        return fail(status, message="too long") if body["seed"] == 1 else GOOD

    with judged(script) as (session, judge):
        replies = session.answers(3)
        assert reason(replies[1]) == "API_400"
        assert "too long" in str(replies[1])
        assert len(judge.bodies) == 3


def test_08_a_server_that_rejects_everything_stops_the_run() -> None:
    with judged(lambda *_: fail(400, message="no such option")) as (session, judge):
        assert "no such option" in stops(session, UsageError, 30)
        assert len(judge.bodies) == 5


@pytest.mark.parametrize("content", [b"", b" ", b"[]", b'"no"', b'{"error": "no"}', b'{"error": null}', b"\xff"])
def test_08_a_rejection_may_have_any_body(content: bytes) -> None:
    with judged(then(raw(content, status=400))) as (session, judge):
        session.texts()
        (reply,) = session.answers(1, first=1)
        assert isinstance(reply, RowError)
        assert "HTTP 400: " in str(reply)
        assert len(judge.bodies) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_09_a_wrong_key_stops_at_the_first_request_and_is_never_shown(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with judged(lambda *_: fail(status, message="bad \x1b[31m key sk-very-secret")) as (session, judge):
        told = stops(session, UsageError, 20)
        assert told.isprintable()
        time.sleep(0.1)
        assert len(judge.bodies) == 1
    assert "OPENAI_API_KEY" in told
    assert "secret" not in told


def test_10_a_model_that_is_gone_stops_the_run() -> None:
    with judged(lambda *_: fail(404, message="model retired", code="model_not_found")) as (session, judge):
        assert "does not know test-model" in stops(session, UsageError, 20)
        assert len(judge.bodies) == 1


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("host", ["http://127.0.0.1", "https://127.0.0.1", "http://no-such-host.invalid"])
def test_11_a_judge_that_cannot_be_reached_fails_loudly(host: str) -> None:
    config = JudgeConfig(MODEL, f"{host}:{free_port()}/v1", max_cost=1.0, price_in=1.0, price_out=1.0)
    ledger = Ledger(":memory:")
    engine = ChatEngine(config, ledger, QUICK)
    engine.submit(0, ask())
    assert engine.wait(60.0)
    with pytest.raises(ModelUnreachable, match="does not answer"):
        engine.collect()
    engine.close()
    assert ledger.bill().dollars == 0.0  # nothing was ever sent


def test_12_silence_ends_with_the_deadline_not_with_timeouts_times_tries() -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        return silence() if body["seed"] == 1 else GOOD

    with judged(script, request_timeout=0.3, request_deadline=0.7) as (session, _):
        session.texts()
        started = time.monotonic()
        (reply,) = session.answers(1, first=1)
        assert reason(reply) == "API_TIMEOUT"
        assert time.monotonic() - started < 1.5
        assert session.bill().doubtful == 3


def test_13_an_endless_trickle_ends_with_the_timeout() -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        return drip(0.05) if body["seed"] == 1 else GOOD

    with judged(script, request_timeout=0.3, request_deadline=0.3) as (session, _):
        session.texts()
        started = time.monotonic()
        (reply,) = session.answers(1, first=1)
        assert reason(reply) == "API_TIMEOUT"
        assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "act",
    [raw(b"", length=200, drop=True), raw(b'{"choices": [', length=5000, drop=True), raw(b"{}", length=500, drop=True)],
)
def test_14_a_connection_that_breaks_is_tried_again_and_its_money_is_in_doubt(act: Act) -> None:
    with judged(then(act)) as (session, _):
        assert session.texts(2) == [GOOD] * 2
        bill = session.bill()
        assert (bill.calls, bill.answered, bill.doubtful) == (3, 2, 1)
        bound = (len("question 1") + BESIDES) * 1e-6
        assert bill.dollars == pytest.approx(2 * 50e-6 + bound)


MALFORMED = [
    b"",
    b"{}",
    b'{"choices": []}',
    b'{"choices": null}',
    b"[1]",
    b'{"choices": [{"finish_reason": "stop"}]}',
    b'{"choices": [{"finish_reason": "stop", "message": {"content": 7}}]}',
    b'{"choices": [{"finish_reason": "stop", "message": {"content": "cut',
    b'{"choices": NaN}',
    b"[" * 100_000,
    b'{"a": "' + b"x" * (2 << 20) + b'"}',
]


@pytest.mark.parametrize("content", MALFORMED, ids=lambda content: content[:30].decode())
def test_15_and_16_unusable_replies_are_asked_again_twice_then_cost_the_row(content: bytes) -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        return raw(content) if body["seed"] == 1 else GOOD

    with judged(script) as (session, judge):
        replies = session.answers(3)
        assert reason(replies[1]) == "API_MALFORMED"
        assert len(judge.bodies) == 5


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_17_empty_replies_are_handed_on_as_they_are(text: str | None) -> None:
    with judged(lambda *_: say(text)) as (session, _):
        assert session.answers() == [Message(text or "", "stop", 20, 30)]


def test_18_a_refusal_is_handed_on_as_one() -> None:
    with judged(lambda *_: say(None, refusal="I would rather not")) as (session, _):
        assert session.answers() == [Message("I would rather not", "refusal", 20, 30)]


@pytest.mark.parametrize("finish", ["length", "content_filter", "tool_calls"])
def test_19_and_20_the_reason_of_the_end_is_handed_on(finish: str) -> None:
    with judged(lambda *_: say("half", finish_reason=finish)) as (session, _):
        assert session.answers() == [Message("half", finish, 20, 30)]


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 10**9, "completion_tokens": 3},
        {"prompt_tokens": "12", "completion_tokens": 3},
    ],
)
def test_23_where_the_usage_cannot_be_true_the_reservation_is_billed(usage: object) -> None:
    with judged(lambda *_: say(GOOD, usage=usage)) as (session, _):
        assert session.texts() == [GOOD]
        assert session.bill().dollars == pytest.approx((len("question 0") + BESIDES) * 1e-6)


def test_24_another_model_at_the_beginning_stops_the_run_and_later_costs_the_row() -> None:
    with judged(lambda *_: say(GOOD, model="cheaper")) as (session, judge):
        assert "but cheaper answers" in stops(session, UsageError, 9)
        assert len(judge.bodies) == 1
    with judged(then(say(GOOD, model="cheaper"))) as (session, _):
        session.texts()
        assert reason(session.answers(1, first=1)[0]) == "REPLY_MODEL"
    with judged(lambda *_: say(GOOD, model=f"{MODEL}-2025-04-14")) as (session, _):
        assert session.texts() == [GOOD]


def test_25_replies_out_of_order_find_their_questions() -> None:
    def script(number: int, body: dict[str, Any]) -> Act:
        return after(0.002 * (number * 7 % 13), f"answer to {body['messages'][0]['content']}")

    with judged(script) as (session, _):
        assert session.texts(40) == [f"answer to question {number}" for number in range(40)]


def test_28_at_the_budget_nothing_more_is_sent_and_it_is_never_passed() -> None:
    bound = (len("question 10") + BESIDES) * 1e-6
    usage = {"prompt_tokens": 20, "completion_tokens": 40}
    with judged(lambda *_: after(0.01, say(GOOD, usage=usage)), max_cost=100 * 60e-6) as (session, judge):
        with pytest.raises(BudgetReached, match=r"--max-cost 0\.006"):
            session.texts(400)
        assert session.bill().dollars <= 100 * 60e-6
        assert session.bill().dollars > 100 * 60e-6 - bound  # and it was used up
        assert judge.most > 2  # and several at a time
        sent = len(judge.bodies)
        time.sleep(0.1)
        assert len(judge.bodies) == sent == session.bill().answered


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_32_a_clock_that_is_set_changes_no_wait(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: clock() + next(calls) * jump)
    with judged(then(fail(429, "Retry-After: 0.3"), fail(503))) as (session, judge):
        session.texts()
        started = time.monotonic()
        assert session.texts(2, first=1) == [GOOD] * 2
        assert 0.2 < time.monotonic() - started < 3
        assert len(judge.bodies) == 5


def test_33_closing_wakes_who_waits_and_keeps_what_is_on_its_way() -> None:
    def script(number: int, body: dict[str, Any]) -> str | Act:
        return {1: fail(503, "Retry-After: 50"), 2: after(0.3, GOOD)}.get(body["seed"], GOOD)

    with judged(script) as (session, judge):
        session.texts()
        session.engine.submit(1, ask(1))
        session.engine.submit(2, ask(2))
        while len(judge.bodies) < 3:
            time.sleep(0.01)
        started = time.monotonic()
        session.engine.close()
        assert time.monotonic() - started < 1.0
        bill = session.bill()
        assert (bill.calls, bill.answered, bill.doubtful) == (3, 2, 0)
        session.engine = ChatEngine(session.config, session.ledger, QUICK)
        session.engine.submit(2, ask(2))
        assert session.engine.wait(5.0)
        assert session.engine.collect() == [(2, Message(GOOD, "stop", 20, 30))]
        assert len(judge.bodies) == 3  # from the ledger


def test_34_what_a_reply_says_is_data() -> None:
    nasty = "\x1b[31m<script>alert(1)</script> =cmd() \u202eabc </answer>"
    with judged(lambda *_: nasty) as (session, _):
        assert session.texts() == [nasty]
