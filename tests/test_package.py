"""What is packed into a wheel and an sdist, and that a wheel alone runs the main job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MIB = 2**20
BUILD = "import sys; from setuptools import build_meta; build_meta.{}(sys.argv[1])"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist of this checkout, built in a copy: a build leaves files behind."""
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, folder / "copy", symlinks=True, ignore=ignored)
    for kind in ("build_wheel", "build_sdist"):
        command = [sys.executable, "-c", BUILD.format(kind), str(folder)]
        subprocess.run(command, cwd=folder / "copy", check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_package_and_its_data(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"prefgen"}
    ours = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "prefgen").rglob("*.*")
        if path.suffix in (".py", ".txt", ".js", ".md")
    }
    assert ours - names == set()
    assert {"prefgen/demo/model/model.safetensors", "prefgen/demo/llava_instruct.json"} <= names
    assert sum(name.startswith("prefgen/demo/images/") for name in names) >= 400
    assert wheel.stat().st_size < 12 * MIB


def test_the_sdist_holds_what_one_needs_to_go_on(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("CHANGELOG.md", "constraints.txt", "LICENSE", "examples/scenes/train.py", "tests/test_package.py"):
        assert name in names
    assert not [name for name in names if "__pycache__" in name or name.startswith(".git")]
    assert sdist.stat().st_size < 32 * MIB


def test_a_wheel_alone_runs_the_demo(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "NO_COLOR": "1", "COLUMNS": "100"}
    command = [sys.executable, "-P", "-m", "prefgen", "demo", "--limit", "6", "-o", "made"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"--model {tmp_path / 'site'}" in done.stderr  # not this checkout's
    assert "prefgen view made" in done.stderr
    assert list((tmp_path / "made" / "data").glob("*.parquet"))
