from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

from prefgen import schema
from prefgen.report import card
from prefgen.shards import Plan, RunDirectory
from tests.handmade import FINGERPRINT, PROVENANCE, drop, pair, plan, work_through


def parsed(text: str) -> tuple[dict[str, Any], str]:
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def test_the_card_of_a_run(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "my-set", plan()) as run:
        work_through(run)
    header, body = parsed(card.render(tmp_path / "my-set", "prefgen run --rho 0.99"))
    assert header["license"] == "other"
    assert header["pretty_name"] == "my-set"
    assert header["size_categories"] == ["n<1K"]
    assert "bdhs" in header["tags"]
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert "prefgen run --rho 0.99" in body
    assert "| pairs | 12 |" in body
    assert r"| dropped, IMG\_MISSING | 6 |" in body
    assert "| method.rho | 0.99 |" in body
    assert "tiny/model" in body
    assert "arxiv.org/abs/2407.02477" in body
    assert 'method = "bdhs"' in body
    assert "--dataset_name ./my-set" in body
    for column in schema.COLUMNS:
        assert f"| {column.name.replace('_', chr(92) + '_')} | " in body


def test_datasets_opens_a_finished_run_by_its_card(tmp_path: Path) -> None:
    import datasets

    with RunDirectory.open(tmp_path / "out", plan()) as run:
        for shard in run.pending():
            run.commit(shard, [pair(row) for row in run.plan.shards[shard]], PROVENANCE)
        run.finalize(functools.partial(card.render, command="prefgen run"))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"]["source_id"] == [str(row) for row in range(18)]
    assert loaded["train"][3]["images"][0].size == (4, 3)


def test_nothing_in_the_data_can_write_markdown_or_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>| [x](javascript:y) \n# head\n``` **b** ---\n\x1b[31m"
    out = tmp_path / "a`b|<i>c: *d*"
    settings = {**FINGERPRINT, "input": evil, "method": evil, "<b>": 1}
    with RunDirectory.open(out, Plan(2, 2, settings, config=f"x = '''{evil}\n````\n'''")) as run:
        run.commit(0, [pair(flags=(evil,)), drop(1, evil)], PROVENANCE)
    header, body = parsed(card.render(out, f"prefgen run {evil}"))
    assert header["pretty_name"] == out.name
    outside, fence = [], ""
    for line in body.split("\n"):
        if not fence and line.startswith("```"):
            fence = line.rstrip("abcdefghijklmnopqrstuvwxyz")
        elif line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    text = "\n".join(outside)
    assert not fence
    assert "<script>" not in text
    assert "<i>" not in text
    assert "<b>" not in text
    assert "](javascript" not in text
    assert "\n# head" not in text
    assert "\x1b" not in text
    assert "**b**" not in text
    tables = [line for line in outside if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") in (3, 4) for line in tables)


def test_large_sets_are_named_so() -> None:
    sizes = [next((size for below, size in card._SIZES if pairs < below), "n>1M") for pairs in (999, 1000, 10**6)]
    assert sizes == ["n<1K", "1K<n<10K", "n>1M"]
