"""Several writers of one run directory: who may, and what they make of it together."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prefgen.errors import CorruptRun, Locked, UsageError
from prefgen.records import Pair
from prefgen.rundir import shards
from prefgen.rundir.layout import Layout
from prefgen.rundir.shards import RunDirectory
from prefgen.rundir.verify import verify
from prefgen.rundir.writers import Part
from tests.handmade import PROVENANCE, card, finished_run, outcomes, pair, plan, work_through
from tests.rundir.test_shards import Died, DyingOs, data_of, worker


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return data_of(finished_run(tmp_path_factory.mktemp("unbroken") / "out"))


def fill(out: Path, part: Part, made: Callable[[Path], str] = card) -> bool:
    """Fill a part as the command line does; whether this one found nothing missing."""
    with RunDirectory.open(out, plan(), part) as run:
        for shard in run.pending():
            run.commit(shard, outcomes(run.plan.shards[shard]), PROVENANCE)
        if run.remaining():
            return False
        run.finalize(made)
    return True


def otherwise(rows: range, number: int) -> list[Pair]:
    """What another attempt at these rows might have given."""
    return [pair(row, rejected=f"A red car drives by {number} times.", spans=(), finish=(), cuts=()) for row in rows]


@pytest.mark.parametrize("text", ["2/2", "0/0", "-1/2", "1", "a/b", "1/2/3", "/2"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no part of a run"):
        Part.parse(text)


def test_parts_hold_every_shard_once() -> None:
    parts = [Part.parse(f"{index}/3") for index in range(3)]
    assert [[part.holds(shard) for part in parts].count(True) for shard in range(10)] == [1] * 10


@pytest.mark.parametrize(("first", "second"), [("0/2", "0/2"), ("0/1", "1/2"), ("1/2", "0/1"), ("0/2", "1/3")])
def test_writers_whose_shards_overlap_are_refused(tmp_path: Path, first: str, second: str) -> None:
    here = RunDirectory.open(tmp_path, plan(), Part.parse(first))
    with here, pytest.raises(Locked, match=r"process \d+ on .*--shard i/n"):
        RunDirectory.open(tmp_path, plan(), Part.parse(second))
    RunDirectory.open(tmp_path, plan(), Part.parse(second)).close()


def test_a_dead_writer_is_no_obstacle_whatever_part_it_had(tmp_path: Path) -> None:
    with worker(tmp_path, 0) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        process.kill()
    with RunDirectory.open(tmp_path, plan(), Part(1, 3)):
        assert sorted(path.name for path in Layout(tmp_path).writers.iterdir()) == ["1-of-3.json", "1-of-3.lock"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_last_part_makes_the_data_set(tmp_path: Path, unbroken: dict[str, str], order: tuple[int, ...]) -> None:
    assert [fill(tmp_path, Part(index, 3)) for index in order] == [False, False, True]
    assert data_of(tmp_path) == unbroken
    assert not verify(tmp_path).problems


def test_parts_at_once_make_it_once(tmp_path: Path, unbroken: dict[str, str]) -> None:
    """All come, fill and finish together: one plan, every shard once, one card."""
    for attempt in range(10):
        out = tmp_path / str(attempt)
        cards: list[Path] = []
        barrier = threading.Barrier(4)

        def made(out: Path, cards: list[Path] = cards) -> str:
            cards.append(out)
            return card(out)

        def take_part(index: int, out: Path = out, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return fill(out, Part(index, 4), made)

        with ThreadPoolExecutor(4) as threads:
            assert any(threads.map(take_part, range(4)))
        assert len(cards) == 1
        assert data_of(out) == unbroken
        assert not verify(out).problems


def test_one_of_two_that_begin_with_other_settings_is_refused(tmp_path: Path) -> None:
    def begin(index: int) -> str:
        try:
            RunDirectory.open(tmp_path, plan(seed=index), Part(index, 2)).close()
        except CorruptRun as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as threads:
        refused = sorted(threads.map(begin, range(2)))
    assert refused[0] == ""
    assert "seed: " in refused[1]


def test_a_shard_that_two_made_counts_once(tmp_path: Path) -> None:
    """The second attempt differs, as in bf16 on another machine: nothing of it may be left."""
    planned = plan(16, 4)
    RunDirectory.open(tmp_path, planned).close()
    for shard, positions in enumerate(planned.shards):

        def attempt(number: int, shard: int = shard, rows: range = positions) -> None:
            RunDirectory.join(tmp_path, planned).commit(shard, otherwise(rows, number), PROVENANCE)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(attempt, range(4)))
    found = verify(tmp_path)
    assert not found.problems
    assert (found.pairs, found.pending) == (16, 0)
    for part in Layout(tmp_path).parquet_files():
        assert len(set(pq.read_table(part)["rejected_response"].to_pylist())) == 1
    with RunDirectory.open(tmp_path, planned) as run:
        run.finalize(card)
    assert not verify(tmp_path).problems
    assert not [*Layout(tmp_path).temporary.iterdir()]


def test_who_comes_late_leaves_a_finished_run_alone(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, plan()).close()
    late = RunDirectory.join(tmp_path, plan())
    finished_run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    late.commit(0, otherwise(range(4), 9), PROVENANCE)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_part_killed_at_any_system_call_is_made_up_for(
    tmp_path: Path, unbroken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor = DyingOs(float("inf"))
    monkeypatch.setattr(shards, "os", survivor)
    fill(tmp_path / "survivor", Part(1, 2))
    for lives in range(1, survivor.calls + 1, 3):
        out = tmp_path / str(lives)
        monkeypatch.setattr(shards, "os", DyingOs(lives))
        with pytest.raises(Died):
            fill(out, Part(1, 2))
        monkeypatch.setattr(shards, "os", DyingOs(float("inf")))
        fill(out, Part(0, 2))
        if not Layout(out).manifest_digest.exists():
            with RunDirectory.open(out, plan()) as run:
                work_through(run)
        assert data_of(out) == unbroken, f"died at system call {lives}"


def test_a_run_that_is_being_finished_lets_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefgen.rundir.writers._PATIENCE_S", 0.1)
    said: list[str] = []

    def slow(out: Path) -> str:
        def come() -> None:
            with pytest.raises(Locked) as caught:
                RunDirectory.open(out, plan(), Part(1, 2))
            said.append(str(caught.value))

        with ThreadPoolExecutor(1) as threads:
            threads.submit(come).result()
        return card(out)

    with RunDirectory.open(tmp_path, plan()) as run:
        for shard in run.pending():
            run.commit(shard, outcomes(run.plan.shards[shard]), PROVENANCE)
        run.finalize(slow)
    assert "is being finished by process" in said[0]


def test_who_joins_must_mean_the_same_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no prefgen run"):
        RunDirectory.join(tmp_path)
    RunDirectory.open(tmp_path, plan()).close()
    with pytest.raises(CorruptRun, match="seed: 7 -> 8"):
        RunDirectory.join(tmp_path, plan(seed=8))
    assert json.loads(Layout(tmp_path).plan.read_text())["rows"] == 18
