"""The Batch API against a server that keeps files and batches, dies in the middle and lets batches expire."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prefgen.engines.chat.batch import Batches, BatchLimits, Lines
from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.chat.ledger import Ledger
from prefgen.engines.chat.services import BatchApi
from prefgen.errors import BudgetReached, ModelUnreachable, RowError, UsageError
from prefgen.records import Turn
from prefgen.requests import Chat, Message, Reply, Sampling
from tests.judge import MODEL, Judge, Line, completion


class Killed(Exception):
    """The process dies here."""


@dataclass
class BatchServer:
    """As much of the Files and Batches API as there is to use.

    Attributes:
        answer: the line of a result for the line of a request; None where the batch expired before it.
        status: how batches end. polls: looks at a batch until it ends.
        created: contents of the batches, in order.
        says_more: whether it says if a list goes on; it gives the whole list however it is asked.
    """

    answer: Callable[[dict[str, Any]], dict[str, Any] | None]
    status: str = "completed"
    polls: int = 2
    says_more: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: list[list[dict[str, Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def __call__(self, line: Line) -> None:
        found = re.fullmatch(r"/v1/(files|batches)(?:/(\w+))?(/content)?(?:\?.*)?", line.path)
        assert found, line.path
        kind, name, content = found.groups()
        if kind == "files" and line.method == "POST":
            boundary = line.headers["content-type"].partition("boundary=")[2].encode()
            (part,) = (piece for piece in line.content.split(b"--" + boundary) if b'name="file"' in piece)
            name = f"file{len(self.files)}"
            self.files[name] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            await line.send_json(200, {"id": name, "object": "file", "purpose": "batch"})
        elif content:
            await line.send(200, self.files[name])
        elif line.method == "POST":
            name = f"batch{len(self.batches)}"
            asked = [json.loads(text) for text in self.files[line.body["input_file_id"]].splitlines()]
            self.created.append(asked)
            self.batches[name] = {
                "id": name,
                "object": "batch",
                "status": "in_progress",
                "metadata": line.body["metadata"],
                "asked": asked,
                "polls": 0,
            }
            await line.send_json(200, self.shown(name))
        elif name:
            batch = self.batches[name]
            batch["polls"] += 1
            if batch["polls"] >= self.polls and batch["status"] == "in_progress":
                self.finish(batch)
            await line.send_json(200, self.shown(name))
        else:
            shown = [self.shown(name) for name in self.batches]
            await line.send_json(
                200, {"object": "list", "data": shown} | ({"has_more": False} if self.says_more else {})
            )

    def finish(self, batch: dict[str, Any]) -> None:
        batch["status"] = self.status
        if self.status == "failed":
            batch["errors"] = {"object": "list", "data": [{"message": "model not found", "code": "x"}]}
            return
        results = [self.answer(line) for line in reversed(batch["asked"])]  # in no order
        for kind, wanted in (("output", True), ("error", False)):
            lines = [r for r in results if r and ((r["response"] or {}).get("status_code") == 200) is wanted]
            name = f"{kind}{batch['id']}"
            self.files[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            batch[f"{kind}_file_id"] = name if lines else None

    def shown(self, name: str) -> dict[str, Any]:
        return {key: value for key, value in self.batches[name].items() if key not in ("asked", "polls")}


def result(line: dict[str, Any], status: int = 200, **changes: Any) -> dict[str, Any]:
    text = f"answer to {line['body']['messages'][0]['content']}"
    body = completion(text, line["body"], **changes) if status == 200 else {"error": {"message": "no"}}
    return {"id": "r", "custom_id": line["custom_id"], "response": {"status_code": status, "body": body}, "error": None}


def ask(number: int) -> Chat:
    return Chat((Turn("user", (f"question {number}",)),), (), "", Sampling(1.0, 1.0, 50), number)


LIMITS = BatchLimits()


class Run:
    """A run that can die and be started again on the same folder."""

    def __init__(self, judge: Judge, folder: Path, limits: BatchLimits = LIMITS, **options: Any) -> None:
        self.config = JudgeConfig(MODEL, judge.url, batch_api=True, price_in=2.0, price_out=2.0, **options)
        self.folder, self.limits, self.said = folder, limits, list[str]()
        self.check: Callable[[], None] = lambda: None

    @contextmanager
    def open(self) -> Iterator[tuple[Batches, Ledger]]:
        ledger = Ledger(self.folder / "ledger.sqlite")
        try:
            with closing(BatchApi(self.config, lambda: self.check(), self.said.append, (0.005, 0.01))) as service:
                yield Batches(self.config, ledger, self.folder / "batches", service, self.limits), ledger
        finally:
            ledger.close()

    def answers(self, count: int) -> list[Reply | RowError]:
        """All rounds until there is an answer to each."""
        with self.open() as (batches, _):
            batches.run()
            while True:
                lines = batches.lines()
                replies = asked(lines, count)
                if not lines.written and not lines.short:
                    return replies
                batches.run(lines)

    def bill(self) -> tuple[int, int, int, float]:
        with self.open() as (_, ledger):
            bill = ledger.bill()
            return bill.calls, bill.answered, bill.doubtful, round(bill.dollars * 1e6)


def asked(lines: Lines, count: int) -> list[Reply | RowError]:
    for number in range(count):
        lines.submit(number, ask(number))
    replies = dict(lines.collect())
    return [replies[number] for number in range(count)]


def texts(replies: list[Reply | RowError]) -> list[str]:
    return [reply.text if isinstance(reply, Message) else str(reply) for reply in replies]


@contextmanager
def serving(server: BatchServer) -> Iterator[Judge]:
    with Judge(lambda *_: "never", other=server) as judge:
        yield judge
        assert judge.bodies == []


EXPECTED = [f"answer to question {number}" for number in range(10)]


def test_all_requests_go_in_one_batch_and_their_answers_are_kept_by_key(tmp_path: Path) -> None:
    server = BatchServer(result)
    with serving(server) as judge:
        run = Run(judge, tmp_path)
        assert texts(run.answers(10)) == EXPECTED
        assert [len(batch) for batch in server.created] == [10]
        assert run.bill() == (10, 10, 0, 10 * 50)  # at half of 2 dollars a million
        assert texts(run.answers(10)) == EXPECTED
        assert len(server.created) == 1  # a warm re-run sends nothing
        assert list((tmp_path / "batches").iterdir()) == []
    line = server.created[0][0]
    assert line.keys() == {"custom_id", "method", "url", "body"}
    assert (line["method"], line["url"], line["body"]["model"]) == ("POST", "/v1/chat/completions", MODEL)


def test_a_server_without_pages_is_not_listed_for_ever(tmp_path: Path) -> None:
    server = BatchServer(result, says_more=False)
    with serving(server) as judge:
        assert texts(Run(judge, tmp_path, BatchLimits(4, 10**6)).answers(10)) == EXPECTED
    assert sorted(len(batch) for batch in server.created) == [2, 4, 4]


def test_batches_are_split_by_requests_and_by_bytes(tmp_path: Path) -> None:
    for name, limits, most in (
        ("requests", BatchLimits(4, 10**6), 4),
        ("bytes", BatchLimits(100, 700), 3),
    ):
        server = BatchServer(result)
        with serving(server) as judge:
            (tmp_path / name).mkdir()
            assert texts(Run(judge, tmp_path / name, limits).answers(10)) == EXPECTED
        sizes = [len(batch) for batch in server.created]
        assert sum(sizes) == 10
        assert max(sizes) <= most
        assert all(len(content) <= limits.bytes for at, content in server.files.items() if at.startswith("file"))


def test_what_an_expired_batch_has_finished_is_kept_and_the_rest_asked_again(tmp_path: Path) -> None:
    server = BatchServer(lambda line: result(line) if line["body"]["seed"] < 6 or len(server.created) > 1 else None)
    server.status = "expired"
    with serving(server) as judge:
        run = Run(judge, tmp_path)
        assert texts(run.answers(10)) == EXPECTED
        assert [len(batch) for batch in server.created] == [10, 4]
        assert run.bill() == (14, 10, 0, 10 * 50)  # what expired was not charged


@pytest.mark.parametrize("moment", ["before the id is stored", "while polling", "before anything is sent"])
def test_a_batch_is_not_submitted_twice_whenever_the_process_dies(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    server = BatchServer(result, polls=5)
    with serving(server) as judge:
        run = Run(judge, tmp_path)
        with monkeypatch.context() as patched:
            if moment == "before the id is stored":
                stored = Ledger.put_batch

                def put(self: Ledger, file: str, tag: str, batch: str | None = None, *, done: bool = False) -> None:
                    (stored if batch is None else die)(self, file, tag)

                patched.setattr(Ledger, "put_batch", put)
            elif moment == "while polling":
                run.check = die
            else:
                patched.setattr(BatchApi, "submit", die)
            with pytest.raises(Killed):
                run.answers(10)
        run.check = lambda: None
        assert texts(run.answers(10)) == EXPECTED
        assert [len(batch) for batch in server.created] == [10]
        assert run.bill()[:3] == (10, 10, 0)


def test_errors_of_single_requests_have_their_reasons_and_are_not_repeated(tmp_path: Path) -> None:
    def answer(line: dict[str, Any]) -> dict[str, Any]:
        special = {1: 400, 2: 500}.get(line["body"]["seed"])
        return result(line, special or 200, **({"model": "other"} if line["body"]["seed"] == 3 else {}))

    server = BatchServer(answer)
    with serving(server) as judge:
        replies = Run(judge, tmp_path).answers(5)
        assert len(server.created) == 1
    reasons = [reply.reason if isinstance(reply, RowError) else "" for reply in replies]
    assert reasons == ["", "API_400", "API_5XX", "REPLY_MODEL", ""]


def test_strangers_and_duplicates_among_the_results_are_left_out(tmp_path: Path) -> None:
    class Babbling(BatchServer):
        def finish(self, batch: dict[str, Any]) -> None:
            super().finish(batch)
            name = batch["output_file_id"]
            stranger = json.dumps(result({**batch["asked"][0], "custom_id": "0" * 64})).encode() + b"\n"
            self.files[name] = self.files[name] * 2 + stranger

    with serving(Babbling(result)) as judge:
        run = Run(judge, tmp_path)
        assert texts(run.answers(10)) == EXPECTED
        assert run.bill() == (10, 10, 0, 500)


def test_a_batch_that_is_refused_stops_the_run_with_its_words(tmp_path: Path) -> None:
    with serving(BatchServer(result, status="failed")) as judge, pytest.raises(UsageError, match="model not found"):
        Run(judge, tmp_path).answers(3)


def test_batches_without_any_answer_stop_the_run(tmp_path: Path) -> None:
    server = BatchServer(lambda _: None, status="expired")
    with serving(server) as judge, pytest.raises(ModelUnreachable, match="without a single answer"):
        Run(judge, tmp_path).answers(3)
    assert len(server.created) == 1


def test_a_batch_fits_into_the_budget(tmp_path: Path) -> None:
    bound = (len("question 1") + 16 + 64 + 50) * 1e-6
    server = BatchServer(lambda line: result(line, usage={"prompt_tokens": 90, "completion_tokens": 50}))
    with serving(server) as judge:
        run = Run(judge, tmp_path, max_cost=4.5 * bound)
        with pytest.raises(BudgetReached):
            run.answers(10)
        assert [len(batch) for batch in server.created] == [4]
        assert run.bill()[3] <= 4.5 * bound * 1e6
        run = Run(judge, tmp_path, max_cost=1.0)
        assert texts(run.answers(10)) == EXPECTED
        assert [len(batch) for batch in server.created] == [4, 6]
