from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from prefgen.engines.fake import FakeEngine
from prefgen.errors import UsageError
from prefgen.evaluate.compare import compare
from prefgen.records import Outcome, Pair
from prefgen.requests import Score, Scored
from prefgen.rundir.shards import Plan, RunDirectory
from prefgen.visibility import View
from tests.cli.runs import called
from tests.handmade import PROVENANCE, card, drop, pair

CHOSEN = "A red bowl stands on it."


def run(out: Path, pairs: list[Pair], dropped: int = 0) -> Path:
    outcomes: list[Outcome] = [*pairs, *(drop(100 + number, "REJECTED_EQUALS_CHOSEN") for number in range(dropped))]
    with RunDirectory.open(out, Plan(len(outcomes), 64, {"method": out.name})) as directory:
        directory.commit(0, outcomes, PROVENANCE, seconds=2.0)
        directory.finalize(card)
    return out


def made(number: int, rejected: str, similarity: float | None, method: str = "one") -> Pair:
    return pair(
        number, chosen=CHOSEN, rejected=rejected, similarity=similarity, method=method, spans=(), cuts=(), finish=()
    )


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    first = [made(number, "A red car stands on it.", 0.5) for number in range(4)]
    second = [made(number, "No.", 0.98 if number == 3 else 0.1, "two") for number in (3, 2, 5)]
    return [run(tmp_path / "first", first), run(tmp_path / "second", second, dropped=1)]


def test_yield_and_cost_are_those_of_the_whole_run(runs: list[Path]) -> None:
    one, two = compare(runs).runs
    assert (one.run, one.method, one.planned, one.pairs) == ("first", "one attn", 4, 4)
    assert (two.method, two.planned, two.pairs) == ("two attn", 4, 3)
    assert (one.non_similar, two.non_similar) == (1.0, 0.5)  # of 3 pairs and one answer that was no pair
    assert [one.seconds, two.seconds] == pytest.approx([1 / 2, 2 / 3])
    assert one.tokens == 12.0


def test_answers_are_measured_over_the_samples_in_common(runs: list[Path]) -> None:
    found = compare(runs)
    assert found.samples == 2
    one, two = found.runs
    assert one.edit_share == pytest.approx(1 / 7)  # one of six words and a full stop
    assert two.edit_share == 0.5  # the word, not the full stop
    assert two.length_ratio == pytest.approx(3 / len(CHOSEN))
    assert one.fluency is None
    assert found.chosen_fluency is None


def test_another_threshold(runs: list[Path]) -> None:
    assert [each.non_similar for each in compare(runs, threshold=0.3).runs] == [0.0, 0.5]


def test_fluency_is_that_of_the_whole_picture_and_each_answer(runs: list[Path]) -> None:
    asked: list[Score] = []

    class Recording(FakeEngine):
        def submit(self, ticket: int, request: object) -> None:
            assert isinstance(request, Score)
            asked.append(request)
            super().submit(ticket, request)

    found = compare(runs, Recording(batch_size=4))
    assert [request.answer for request in asked] == [CHOSEN, "A red car stands on it.", "No."] * 2
    assert {request.view for request in asked} == {View()}
    assert all(len(request.images) == sum(turn.image_count for turn in request.prompt) == 1 for request in asked)

    def mean_logp(place: int) -> float:
        engine = FakeEngine()
        engine.submit(0, asked[place])
        ((_, reply),) = engine.collect()
        assert isinstance(reply, Scored)
        return float(np.mean(reply.logps))

    assert found.chosen_fluency == pytest.approx(mean_logp(0))
    assert [each.fluency for each in found.runs] == pytest.approx([mean_logp(1), mean_logp(2)])


def test_runs_without_a_common_sample_cannot_be_compared(tmp_path: Path) -> None:
    apart = [run(tmp_path / str(number), [made(number, "No.", 0.1)]) for number in range(2)]
    with pytest.raises(UsageError, match="no sample in common"):
        compare(apart)
    with pytest.raises(UsageError, match="at least two"):
        compare(apart[:1])


def test_the_command_prints_a_table_or_json(runs: list[Path]) -> None:
    shown = called("compare", *runs, "--model", "none", "--engine", "fake")
    assert shown.returncode == 0, shown.stderr
    assert "2 samples in common" in shown.stdout
    figures = json.loads(called("compare", *runs, "--json").stdout)
    assert [each["run"] for each in figures["runs"]] == ["first", "second"]
    assert figures["runs"][0]["fluency"] is None
    assert called("compare", runs[0], runs[0].parent / "none").returncode == 2
