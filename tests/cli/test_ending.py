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


def finished(out: Path, dropped: int, pairs: int, reason: str = "ANSWER_TIE") -> Path:
    outcomes: list[Outcome] = [
        *(drop(n, reason) for n in range(dropped)),
        *(pair(n, flags=("blind", "own")) for n in range(pairs)),
    ]
    with RunDirectory.open(out, plan(len(outcomes), len(outcomes))) as run:
        run.commit(0, outcomes, PROVENANCE)
        run.finalize(card)
    return out


@pytest.mark.parametrize(("dropped", "pairs", "told"), [(8, 0, True), (7, 1, True), (4, 4, False)])
@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("ANSWER_TIE", ("cannot distinguish these answers", "prefgen judge")),
        ("ANSWER_UNCLEAR", ("no verdict", "--prompt")),
    ],
)
def test_a_judge_of_no_use_is_said_to_be(
    dropped: int, pairs: int, told: bool, reason: str, advice: tuple[str, ...], tmp_path: Path
) -> None:
    out = finished(tmp_path / "out", dropped, pairs, reason)
    with pytest.raises(TooManyDropped, match=f"{dropped} of 8 rows were dropped") as raised:
        finish(out, summarise(out), Console(quiet=True), json=False, max_dropped=0.1)
    assert all((words in str(raised.value)) == told for words in advice)


def test_flags_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished(tmp_path / "out", 0, 3)
    finish(out, summarise(out), Console(quiet=True), json=False)
    shown = capsys.readouterr().out
    assert "3, no image token was visible" in shown
    assert "flag own" in shown
