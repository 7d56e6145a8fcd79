"""What works where the packages that models need are not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = ("torch", "transformers", "sentence_transformers", "datasets", "openai")
BLOCKED = f"""
import importlib.abc, importlib.metadata, json, sys
ABSENT = {ABSENT!r}

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
find_spec, version = importlib.util.find_spec, importlib.metadata.version

def absent_spec(name, package=None):
    return None if name.split(".")[0] in ABSENT else find_spec(name, package)

def absent_version(name):
    if name.replace("-", "_") in ABSENT:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.util.find_spec, importlib.metadata.version = absent_spec, absent_version
from prefgen.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["prefgen", *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
""".replace("import importlib.abc,", "import importlib.abc, importlib.util,")


def prefgen(*commands: tuple[object, ...]) -> subprocess.CompletedProcess[str]:
    """Run commands in one process, up to the first that fails."""
    words = json.dumps([list(map(str, command)) for command in commands])
    return subprocess.run([sys.executable, "-c", BLOCKED, words], capture_output=True, text=True, check=False)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    from PIL import Image

    entries = []
    for index in range(4):
        Image.new("RGB", (32, 32), (index * 60, 20, 90)).save(tmp_path / f"{index}.png")
        turns = [
            {"from": "human", "value": f"<image>\nWhat is in picture {index}?"},
            {"from": "gpt", "value": f"A square of shade {index}. It fills the whole picture from side to side."},
        ]
        entries.append({"id": f"row-{index}", "image": f"{index}.png", "conversations": turns})
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(entries))
    return file


def test_the_data_commands_run(rows: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    done = prefgen(
        ("bdhs", "--input", rows, "--engine", "fake", "--model", "m", "--output", made),
        ("verify", made),
        ("mix", made, "--output", tmp_path / "mixed"),
        ("lint", made),
        ("export", made, "--to", "trl", "--output", tmp_path / "exported"),
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), (done.stdout, done.stderr)
    exported = min((tmp_path / "exported").rglob("*.parquet"))
    done = prefgen(
        ("import", "trl", exported, "--output", tmp_path / "imported"),
        ("view", made, "--static", tmp_path / "page.html"),
        ("doctor", "--output", tmp_path),
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), (done.stdout, done.stderr)


def test_answers_that_are_there_are_scored(tmp_path: Path) -> None:
    question, answer = (
        {"question_id": 1, "image": "x.jpg", "text": "A dog?", "label": "yes"},
        {"question_id": 1, "text": "Yes"},
    )
    for name, row in (("q.json", question), ("a.json", answer)):
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    given = ("--questions", tmp_path / "q.json", "--answers", tmp_path / "a.json", "--output", tmp_path / "out")
    done = prefgen(("eval", "pope", *given), ("eval", "compare", tmp_path / "out", tmp_path / "out"))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_a_command_that_needs_a_model_names_the_pip_line(rows: Path, tmp_path: Path) -> None:
    done = prefgen(("bdhs", "--input", rows, "--model", tmp_path, "--output", tmp_path / "out"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "pip install prefgen" in done.stderr
