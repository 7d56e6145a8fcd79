from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.runs import called
from tests.handmade import finished_run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("lint") / "out")


def test_a_table_or_json(out: Path) -> None:
    shown = called("lint", out)
    assert shown.returncode == 0, shown.stderr
    assert "length-bias" in shown.stdout
    assert "12 pairs: " in shown.stdout
    assert json.loads(called("lint", out, "--json").stdout)["rows"] == 12


def test_fail_on_ends_with_3(out: Path, tmp_path: Path) -> None:
    assert called("lint", out, "--fail-on", "error").returncode == 0
    excluded = tmp_path / "excluded.txt"
    excluded.write_text("cat.png\n")
    failed = called("lint", out, "--fail-on", "error", "--exclude-images", excluded)
    assert failed.returncode == 3
    assert "leakage" in failed.stdout
    assert "1 findings of level error" in failed.stderr


def test_wrong_use_is_refused(out: Path, tmp_path: Path) -> None:
    unknown = called("lint", out, "--fail-on", "info")
    assert (unknown.returncode, "choose from error, warning" in unknown.stderr) == (2, True)
    assert called("lint", tmp_path).returncode == 2
