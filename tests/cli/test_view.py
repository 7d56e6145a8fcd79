from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

import pytest

from tests.cli.runs import called, start, write_input
from tests.handmade import finished_run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return finished_run(tmp_path / "out")


def test_a_static_page_of_a_sample(out: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = called("view", out, "--static", page, "--rows", "3")
    assert (done.returncode, done.stdout) == (0, "")
    assert "3 of 12 pairs" in page.read_text()
    assert called("view", out, "--static", tmp_path / "page.html" / "page.html").returncode == 8
    assert called("view", tmp_path / "empty").returncode == 2


def test_a_server_until_ctrl_c(out: Path) -> None:
    process = start("view", out)
    assert process.stdout
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        assert any(line.startswith("from another machine: ssh -L ") for line in lines)
        (url,) = [line.strip() for line in lines if line.startswith("http://127.0.0.1:")]
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert "12 pairs" in answer.read().decode()
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in rest) == (0, False)


def test_a_run_leaves_a_preview(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = called("bdhs", "-i", write_input(tmp_path / "in", 8), "-m", "none", "--engine", "fake", "-o", out)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 pairs" in (out / "preview.html").read_text()
    assert called("verify", out).returncode == 0
