"""`prefgen rank` on the scenes' model, with every kind of judge."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prefgen.evaluate.scenes.claims import kinds_in
from prefgen.evaluate.scenes.truth import KINDS
from tests.cli.runs import called
from tests.judge import MODEL, Judge, corrupted

SCENES = Path(__file__).parent.parent.parent / "examples" / "scenes"


def rank(out: Path, *options: str | Path, limit: int = 4) -> dict[str, Any]:
    shared = ("-i", SCENES / "llava_instruct.json", "-m", SCENES / "model", "--device", "cpu", "--limit", str(limit))
    done = called("rank", *shared, "-o", out, "--json", *options)
    assert done.returncode in (0, 3), done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def rows(out: Path) -> list[dict[str, Any]]:
    table = pq.read_table(out / "data", columns=["chosen_response", "rejected_response", "variant", "meta"])
    made: list[dict[str, Any]] = table.to_pylist()
    return made


def test_ranked_by_similarity_to_the_reference(tmp_path: Path) -> None:
    figures = rank(tmp_path / "out", "--by", "similarity", "--similarity-model", "minilm", limit=8)
    assert figures["pairs"] >= 4
    assert {*figures["dropped"]} <= {"ANSWER_TIE", "ANSWER_ALIKE"}
    for row in rows(tmp_path / "out"):
        best, worst = json.loads(row["meta"])["options"]["scores"]
        assert best > worst
        assert row["variant"] == "similarity"
    assert called("verify", tmp_path / "out").returncode == 0


def test_ranked_by_a_judge_that_likes_short_answers(tmp_path: Path) -> None:
    def short(number: int, body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"][-1]["text"]
        found = re.search(r"answer A\n(.*)\n--- \w+ answer B\n(.*)\n--- \w+ end", text, re.DOTALL)
        assert found
        verdict = "A" if len(found[1]) < len(found[2]) else "B" if len(found[1]) > len(found[2]) else "tie"
        return json.dumps({"reason": "length", "verdict": verdict})

    with Judge(short) as judge:
        figures = rank(tmp_path / "out", "--by", "api", "--judge", MODEL, "--judge-url", judge.url)
    assert figures["pairs"] >= 2
    assert all(len(row["chosen_response"]) < len(row["rejected_response"]) for row in rows(tmp_path / "out"))


def test_an_annotator_that_gives_no_verdict_decides_nothing(tmp_path: Path) -> None:
    figures = rank(tmp_path / "out", "--verdict-tokens", "8", "-k", "2", limit=2)
    assert figures["dropped"] == {"ANSWER_UNCLEAR": 2}


def test_right_answers_stand_against_wrong_ones_by_the_truth_of_the_scenes(tmp_path: Path) -> None:
    options = ("--by", "correctness", "--answer-kind", "yes-no", "--temperature", "2", "--seed", "3")
    figures = rank(tmp_path / "out", *options, limit=24)
    assert figures["pairs"] >= 1
    assert {*figures["dropped"]} <= {"ANSWER_REFERENCE_UNPARSED", "ANSWER_ALL_RIGHT", "ANSWER_ALL_WRONG"}
    for row in rows(tmp_path / "out"):
        record = json.loads(row["meta"])["record"]
        finals = record["final_answers"]
        assert {finals["right"], finals["wrong"]} == {"yes", "no"}
        assert row["chosen_response"].lower().startswith(finals["right"])
        assert row["rejected_response"].lower().startswith(finals["wrong"])
    assert called("verify", tmp_path / "out").returncode == 0


def test_answers_are_ranked_by_claims_about_the_scenes(tmp_path: Path) -> None:
    """A served splitter asks for each kind by its name; the scenes' model, which knows such questions, checks them."""
    options = ("--by", "claims", "--claims-from", "api", "--claim-suffix", "", "--turns", "first")

    def kinds(number: int, body: dict[str, Any]) -> str:
        told = re.search(r"--- \w+ answer\n(.*)\n--- \w+ end", str(body["messages"][-1]["content"]), re.DOTALL)
        assert told
        named = sorted(kinds_in(told[1]))
        things = [f"{KINDS[kind].article} {kind}" for kind in named]
        return "\n".join(f"There is {thing}. | Is there {thing} in the image?" for thing in things)

    with Judge(kinds) as judge:
        figures = rank(tmp_path / "out", *options, "--judge", MODEL, "--judge-url", judge.url, limit=10)
    assert figures["pairs"] >= 1
    for row in rows(tmp_path / "out"):
        meta = json.loads(row["meta"])
        claims = meta["record"]["claims"]
        rejected = {side: sum(not claim["holds"] for claim in claims[side]) for side in claims}
        assert meta["options"]["scores"] == [-rejected["chosen"], -rejected["rejected"]]
        assert rejected["chosen"] < rejected["rejected"]
        assert len(claims["rejected"]) == len(kinds_in(row["rejected_response"]))
    assert called("verify", tmp_path / "out").returncode == 0


def test_sentences_are_claims_where_there_is_no_splitter(tmp_path: Path) -> None:
    rank(tmp_path / "out", "--by", "claims", "--claims-from", "sentences", "--claim-score", "share")
    made = rows(tmp_path / "out")
    assert made
    for row in made:
        claims = json.loads(row["meta"])["record"]["claims"]
        assert all(claim["text"] in row["rejected_response"] for claim in claims["rejected"])


def test_the_best_answer_can_be_corrupted_next(tmp_path: Path) -> None:
    """VLFeedback-Corrupted of table 4: a ranked run's chosen answers are the next command's references."""
    rank(tmp_path / "ranked", "--by", "similarity", "--similarity-model", "minilm")
    with Judge(lambda _, body: corrupted(body)) as judge:
        done = called(
            *(
                "corrupt",
                "-i",
                tmp_path / "ranked",
                "--turns",
                "last",
                "-o",
                tmp_path / "out",
                "--judge",
                MODEL,
                "--judge-url",
                judge.url,
            )
        )
    assert done.returncode == 0, done.stderr
    best = {row["chosen_response"] for row in rows(tmp_path / "ranked")}
    made = rows(tmp_path / "out")
    assert made
    assert {row["chosen_response"] for row in made} == best


def test_all_pairs_of_two_policies(tmp_path: Path) -> None:
    """One sample is a row for each pair it may give; what a row says of its authors is true."""
    also = tmp_path / "other"
    shutil.copytree(SCENES / "model", also)
    options = ("--by", "similarity", "--similarity-model", "minilm", "-k", "2", "--also", also, "--pairs", "all")
    out = tmp_path / "out"
    figures = rank(out, *options, "--shard-size", "8", limit=3)  # 6 rows a sample: some lie in two shards
    assert figures["pairs"] + sum(figures["dropped"].values()) == 18
    assert figures["pairs"] >= 6
    assert called("verify", out).returncode == 0
    table = pq.read_table(out / "data").to_pylist()
    assert {row["model"] for row in table} == {str(SCENES / "model"), str(also)}
    assert {json.loads(row["meta"])["record"]["chosen_model"] for row in table} == {str(SCENES / "model"), str(also)}
    whole = tmp_path / "whole"
    rank(whole, *options, limit=3)
    written = [row["id"] for row in pq.read_table(whole / "data").to_pylist()]
    assert sorted(row["id"] for row in table) == sorted(written)
    assert len(set(written)) == len(written)
