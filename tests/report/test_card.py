from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import PIL.Image
import yaml

from prefgen import schema
from prefgen.report import card, samples
from prefgen.report.lint import lint
from prefgen.shards import Plan, RunDirectory
from prefgen.verify import verify
from tests.handmade import FINGERPRINT, PROVENANCE, drop, pair, plan, work_through
from tests.select import runs
from tests.select.runs import stored


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


def test_the_card_shows_samples_and_what_lint_says(tmp_path: Path) -> None:
    out = tmp_path / "out"
    render = functools.partial(card.render, command="prefgen run")
    with RunDirectory.open(out, plan()) as run:
        for shard in run.pending():
            run.commit(shard, [pair(row) for row in run.plan.shards[shard]], PROVENANCE)
        run.finalize(render, None, samples.pictures)
    text = (out / "README.md").read_text()
    assert re.findall(r"!\[sample (\d)\]\((.*?)\)", text) == [(f"{n}", f"samples/{n}-1.webp") for n in (1, 2, 3)]
    assert text.count(r"- chosen: A red bowl stands on it. The wall is white.") == 3
    warned = lint(out).at_least("warning")
    assert warned
    assert all(f"| {finding.check} | {finding.level} | " in text for finding in warned)
    for number, path in enumerate(sorted((out / "samples").iterdir())):
        with PIL.Image.open(path) as shown:
            assert (shown.format, shown.size) == ("WEBP", (4, 3)), number
    assert verify(out).problems == ()
    (out / "samples" / "foreign.webp").touch()
    assert [problem.file for problem in verify(out).problems] == ["samples/foreign.webp"]


def test_samples_are_spread_evenly_over_shards_and_row_groups(tmp_path: Path) -> None:
    stored(tmp_path / "out", [runs.pair(number) for number in range(230)], shard_size=115)
    assert [row["source_id"] for row in samples.rows(tmp_path / "out")] == ["0", "114", "229"]
    stored(tmp_path / "two", [runs.pair(number) for number in range(2)])
    assert [row["source_id"] for row in samples.rows(tmp_path / "two")] == ["0", "1"]
    assert {*samples.pictures(tmp_path / "two")} == {"1-1.webp", "2-1.webp"}


def test_datasets_opens_a_finished_run_by_its_card(tmp_path: Path) -> None:
    import datasets

    with RunDirectory.open(tmp_path / "out", plan()) as run:
        for shard in run.pending():
            run.commit(shard, [pair(row) for row in run.plan.shards[shard]], PROVENANCE)
        run.finalize(functools.partial(card.render, command="prefgen run"), None, samples.pictures)
    assert len([*(tmp_path / "out" / "samples").iterdir()]) == 3  # which are not read as data
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"]["source_id"] == [str(row) for row in range(18)]
    assert loaded["train"][3]["images"][0].size == (4, 3)


def test_nothing_in_the_data_can_write_markdown_or_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>| [x](javascript:y) \n# head\n``` **b** ---\n\x1b[31m"
    out = tmp_path / "a`b|<i>c: *d*"
    settings = {**FINGERPRINT, "input": evil, "method": evil, "<b>": 1}
    with RunDirectory.open(out, Plan(2, 2, settings, config=f"x = '''{evil}\n````\n'''")) as run:
        run.commit(0, [pair(flags=(evil,), chosen=evil, spans=(), cuts=()), drop(1, evil)], PROVENANCE)
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
    assert all(line.replace("\\|", "").count("|") in (3, 4, 5) for line in tables)


def test_large_sets_are_named_so() -> None:
    sizes = [next((size for below, size in card._SIZES if pairs < below), "n>1M") for pairs in (999, 1000, 10**6)]
    assert sizes == ["n<1K", "1K<n<10K", "n>1M"]
