from __future__ import annotations

from pathlib import Path

import pytest

from prefgen.card.summary import summarise
from prefgen.cli.terminal import finish
from prefgen.console import Console
from prefgen.errors import TooManyDropped
from prefgen.records import Outcome
from prefgen.rundir.shards import RunDirectory
from tests.handmade import PROVENANCE, card, drop, pair, plan


def finished(out: Path, ties: int, pairs: int) -> Path:
    outcomes: list[Outcome] = [
        *(drop(n, "ANSWER_TIE") for n in range(ties)),
        *(pair(n, flags=("blind", "own")) for n in range(pairs)),
    ]
    with RunDirectory.open(out, plan(len(outcomes), len(outcomes))) as run:
        run.commit(0, outcomes, PROVENANCE)
        run.finalize(card)
    return out


@pytest.mark.parametrize(("ties", "pairs", "told"), [(8, 0, True), (7, 1, True), (4, 4, False)])
def test_a_judge_that_sees_ties_only_is_said_to(ties: int, pairs: int, told: bool, tmp_path: Path) -> None:
    out = finished(tmp_path / "out", ties, pairs)
    with pytest.raises(TooManyDropped, match=f"{ties} of 8 rows were dropped") as raised:
        finish(out, summarise(out), Console(quiet=True), json=False, max_dropped=0.1)
    assert ("cannot tell these answers apart" in str(raised.value)) == told
    assert ("prefgen judge" in str(raised.value)) == told


def test_flags_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished(tmp_path / "out", 0, 3)
    finish(out, summarise(out), Console(quiet=True), json=False)
    shown = capsys.readouterr().out
    assert "3, no image token was visible" in shown
    assert "flag own" in shown
