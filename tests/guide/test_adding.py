"""The examples of the page "adding": applied to a copy of the repository, where their own tests must pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from prefgen import guide

ROOT = Path(__file__).parents[2]
_SECTION = re.compile(r"^## (.*)\n((?:(?!^## ).*\n)*)", re.M)
_BLOCK = re.compile(r"^```(?:python\n# |diff\n--- )(\S+)\n(.*?)^```", re.M | re.S)


@dataclass(frozen=True)
class Change:
    """A new file, or a change of one: lines with ` ` and `-` become those with ` ` and `+`.

    ``…`` stands for the rest of a line, which stays as it is.
    """

    path: str
    text: str

    def apply(self, root: Path) -> None:
        path = root / self.path
        if not path.exists():
            path.write_text(self.text)
            return
        lines = self.text.splitlines()
        old = "\n".join(re.escape(line[1:]).replace("…", "(.*)") for line in lines if line[:1] != "+")
        rests = iter(range(1, 9))
        new = "\n".join(
            re.sub("…", lambda _: f"\\g<{next(rests)}>", line[1:].replace("\\", r"\\"))
            for line in lines
            if line[:1] != "-"
        )
        text, count = re.subn(old, new, path.read_text())
        assert count == 1, f"{self.path} has {count} places such as\n{self.text}"
        path.write_text(text)


def sections() -> dict[str, list[Change]]:
    found = _SECTION.findall(guide.page("adding"))
    return {heading: [Change(*block) for block in _BLOCK.findall(text)] for heading, text in found}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("repository")
    ignored = shutil.ignore_patterns("__pycache__", "results")
    for name in ("prefgen", "tests"):
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=ignored)
    for name in ("examples", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    for changes in sections().values():
        for change in changes:
            change.apply(root)
    yield root
    shutil.rmtree(root)


def test_each_touches_at_most_four_files() -> None:
    touched = {heading: {change.path for change in changes} for heading, changes in sections().items()}
    assert list(touched) == ["A method", "A format", "An architecture", "A loss"]
    assert all(0 < len(paths) <= 4 for paths in touched.values()), touched
    assert all(any(path.startswith("prefgen/guide/") for path in paths) for paths in touched.values())


def test_method_and_format_pass_their_tests(copy: Path) -> None:
    run(copy, "tests/methods/test_glimpse.py", "tests/formats/test_verdicts.py")


@pytest.mark.slow
def test_architecture_and_loss_pass_their_tests(copy: Path) -> None:
    run(
        copy,
        "tests/engines/test_architectures.py",
        "tests/engines/test_types.py",
        "tests/train/test_slic_squared.py",
        "tests/formats/test_listing.py",
    )


def run(copy: Path, *tests: str) -> None:
    wanted = "glimpse or verdicts or squared or mini_llava or every_type_is_in_the_table"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests, "-k", wanted]
    environment = {**os.environ, "PYTHONPATH": str(copy), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= len(tests)


@pytest.mark.slow
def test_the_examples_satisfy_mypy_and_ruff(copy: Path) -> None:
    own = sorted({change.path for changes in sections().values() for change in changes if change.path.endswith(".py")})
    for command in (["mypy", *own], ["ruff", "check", *own], ["ruff", "format", "--check", *own]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=copy, capture_output=True, text=True, check=False, timeout=500
        )
        assert done.returncode == 0, done.stdout + done.stderr
