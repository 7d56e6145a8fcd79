"""`prefgen import`, `mix` and its like, `export` and `check`, as a user runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from prefgen.rundir.layout import Layout
from tests.cli.runs import called as prefgen
from tests.cli.runs import data_digests
from tests.formats.written import (
    picture,
    povid_row,
    rlaif_v_row,
    vlfeedback_row,
    write_json,
    write_lines,
    write_parquet,
)

COMMANDS = ("import", "mix", "sample", "filter", "dedup", "split", "join", "relabel", "export", "check")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the imported runs ``povid`` (8 rows) and ``vlfeedback`` (5 rows)."""
    folder = tmp_path_factory.mktemp("runs")
    for number in range(8):
        (folder / f"COCO_train2014_{number:012d}.jpg").write_bytes(picture(number).data)
    (folder / "merged_images").mkdir()
    (folder / "merged_images" / "svit-detail-1234.jpg").write_bytes(picture(99).data)
    write_json(folder / "povid.json", [povid_row(number) for number in range(8)])
    write_lines(folder / "vlfeedback.jsonl", [vlfeedback_row()])
    done = prefgen("import", "povid", folder / "povid.json", "-o", folder / "povid", "--shard-size", "3")
    assert done.returncode == 0, done.stderr
    done = prefgen(
        *("import", "vlfeedback", folder / "vlfeedback.jsonl", "-o", folder / "vlfeedback"),
        *("--pairing", "all", "--license", "cc-by-nc-4.0"),
    )
    assert done.returncode == 0, done.stderr
    return folder


def licence_of(out: Path) -> str:
    return str(yaml.safe_load((out / "README.md").read_text().split("---\n")[1])["license"])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_or_every_option(command: str) -> None:
    shown = prefgen(command, "--help")
    assert shown.returncode == 0
    assert "--json" in shown.stdout


def test_an_import_is_a_run_like_any_other(runs: Path) -> None:
    checked = prefgen("verify", runs / "povid", "--json")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["pairs"] == 8
    assert licence_of(runs / "povid") == "cc-by-4.0"
    assert "machine-generated" not in (runs / "povid" / "README.md").read_text()
    again = prefgen("import", "povid", runs / "povid.json", "-o", runs / "povid", "--shard-size", "3", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["licences"] == {"cc-by-4.0": 8}


def test_an_import_with_other_options_is_refused(runs: Path) -> None:
    drifted = prefgen("import", "vlfeedback", runs / "vlfeedback.jsonl", "-o", runs / "vlfeedback")
    assert drifted.returncode == 6
    assert "import.pairing" in drifted.stderr


def test_options_of_other_sets_and_unknown_names_are_refused(runs: Path) -> None:
    wrong = prefgen("import", "povid", runs / "povid.json", "--pairing", "all", "-o", runs / "x")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "error: --pairing is an option of vlfeedback, ranked, not of povid\n",
    )
    unknown = prefgen("import", "povd", runs / "povid.json", "-o", runs / "x")
    assert unknown.returncode == 2
    assert "did you mean povid" in unknown.stderr
    assert not (runs / "x").exists()


def test_sets_and_presets_are_listed() -> None:
    shown = prefgen("import", "--list").stdout
    assert re.search(r"povid +POVID: https://huggingface.co/", shown)
    assert re.search(r"vlfeedback-llava-5k +vlfeedback --sample 5000 --chosen-model llava-v1.5-7b", shown)


def test_a_preset_is_an_importer_with_options(runs: Path) -> None:
    out = runs / "preset"
    done = prefgen("import", "vlfeedback-gpt4v-5k", runs / "vlfeedback.jsonl", "-o", out, "--pairing", "best-random")
    assert done.returncode == 0, done.stderr
    settings = Layout(out).read_plan().fingerprint
    assert (settings["method"], settings["import.chosen_model"]) == ("vlfeedback", "gpt-4*")
    assert (settings["import.pairing"], settings["source.sample"]) == ("best-random", 5000)


def test_missing_images_stop_an_import_before_it_starts(runs: Path, tmp_path: Path) -> None:
    moved = write_json(tmp_path / "povid.json", [povid_row(3)])
    done = prefgen("import", "povid", moved, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "--image-root" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_sample_of_an_import(runs: Path, tmp_path: Path) -> None:
    for seed, out in ((1, "a"), (1, "b"), (2, "c")):
        done = prefgen(
            *("import", "povid", runs / "povid.json", "-o", tmp_path / out, "--sample", "4", "--seed", str(seed))
        )
        assert done.returncode == 0
    drawn = [data_digests(tmp_path / name) for name in "abc"]
    assert drawn[0] == drawn[1] != drawn[2]


def test_prompts_that_are_taken_by_their_rows_ids_are_listed(runs: Path, tmp_path: Path) -> None:
    rows = [
        vlfeedback_row(id=f"{name}-{n}")
        for name, count in (("llava-detail", 2), ("svit-conv", 3))
        for n in range(count)
    ]
    source = write_lines(runs / "several.jsonl", rows)
    given = ("import", "vlfeedback-llava-prompts-5k", source, "-o", tmp_path / "out", "--dry-run")
    shown = prefgen(*given).stderr
    assert "2 rows have an id that --prompt-source takes" in shown
    assert "3 begin with 'svit-conv-': left out" in shown
    assert "2 begin with 'llava-detail-': taken" in shown
    other = prefgen(*given, "--prompt-source", "svit-*").stderr
    assert "3 begin with 'svit-conv-': taken" in other
    assert "--prompt-source" not in prefgen("import", "vlfeedback", *given[2:]).stderr


def test_a_dry_run_shows_the_plan_and_a_pair_and_writes_nothing(runs: Path, tmp_path: Path) -> None:
    shown = prefgen("import", "vlfeedback", runs / "vlfeedback.jsonl", "-o", tmp_path / "out", "--dry-run")
    assert (shown.returncode, shown.stdout) == (0, "")
    for expected in (
        "read as  vlfeedback",
        "1 named, 0 not found",
        "licence  other",
        "the first pair",
        "user: <image>",
    ):
        assert expected in shown.stderr
    assert not (tmp_path / "out").exists()
    rows = [povid_row(0), povid_row(1, rejected_conversations=None)]
    source = write_json(runs / "one-bad.json", rows)
    shown = prefgen("import", "povid", source, "-o", tmp_path / "out", "--dry-run")
    assert "1 dropped, ROW_SHAPE" in shown.stderr


def test_the_written_configuration_repeats_an_import(runs: Path, tmp_path: Path) -> None:
    done = prefgen("import", "--config", runs / "vlfeedback/.prefgen/config.lock", "-o", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert data_digests(tmp_path / "again") == data_digests(runs / "vlfeedback")
    assert licence_of(tmp_path / "again") == "cc-by-nc-4.0"
    path = tmp_path / "import.yaml"
    path.write_text(f"name: povid\nsrc: {runs / 'povid.json'}\nlimit: 2\n")
    done = prefgen("import", "--config", path, "--limit", "3", "-o", tmp_path / "three", "--json")
    assert json.loads(done.stdout)["pairs"] == 3
    path.write_text("pairng: all\n")
    wrong = prefgen("import", "--config", path, "-o", tmp_path / "x")
    assert (wrong.returncode, "did you mean 'pairing'" in wrong.stderr) == (2, True)


def test_a_mixture_states_the_strictest_licence(runs: Path, tmp_path: Path) -> None:
    done = prefgen("mix", f"{runs / 'povid'}:0.5", runs / "vlfeedback", "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert "left out, NOT_DRAWN: 4 rows" in done.stderr
    assert json.loads(done.stdout)["licences"] == {"cc-by-nc-4.0": 5, "cc-by-4.0": 4}
    assert licence_of(tmp_path / "out") == "cc-by-nc-4.0"
    assert prefgen("verify", tmp_path / "out").returncode == 0
    again = prefgen("mix", f"{runs / 'povid'}:0.5", runs / "vlfeedback", "-o", tmp_path / "out")
    assert again.returncode == 0
    other = prefgen("mix", f"{runs / 'povid'}:0.5", runs / "vlfeedback", "-o", tmp_path / "out", "--seed", "1")
    assert other.returncode == 6
    assert "seed: 0 -> 1" in other.stderr


def test_choosing_rows(runs: Path, tmp_path: Path) -> None:
    povid = runs / "povid"
    listed = tmp_path / "eval.txt"
    listed.write_text("COCO_val2014_000000000002.jpg\n")
    for command, rows in (
        (["sample", povid, "--rows", "3"], 3),
        (["filter", povid, "rejected_chars > chosen_chars"], 5),
        (["dedup", runs / "vlfeedback", "--by", "answer"], 3),
        (["dedup", povid, "--by", "prompt", "--near"], 1),  # flat pictures, a 255th of red apart
        (["mix", povid, "--exclude-images", listed], 7),
        (["relabel", povid, "--rejected-from", povid], 8),
    ):
        out = tmp_path / "-".join(map(str, command)).replace("/", "")[-60:]
        done = prefgen(*map(str, command), "-o", out, "--json", "--quiet")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["pairs"] == rows
        assert prefgen("verify", out).returncode == 0


def test_splits_are_folders(runs: Path, tmp_path: Path) -> None:
    done = prefgen("split", runs / "povid", "train:0.5", "val:0.5", "-o", tmp_path / "splits")
    assert done.returncode == 0, done.stderr
    names = [path.name for path in (tmp_path / "splits").iterdir()]
    assert sorted(names) == ["train", "val"]
    assert prefgen("split", runs / "povid", "train:0.5", "../val:0.5", "-o", tmp_path / "x").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mix", "nothing-here"], "holds no prefgen run"),
        (["mix", "povid:9"], "fewer than the 9"),
        (["filter", "povid", "len(method)"], "which a condition cannot"),
        (["filter", "povid", "method == 'x'"], "leaves no row"),
        (["dedup", "povid", "--by", "sound"], "--by 'sound' is unknown; choose from pair"),
        (["join", "povid"], "two runs or more"),
        (["relabel", "povid"], "--chosen-from or --rejected-from"),
        (["mix", "povid", "--exclude-images", "nothing-here"], "cannot be read"),
    ],
)
def test_mistakes_are_told(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(runs)
    done = prefgen(*arguments, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_export_and_check(runs: Path, tmp_path: Path) -> None:
    for trainer in ("trl", "ms-swift", "llamafactory"):
        out = tmp_path / trainer
        done = prefgen("export", runs / "povid", "--to", trainer, "-o", out, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"rows": 8, "left_out": {}, "already": False}
        assert prefgen("check", out, "--with", trainer).returncode == 0
    again = prefgen("export", runs / "povid", "--to", "trl", "-o", tmp_path / "trl")
    assert again.returncode == 0
    assert "is finished already" in again.stderr
    other = prefgen("export", runs / "povid", "--to", "llava", "-o", tmp_path / "trl")
    assert other.returncode == 6


def test_a_check_names_the_rows_that_would_break(tmp_path: Path) -> None:
    bad = {"messages": [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "A"}], "images": []}
    path = write_lines(tmp_path / "a.jsonl", [{**bad, "rejected_response": "A"}])
    done = prefgen("check", path, "--with", "ms-swift")
    assert done.returncode == 2
    assert "a.jsonl line 1: 1 <image> tags for 0 images" in done.stdout
    assert "1 of 1 rows" in done.stderr
    found = json.loads(prefgen("check", path, "--with", "ms-swift", "--json").stdout)
    assert [problem["row"] for problem in found["problems"]] == ["a.jsonl line 1", "a.jsonl line 1"]


def test_an_export_says_first_what_it_leaves_out(runs: Path, tmp_path: Path) -> None:
    by_image = {
        "messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A cat."}],
        "images": ["COCO_train2014_000000000001.jpg"],
    }
    rows = [
        {**by_image, "rejected_response": "A dog."},
        {**by_image, "rejected_images": ["COCO_train2014_000000000002.jpg"]},
    ]
    source = write_lines(runs / "swift.jsonl", rows)
    assert prefgen("import", "ms-swift", source, "-o", tmp_path / "run").returncode == 0
    for options, rows_in in (["--dry-run"], "1 rows would be in"), ([], "1 rows in"):
        done = prefgen("export", tmp_path / "run", "--to", "llava", "-o", tmp_path / "out", *options)
        assert done.returncode == 0, done.stderr
        assert "left out, REJECTED_BY_IMAGE: 1 rows" in done.stderr
        assert done.stdout.startswith(rows_in)
        assert (tmp_path / "out").exists() == (not options)


def test_other_columns_are_answered_with_the_line_to_type(runs: Path, tmp_path: Path) -> None:
    row = {"pic": "COCO_train2014_000000000001.jpg", "q": "What?", "win": "A cat.", "lose": "A dog.", "level": 3}
    source = write_lines(runs / "other.jsonl", [row])
    wrong = prefgen("import", "jsonl", source, "-o", tmp_path / "out")
    assert wrong.returncode == 2
    options = wrong.stderr.partition(f"prefgen import jsonl {source} ")[2].split()
    assert sorted(options[::2]) == ["--chosen-column", "--image-column", "--prompt-column", "--rejected-column"]
    right = prefgen("import", "jsonl", source, *options, "-o", tmp_path / "out", "--json")
    assert json.loads(right.stdout)["pairs"] == 1


def test_embedded_pictures_are_counted_as_such(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", [rlaif_v_row(0), rlaif_v_row(1)])
    shown = prefgen("import", "rlaif-v", source, "-o", tmp_path / "out", "--dry-run")
    assert re.search(r"images +2 embedded\s", shown.stderr)
    assert "named" not in shown.stderr


def test_an_import_of_which_nothing_can_be_used_stops_before_it_starts(tmp_path: Path) -> None:
    marked = {"image": "a.png", "prompt": "What?", "completion": "A cat.", "label": True}
    source = write_lines(tmp_path / "a.jsonl", [marked, {**marked, "prompt": "Which?"}])
    done = prefgen("import", "unpaired", source, "-o", tmp_path / "out")
    assert done.returncode == 2
    shown = " ".join(done.stderr.split())
    assert "2 dropped, ANSWER_UNPAIRED, e.g. line 1: the prompt has only good answers" in shown
    assert "gives a pair" in shown
    assert not (tmp_path / "out").exists()


def test_formats_are_listed_and_shown() -> None:
    listed = prefgen("formats").stdout
    assert re.search(r"read by import\n(  .*\n)*  bpo +BPO", listed)
    assert "non_preferred_output" in prefgen("formats", "openai").stdout
    assert json.loads(prefgen("formats", "bpo", "--json").stdout)[0]["name"] == "bpo"
    unknown = prefgen("formats", "lama-factory")
    assert unknown.returncode == 2
    assert "did you mean llamafactory" in unknown.stderr


@pytest.mark.parametrize("command", ["import --list", "formats", "presets", "prompts list", "--help", "import --help"])
def test_a_list_that_is_read_in_part_ends_quietly(command: str) -> None:
    line = f"{sys.executable} -m prefgen {command} | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_does_not_hide_a_mistake() -> None:
    line = f"{sys.executable} -m prefgen formats nothing-like-it 2>&1 | true; exit ${{PIPESTATUS[0]}}"
    assert subprocess.run(["bash", "-c", line], check=False).returncode == 2
