"""prefgen as a library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import prefgen
from prefgen.errors import TooManyDropped, UsageError
from prefgen.rundir.verify import verify
from prefgen.runner.import_job import ImportJob
from prefgen.runner.reporter import Progress
from prefgen.sources import SourceOptions
from tests.cli.runs import called, write_input
from tests.formats.written import picture, povid_row, write_json

PUBLIC = {
    *("BDHS", "METHODS", "Corrupt", "EngineConfig", "ImagePairs", "JudgeConfig", "Notebook", "Objective"),
    *("Optimisation", "Povid", "Rank", "Reporter", "Run", "Silent", "SourceOptions", "StoredPair", "Terminal"),
    *("build", "import_set", "lint", "open", "train"),
}


def fake() -> prefgen.EngineConfig:
    return prefgen.EngineConfig("none", "fake")


def test_the_public_names_are_the_agreed_ones() -> None:
    assert set(prefgen.__all__) == PUBLIC
    assert dir(prefgen) == sorted({*PUBLIC, "__version__"})
    assert all(getattr(prefgen, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'buld'"):
        _ = prefgen.buld


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import prefgen, sys; print([m for m in ('torch', 'numpy', 'typer', 'rich', 'pyarrow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_run_is_made_opened_and_iterated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_input(tmp_path, 9)
    run = prefgen.build(
        prefgen.BDHS(iterations=2),
        input=str(source),
        model=fake(),
        output=tmp_path / "out",
        shard_size=4,
        reporter=prefgen.Silent(),
    )
    assert capsys.readouterr().out == ""
    assert not verify(run.path).problems
    pairs = list(run)
    assert len(run) == len(pairs) == run.figures.pairs > 4
    assert pairs[-1] == run[-1] == prefgen.open(run.path)[len(run) - 1]
    pair = run[0]
    assert pair.chosen != pair.rejected
    assert (pair.method, pair.variant) == ("bdhs", "attn")
    assert pair.question
    assert pair.images()[0].width == pair.meta["images"][0]["width"]
    assert run.to_dataset()[0]["chosen_response"] == pair.chosen
    assert prefgen.lint(run).rows == len(run)
    with pytest.raises(IndexError):
        _ = run[len(run)]


def test_it_makes_what_the_command_makes(tmp_path: Path) -> None:
    source = write_input(tmp_path, 9)
    made = prefgen.build(
        prefgen.BDHS(), input=str(source), model=fake(), output=tmp_path / "a", shard_size=4, reporter=prefgen.Silent()
    )
    told = called(*("bdhs", "-i", source, "-m", "none", "--engine", "fake", "-o", tmp_path / "b", "--shard-size", "4"))
    assert told.returncode == 0, told.stderr
    files = [[path.read_bytes() for path in sorted((out / "data").iterdir())] for out in (made.path, tmp_path / "b")]
    assert files[0] == files[1]


def test_a_set_is_imported(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"COCO_train2014_{number:012d}.jpg").write_bytes(picture(number).data)
    path = write_json(tmp_path / "povid.json", [povid_row(number) for number in range(3)])
    run = prefgen.import_set("povid", path, output=tmp_path / "out", reporter=prefgen.Silent())
    assert [pair.method for pair in run] == ["povid"] * 3
    with pytest.raises(UsageError, match="no set 'poved'; did you mean povid"):
        prefgen.import_set("poved", path, output=tmp_path / "none")
    with pytest.raises(UsageError, match="--pairing is an option of vlfeedback, ranked, not of povid"):
        prefgen.import_set("povid", path, output=tmp_path / "none", pairing="all")
    with pytest.raises(UsageError, match="--colour is an option of no importer, not of povid"):
        prefgen.import_set("povid", path, output=tmp_path / "none", colour="red")


def test_a_preset_draws_as_many_pairs_as_the_paper(tmp_path: Path) -> None:
    job = ImportJob.of("vlfeedback-gpt4v-5k", {}, "in", SourceOptions(), tmp_path, 8)
    assert job.source.sample == 5000
    assert vars(job.importer)["chosen_model"] == "gpt-4*"
    assert ImportJob.of("povid-5k", {}, "in", SourceOptions(sample=7), tmp_path, 8).source.sample == 7


def test_what_is_wrong_is_raised(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no prefgen run"):
        prefgen.open(tmp_path)
    path = write_json(tmp_path / "rows.json", [{"image": "none.png", "question": "What?", "answer": "A cat."}])
    with pytest.raises((UsageError, TooManyDropped)):
        prefgen.build(prefgen.BDHS(), input=path, model=fake(), output=tmp_path / "out", reporter=prefgen.Silent())


@pytest.mark.parametrize("reporter", [prefgen.Terminal(), prefgen.Notebook(), prefgen.Silent()])
def test_a_reporter_shows_how_a_run_goes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], reporter: prefgen.Reporter
) -> None:
    source = write_input(tmp_path, 9)
    prefgen.build(prefgen.BDHS(), input=str(source), model=fake(), output=tmp_path / "out", reporter=reporter)
    shown = capfd.readouterr()
    lines = {prefgen.Terminal: shown.err, prefgen.Notebook: shown.out.rpartition("\r")[2]}
    assert ("9/9 rows" in lines.get(type(reporter), "")) == (not isinstance(reporter, prefgen.Silent))
    assert not isinstance(reporter, prefgen.Silent) or not shown.out + shown.err


def test_a_run_may_have_a_reporter_of_ones_own(tmp_path: Path) -> None:
    class Counting(prefgen.Silent):
        begun: tuple[int, int] = (0, 0)

        def progress(self, total: int, done: int) -> Progress:
            self.begun = total, done
            return super().progress(total, done)

    reporter = Counting()
    source = write_input(tmp_path, 9)
    prefgen.build(prefgen.BDHS(), input=str(source), model=fake(), output=tmp_path / "out", reporter=reporter)
    assert reporter.begun == (9, 0)
    assert "prefgen.build" in (tmp_path / "out" / "README.md").read_text()
