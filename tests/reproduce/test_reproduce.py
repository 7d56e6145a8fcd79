"""Recipes of the paper's tables: their commands, one run to its table, and figures made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from prefgen.errors import CommandFailed, CorruptRun, UsageError
from prefgen.reproduce import recipes, running, steps, tables
from prefgen.reproduce.recipes import Scale
from prefgen.reproduce.running import Request
from prefgen.reproduce.steps import Step
from tests.cli.runs import called
from tests.guide.commands import check_options

WORLD = Path(__file__).parents[2] / "examples" / "scenes"
SMALL = {
    "title": "two arms",
    "arms": [
        {"name": "as it was", "model": "{model}", "paper": {"CHAIR_i": 12.5}},
        {
            "name": "masked, ρ 0.9",
            "steps": ["bdhs -i {rows} -m {model} --engine fake --rho 0.9 --limit 4 -o {arm}/pairs"],
            "run": "pairs",
        },
    ],
    "notes": ["a note"],
}


def request(output: Path, recipe: str, scale: Scale = "tiny", evaluations: tuple[str, ...] = ()) -> Request:
    known = recipes.load(recipe, scale)
    files = {name: f"{name} file.json" for name in known.files}
    rows = str(WORLD / "llava_instruct.json")
    return Request(
        known,
        scale,
        output,
        str(WORLD / "model"),
        rows,
        ("pictures", "more"),
        files,
        evaluations,
        judge="gpt4 --max-cost 5",
    )


@pytest.mark.parametrize("scale", recipes.SCALES)
@pytest.mark.parametrize("name", recipes.names())
def test_every_command_of_a_recipe_exists_with_its_options(name: str, scale: Scale) -> None:
    asked = request(Path("out"), name, scale, ("pope --questions a.json", "scenes --limit 3"))
    asked.check()
    found = running.steps(asked)
    assert len(found) >= len(asked.recipe.arms)
    for step in found:
        check_options(list(step.words))


def test_a_recipe_runs_once_and_ends_in_its_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(SMALL))
    command = ("reproduce", file, "--scale", "tiny", "-o", tmp_path / "out", "--eval", "scenes --limit 1")
    first = called(*command, "--json")
    assert first.returncode == 0, first.stderr
    assert [line.split()[1] for line in first.stderr.splitlines() if line.startswith("prefgen ")] == ["eval", "bdhs"]
    assert capfd.readouterr().out == ""  # what its commands print is beside the table
    found = json.loads(first.stdout)
    assert found["paper"]["as it was"] == {"CHAIR_i": 12.5}
    assert set(found["measured"]["as it was"]) == {"CHAIR_i", "recall", "partner"}
    assert [*found["measured"]["masked, ρ 0.9"]] == [f"iteration {number}" for number in range(1, 6)]
    head, _, row = (tmp_path / "out" / "table.md").read_text().splitlines()[4:7]
    assert head.startswith("| | CHAIR_i, paper | CHAIR_i | recall | partner | iteration 1 |")
    assert row.startswith("| as it was | 12.50 | ")
    again = called(*command)
    assert again.returncode == 0
    assert "prefgen " not in again.stderr  # no command ran twice
    other = called(*command, "--train", "--beta 0.2")
    assert other.returncode == 6
    assert "other settings (also)" in other.stderr


@pytest.mark.slow  # `.ci/run` runs it
@pytest.mark.parametrize(
    ("recipe", "columns"),
    [("table7", {"povid", "rlhf-v", "vlfeedback"}), ("table11", {"CHAIR_i", "recall", "partner"})],
)
def test_a_recipe_of_the_paper_runs_on_what_comes_with_prefgen(
    recipe: str, columns: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(step: Step) -> None:  # here, as most of each process would be its imports
        done = called(*step.words)
        assert done.returncode == 0, f"{step}\n{done.stderr}"
        if step.kept:
            step.kept.parent.mkdir(exist_ok=True)
            step.kept.write_text(done.stdout)

    monkeypatch.setattr(steps, "_call", call)
    shorter = ("--train", "--max-steps 2", "--eval", "scenes --limit 4")
    done = called("reproduce", recipe, "--scale", "tiny", *shorter, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    known = recipes.load(recipe)
    assert [*found["measured"]] == [arm.name for arm in known.arms]
    for measured in found["measured"].values():
        assert set(measured) == columns
        for cell in measured.values():
            assert 0 <= cell["low"] <= cell["value"] <= cell["high"] <= 100
    table = (tmp_path / "out" / "table.md").read_text()
    for arm in known.arms:
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {arm.name} |")]
        assert all(f"| {value:.2f} |" in row for value in arm.paper.values())


def test_a_command_that_fails_ends_with_its_exit_code_and_is_run_again(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    failing = {"title": "t", "arms": [{"name": "a", "steps": ["verify {arm}/nothing"], "run": "pairs"}]}
    file.write_text(yaml.safe_dump(failing))
    asked = request(tmp_path / "out", str(file))
    for _ in range(2):
        with pytest.raises(CommandFailed, match="verify") as raised:
            running.run(asked, lambda line: None)
        assert raised.value.exit_code == 2
    assert not (tmp_path / "out" / "steps.jsonl").exists()


def test_a_kill_in_the_first_write_does_not_stop_the_next_try(tmp_path: Path) -> None:
    (tmp_path / ".recipe.json.0a1b2c3d.tmp").write_text("{")
    file = tmp_path.parent / f"{tmp_path.name}.yaml"
    file.write_text(yaml.safe_dump({"title": "t", "arms": [{"name": "a", "run": "pairs"}]}))
    running.run(request(tmp_path, str(file)), lambda line: None)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == ["recipe.json"]


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="files of others"):
        running.run(request(tmp_path, "figure10"), lambda line: None)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == ["mine.txt"]


def test_figures_stand_in_the_columns_of_the_paper(tmp_path: Path) -> None:
    evaluations = ("pope --questions q", "mmhal --questions q --with-image", "lmms --tasks gqa")
    asked = request(tmp_path, "table12", evaluations=evaluations)
    for number, arm in enumerate(asked.recipe.arms):
        folder = running.folder(asked, arm)
        folder.mkdir()
        pope = {"accuracy": 0.85 + number / 100, "intervals": {"accuracy": [0.84, 0.9]}}
        (folder / "pope.json").write_text(json.dumps(pope))
        unknown = {"score": None, "hallucination_rate": None}
        mmhal = {"score": 2.5, "hallucination_rate": 0.5, "with_image": True, "intervals": unknown}
        (folder / "mmhal.json").write_text(json.dumps(mmhal))
        gqa = {"gqa/exact_match": 0.61, "intervals": {"gqa/exact_match": [0.6, 0.62]}}
        (folder / "lmms.json").write_text(json.dumps(gqa))
    lines = tables.markdown(tables.table(asked)).splitlines()
    assert lines[4] == (
        "| | POPE, paper | POPE | MMHAL, paper | MMHAL-V, paper | MMHAL-V | LLaVA-W, paper | VQAT, paper | GQA, paper "
        "| GQA | MMVet, paper | Recall, paper | hallucinated |"
    )
    row = next(line for line in lines if line.startswith("| DPO |"))
    assert row == (
        "| DPO | 88.09 | 86.00 [84.00, 90.00] | 3.16 | 3.07 | 2.50 | 78.63 | 64.56 | 64.12 | 61.00 [60.00, 62.00] "
        "| 40.60 | 73.48 | 0.50 |"
    )
    (running.folder(asked, asked.recipe.arms[0]) / "pope.json").write_text("{")
    with pytest.raises(CorruptRun):
        tables.table(asked)


def test_a_judge_has_a_cell_for_every_set(tmp_path: Path) -> None:
    asked = request(tmp_path, "table10", "paper")
    for number, step in enumerate(running.steps(asked)):
        if step.kept:
            step.kept.parent.mkdir(exist_ok=True)
            judged = {"accuracy": None, "interval": None} if number == 3 else {"accuracy": 0.9, "interval": [0.8, 1.0]}
            step.kept.write_text(json.dumps(judged))
    lines = tables.markdown(tables.table(asked)).splitlines()
    assert lines[4] == "| | vlfeedback, paper | vlfeedback | rlhf-v, paper | rlhf-v | povid, paper | povid |"
    assert lines[6].endswith("| 79.10 | nan | 81.88 | 90.00 [80.00, 100.00] | 92.96 | 90.00 [80.00, 100.00] |")


def test_a_curve_has_a_row_for_every_size_and_set(tmp_path: Path) -> None:
    asked = request(tmp_path, "figure7", "paper", ("pope --questions q",))
    assert len(asked.recipe.arms) == 1 + 3 * 7
    drawn = [step.words for step in running.steps(asked) if step.words[0] == "sample"]
    assert [words[3] for words in drawn[:3]] == ["100", "500", "1000"]
    assert drawn[1][-1] == str(tmp_path / "povid-500" / "pairs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table99",), "there is no recipe 'table99'"),
        (("table15", "--set", "povid=f"), "table15 needs --model, --eval;"),
        (("table5", "--model", "m", "--set", "vlfeedback=f", "--eval", "pope a"), "table5 needs --judge;"),
        (("figure10", "--model", "m"), "figure10 needs --input;"),
        (("table10", "--model", "m", "--set", "povid=f"), "--set vlfeedback=FILE is missing"),
        (("table6", "--scale", "tiny", "--set", "other=x"), "has no such set"),
        (("table6", "--scale", "tiny", "--set", "povid"), "give NAME=FILE"),
        (("table6", "--scale", "tiny", "--eval", "pope a", "--eval", "pope b"), "one benchmark twice"),
        ((), "name a recipe"),
    ],
)
def test_what_is_missing_or_wrong_is_named(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = called("reproduce", *arguments, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["a: [", "[]", "title: t", "title: t\narms: [{model: m}]"])
def test_a_file_that_is_no_recipe_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        recipes.load(str(tmp_path / "mine.yaml"))
