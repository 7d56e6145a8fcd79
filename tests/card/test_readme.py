from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import yaml

from prefgen.card import readme, samples
from prefgen.errors import ExitCode
from prefgen.formats.exporting import export
from prefgen.linting import lint
from prefgen.records import Pair
from prefgen.rundir import schema
from prefgen.rundir.reader import Stored
from prefgen.rundir.shards import Plan, RunDirectory
from prefgen.rundir.verify import verify
from tests.cli.runs import called
from tests.handmade import FINGERPRINT, PROVENANCE, drop, finished_run, outcomes, pair, plan, work_through
from tests.select import runs
from tests.select.runs import stored


def parsed(text: str) -> tuple[dict[str, Any], str]:
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def test_the_card_of_a_run(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "my-set", plan()) as run:
        work_through(run)
    header, body = parsed(readme.render(tmp_path / "my-set", "prefgen run --rho 0.99"))
    assert header["license"] == "other"
    assert header["pretty_name"] == "my-set"
    assert header["size_categories"] == ["n<1K"]
    assert "bdhs" in header["tags"]
    assert "configs" not in header  # with which `datasets` would cache by the folder's name alone
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
    render = functools.partial(readme.render, command="prefgen run")
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
        run.finalize(functools.partial(readme.render, command="prefgen run"), None, samples.pictures)
    assert len([*(tmp_path / "out" / "samples").iterdir()]) == 3  # which are not read as data
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"]["source_id"] == [str(row) for row in range(18)]
    assert loaded["train"][3]["images"][0].size == (4, 3)


def test_two_runs_of_one_name_give_their_own_rows_through_one_cache(tmp_path: Path) -> None:
    import datasets

    cache = str(tmp_path / "cache")
    for number, folder in enumerate(("one", "two", "one"), 1):  # the third replaces the first
        out = tmp_path / folder / "out"
        if out.exists():
            shutil.rmtree(out)
        with RunDirectory.open(out, plan(rows=6 * number)) as run:
            for shard in run.pending():
                run.commit(shard, outcomes(run.plan.shards[shard]), PROVENANCE)
            run.finalize(functools.partial(readme.render, command="prefgen run"))
        read = datasets.load_dataset(str(out), split="train", cache_dir=cache)
        assert read["id"] == [row.sample.id for row in outcomes(range(6 * number)) if isinstance(row, Pair)]
        exported = export(Stored(out), "trl", tmp_path / f"export-{number}" / "set")
        again = datasets.load_dataset(str(tmp_path / f"export-{number}" / "set"), split="train", cache_dir=cache)
        assert len(again) == exported.rows == len(read)


def test_an_older_card_is_rewritten_by_finalize_and_warned_of_by_check(
    tmp_path: Path,
) -> None:
    out = finished_run(tmp_path / "out")
    head, rest = "---\n", readme.render(out, "prefgen run").partition("---\n")[2]
    block = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.parquet\n"
    with RunDirectory.join(out) as run:
        run.replace_card(head + block + rest)
    assert verify(out).problems == ()
    assert "configs" in called("check", out, "--with", "trl").stderr
    assert called("finalize", out).returncode == 0
    assert verify(out).problems == ()
    assert parsed((out / "README.md").read_text())[1] == parsed(head + rest)[1]
    assert "configs" not in called("check", out, "--with", "trl").stderr


def test_a_damaged_run_gets_no_new_manifest(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "out")
    with RunDirectory.join(out) as run:
        run.replace_card("---\nconfigs: []\n---\n")
    shard = next((out / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:-20])
    told = called("finalize", out)
    assert told.returncode == ExitCode.CORRUPT
    assert "problems" in told.stderr
    assert "configs" in (out / "README.md").read_text()


def test_nothing_in_the_data_can_write_markdown_or_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>| [x](javascript:y) \n# head\n``` **b** ---\n\x1b[31m"
    out = tmp_path / "a`b|<i>c: *d*"
    settings = {**FINGERPRINT, "input": evil, "method": evil, "<b>": 1}
    with RunDirectory.open(out, Plan(2, 2, settings, config=f"x = '''{evil}\n````\n'''")) as run:
        run.commit(0, [pair(flags=(evil,), chosen=evil, spans=(), cuts=()), drop(1, evil)], PROVENANCE)
    header, body = parsed(readme.render(out, f"prefgen run {evil}"))
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
    sizes = [next((size for below, size in readme._SIZES if pairs < below), "n>1M") for pairs in (999, 1000, 10**6)]
    assert sizes == ["n<1K", "1K<n<10K", "n>1M"]
