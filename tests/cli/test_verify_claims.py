"""`prefgen verify-claims` on finished runs; verdicts by the fake engine, and by the scenes' model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefgen.records import Pair
from prefgen.rundir.layout import Layout
from prefgen.view.page import preview
from tests.cli.runs import called, data_digests, write_input
from tests.judge import MODEL, Judge
from tests.select import runs
from tests.view.test_page import data_of

FAKE = ("--engine", "fake", "--annotator", "none")
LOOSE = (*FAKE, "--claims-from", "sentences", "--answers", "rejected", "--rejected-fails", "0", "--shard-size", "4")


def pair(number: int, **changes: Any) -> Pair:
    return runs.pair(number, **{"chosen": f"A cat {number}. A mat.", "rejected": f"A dog {number}. A car.", **changes})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    runs.stored(tmp_path / "out", [pair(number) for number in range(10)])
    return tmp_path / "out"


def verify(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return called("verify-claims", *words)


def rows(out: Path) -> list[dict[str, Any]]:
    table: pa.Table = pa.concat_tables([pq.read_table(path) for path in sorted((out / "data").iterdir())])
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_rows_that_stay_are_unchanged_but_for_their_verdicts(out: Path, tmp_path: Path) -> None:
    done = verify(out, *FAKE, "--claims-from", "sentences", "--chosen-holds", "0.5", "--json", "-o", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert 0 < figures["pairs"] < 10
    assert figures["pairs"] + sum(figures["dropped"].values()) == figures["planned"] == 10
    assert set(figures["dropped"]) <= {"ANSWER_CLAIMS_FAIL", "REJECTED_CLAIMS_HOLD"}
    assert called("verify", tmp_path / "new").returncode == 0
    before = {row["id"]: row for row in rows(out)}
    for row in rows(tmp_path / "new"):
        meta = json.loads(row.pop("meta"))
        old = before[row["id"]]
        was = json.loads(old.pop("meta"))
        assert row == old
        verified = meta.pop("verified")
        assert meta == was
        claims = verified["claims"]
        assert [claim["text"] for claim in claims["chosen"]] == [
            f"{each}." for each in row["chosen_response"].rstrip(".").split(". ")
        ]
        failing = {side: sum(not claim["holds"] for claim in claims[side]) for side in claims}
        assert failing["chosen"] <= 1
        assert failing["rejected"] > failing["chosen"]
    for dropped in Layout(tmp_path / "new").read_dropped():
        assert "fail" in dropped["detail"]


def test_the_viewer_shows_the_verdicts(out: Path, tmp_path: Path) -> None:
    assert verify(out, *LOOSE, "-o", tmp_path / "new").returncode == 0
    (first, *_) = data_of(preview(tmp_path / "new"))["rows"]
    assert {*first["claims"]} == {"rejected"}
    assert first["claims"]["rejected"][0]["question"] == "Is it true that a dog 0?"


def test_several_runs_become_one_with_ids_of_their_own(out: Path, tmp_path: Path) -> None:
    runs.stored(tmp_path / "two", [pair(number, rejected=f"A cow {number}.") for number in range(3)])
    assert verify(out, tmp_path / "two", *LOOSE, "-o", tmp_path / "new").returncode == 0
    made = rows(tmp_path / "new")
    assert len({row["id"] for row in made}) == len(made) == 13
    assert [row["rejected_response"] for row in made[10:]] == ["A cow 0.", "A cow 1.", "A cow 2."]
    locked = Layout(tmp_path / "new").config.read_text()
    assert f"prefgen verify-claims {out} {tmp_path / 'two'} --config FILE" in locked


def test_workers_and_parts_make_the_same_rows(out: Path, tmp_path: Path) -> None:
    assert verify(out, *LOOSE, "-o", tmp_path / "whole").returncode == 0
    assert verify(out, *LOOSE, "--workers", "2", "-o", tmp_path / "workers").returncode == 0
    for part in ("1/2", "0/2"):
        assert verify(out, *LOOSE, "--shard", part, "-o", tmp_path / "parts").returncode == 0
    assert data_digests(tmp_path / "whole") == data_digests(tmp_path / "workers") == data_digests(tmp_path / "parts")


def test_other_rules_are_drift_and_so_is_another_input(out: Path, tmp_path: Path) -> None:
    assert verify(out, *LOOSE, "-o", tmp_path / "new").returncode == 0
    again = verify(out, *LOOSE, "-o", tmp_path / "new")
    assert "finished already" in " ".join(again.stderr.split())
    drifted = verify(out, *LOOSE, "--claim-threshold", "0.9", "-o", tmp_path / "new")
    assert drifted.returncode == 6
    assert "method.threshold" in drifted.stderr
    runs.stored(tmp_path / "two", [pair(number, rejected="A cow.") for number in range(3)])
    other = verify(tmp_path / "two", *LOOSE, "-o", tmp_path / "new")
    assert other.returncode == 6
    assert "input.0.manifest_sha256" in other.stderr


def test_a_chat_model_can_split_and_is_paid_once(out: Path, tmp_path: Path) -> None:
    def split(number: int, body: dict[str, Any]) -> str:
        return "There is a thing. | Is there a thing?"

    options = (*FAKE, "--claims-from", "api", "--chosen-holds", "0", "--rejected-fails", "0")
    with Judge(split) as judge:
        asked = ("--judge", MODEL, "--judge-url", judge.url, "-o", tmp_path / "new")
        done = verify(out, *options, *asked)
        assert done.returncode == 0, done.stderr
        assert len(judge.bodies) == 20  # of each pair both answers
        shown = verify(out, *options, "--judge", MODEL, "--judge-url", judge.url, "--dry-run", "-o", tmp_path / "dry")
        assert "20 if nothing is asked twice" in shown.stderr
        assert len(judge.bodies) == 20
    assert rows(tmp_path / "new")[0]["model"] == rows(out)[0]["model"]


def test_verdicts_are_no_reason_to_give_a_splitter_up(out: Path, tmp_path: Path) -> None:
    """Of the first replies come no pairs, since the same is claimed of both answers."""
    with Judge(lambda number, body: "There is a thing. | Is there a thing?") as judge:
        asked = (*FAKE, "--claims-from", "api", "--judge", MODEL, "--judge-url", judge.url)
        assert verify(out, *asked, "-o", tmp_path / "new").returncode == 3
        assert len(judge.bodies) == 20
        source = write_input(tmp_path / "input", 6)
        ranked = called("rank", "-i", source, "-m", "none", *asked, "--by", "claims", "-o", tmp_path / "ranked")
        assert ranked.returncode == 3, ranked.stderr
        assert "ANSWER_TIE" in ranked.stderr


def test_a_dry_run_tells_the_rules_and_writes_nothing(out: Path, tmp_path: Path) -> None:
    done = verify(out, *FAKE, "--dry-run", "-o", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "at least 1 of the rejected answer's claims fail beyond those that fail in the chosen one" in told
    assert "List every single thing" in told
    assert not (tmp_path / "new").exists()


def test_only_the_first_pairs_may_be_checked(out: Path, tmp_path: Path) -> None:
    assert verify(out, *LOOSE, "--limit", "2", "-o", tmp_path / "new").returncode == 0
    assert [row["chosen_response"] for row in rows(tmp_path / "new")] == ["A cat 0. A mat.", "A cat 1. A mat."]


def test_a_run_of_which_nothing_stays_ends_with_its_reasons(out: Path, tmp_path: Path) -> None:
    done = verify(out, *FAKE, "--claims-from", "sentences", "--rejected-fails", "9", "-o", tmp_path / "new")
    assert done.returncode == 3
    assert "REJECTED_CLAIMS_HOLD" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--chosen-holds", "1.5"), "--chosen-holds 1.5"),
        (("--answers", "all"), "--answers 'all'"),
        (("--prompt", "missing.txt"), "missing.txt cannot be read"),
        (("--engine", "openai", "--base-url", "http://127.0.0.1:1/v1"), "--engine openai cannot be used"),
    ],
)
def test_what_cannot_be_is_refused(out: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = verify(out, *FAKE, *options, "-o", tmp_path / "new")
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())


def test_runs_that_are_none_are_refused(out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no prefgen run" in verify(tmp_path / "empty", *FAKE, "-o", tmp_path / "new").stderr
    assert verify(out, *FAKE, "-o", out).returncode == 6  # the run itself
    assert verify(out, "--engine", "fake", "-o", tmp_path / "new").returncode == 2  # no annotator
