from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import rich.console

from prefgen.card import summary
from prefgen.records import Outcome
from prefgen.rundir.shards import Plan, RunDirectory
from tests.handmade import PROVENANCE, card, drop, pair, plan


def run(out: Path, rows: list[Outcome], planned: Plan | None = None, finalize: bool = True) -> Path:
    with RunDirectory.open(out, planned or plan(len(rows), 3)) as opened:
        for shard, positions in enumerate(opened.plan.shards[: (len(rows) + 2) // 3]):
            opened.commit(shard, rows[positions.start : positions.stop], PROVENANCE, seconds=2.0)
        if finalize:
            opened.finalize(card)
    return out


ROWS: list[Outcome] = [
    pair(0, iteration=1, similarity=0.5, chosen="a b c", rejected=" x\ny ", flags=("length",)),
    pair(1, iteration=2, similarity=0.75, kept_tokens=0),
    pair(2, iteration=3, similarity=0.96, flags=("similar", "length")),
    drop(3, "REJECTED_SIMILAR", similarity=0.99, iteration=3, tokens=5),
    drop(4),
    drop(5),
    pair(6, similarity=None, iteration=1),
]


@pytest.mark.parametrize("finalize", [True, False])
def test_every_figure(tmp_path: Path, finalize: bool) -> None:
    found = summary.summarise(run(tmp_path, ROWS, finalize=finalize))
    assert (found.planned, found.pairs, found.pending) == (7, 4, 0)
    assert found.dropped == {"IMG_MISSING": 2, "REJECTED_SIMILAR": 1}
    assert found.non_similar == (0.25, 0.5, 0.5)
    assert found.similarity["p50"] == 0.75
    assert found.similarity["p5"] == pytest.approx(0.525)
    long_chosen, long_rejected = len(pair().chosen), len(pair().rejected)
    assert found.chosen_chars == (5 + 3 * long_chosen) / 4
    assert found.rejected_chars == (5 + 3 * long_rejected) / 4
    assert (found.chosen_words, found.rejected_words) == ((3 + 3 * 10) / 4, (2 + 3 * 9) / 4)
    assert found.tokens == 4 * 12 + 5
    assert (found.image_tokens, found.kept_image_tokens) == (576, 4.5)
    assert found.flags == {"length": 2, "similar": 1}
    assert (found.seconds, found.pairs_per_second) == (6.0, 4 / 6)


def test_pending_rows_of_a_run_under_way(tmp_path: Path) -> None:
    found = summary.summarise(run(tmp_path, ROWS[:3], plan(7, 3), finalize=False))
    assert (found.planned, found.pairs, found.pending) == (7, 3, 4)
    assert summary.figures(found)["pending"] == "4"


def test_a_method_without_iterations_has_no_figure_10(tmp_path: Path) -> None:
    found = summary.summarise(run(tmp_path, ROWS, Plan(7, 3, {"method": "povid"})))
    assert found.non_similar == ()
    assert found.similarity


def test_pairs_that_no_model_read_do_not_lower_the_mean_of_image_tokens(tmp_path: Path) -> None:
    rows: list[Outcome] = [pair(0, image_tokens=0, kept_tokens=0), pair(1, kept_tokens=6)]
    found = summary.summarise(run(tmp_path / "mixed", rows))
    assert summary.figures(found)["mean image tokens kept"] == "6.0 of 576.0"
    none = summary.summarise(run(tmp_path / "none", rows[:1]))
    assert none.image_tokens is None
    assert "mean image tokens kept" not in summary.figures(none)


def test_a_run_without_a_pair(tmp_path: Path) -> None:
    found = summary.summarise(run(tmp_path, [drop(0), drop(1)]))
    assert (found.pairs, found.non_similar, found.similarity, found.chosen_chars) == (0, (), {}, None)
    assert list(summary.figures(found)) == ["rows planned", "pairs", "dropped, IMG_MISSING", "tokens generated", "time"]


def test_json_is_the_summary(tmp_path: Path) -> None:
    found = summary.summarise(run(tmp_path, ROWS))
    assert json.loads(summary.to_json(found)) == {**vars(found), "non_similar": list(found.non_similar)}


def test_the_terminal_gets_every_figure_and_no_markup(tmp_path: Path) -> None:
    found = summary.summarise(run(tmp_path, [pair(flags=("[bold]x[/bold]",))]))
    screen = io.StringIO()
    rich.console.Console(file=screen, width=120, force_terminal=True, color_system=None).print(summary.render(found))
    shown = screen.getvalue()
    assert "[bold]x[/bold]" in shown
    assert all(name in shown and figure in shown for name, figure in summary.figures(found).items())
