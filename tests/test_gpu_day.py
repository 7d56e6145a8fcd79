"""The benchmarks of a GPU day: their order, what fits into the time, and entries that fail, hang or are whole."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from pathlib import Path

import gpu_day
import pytest
import torch
from gpu_day import Entry

# A benchmark: it behaves as its first argument says, and finds how the entries before it ended.
_SCRIPT = """
import json, pathlib, subprocess, sys, time
behaviour, output = sys.argv[1], pathlib.Path(sys.argv[-1])
day = pathlib.Path(sys.argv[2])
if behaviour == "raises":
    raise MemoryError("no room for 14 GiB")
before = json.loads(day.read_text())["entries"] if day.exists() else []
output.write_text(json.dumps({"figures": {"before": [entry["status"] for entry in before]}}))
if behaviour == "hangs":
    held = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True)"
    child = subprocess.Popen([sys.executable, "-c", held + "; time.sleep(600)", day.parent / "held"], stdout=-1)
    child.stdout.readline()
    time.sleep(600)
if behaviour == "dies":
    sys.exit(7)
"""


def entry(folder: Path, behaviour: str, estimate_s: float = 5.0) -> Entry:
    script = folder / "benchmark.py"
    script.write_text(_SCRIPT)
    return Entry(behaviour, "nothing", (sys.executable, str(script), behaviour, str(folder / "day.json")), estimate_s)


def run(folder: Path, *day: Entry, seconds: float = 60.0) -> list[tuple[str, str, dict[str, object]]]:
    """Name, status and figures of the entries, as the file has them."""
    gpu_day.run(day, seconds, folder / "day.json")
    kept = json.loads((folder / "day.json").read_text())
    assert kept["seconds"] == seconds
    return [(one["name"], one["status"], one["figures"]) for one in kept["entries"]]


def test_an_entry_that_fails_costs_no_other_and_the_file_is_written_after_each(tmp_path: Path) -> None:
    day = [entry(tmp_path, behaviour) for behaviour in ("works", "raises", "dies", "works")]
    assert run(tmp_path, *day) == [
        ("works", "done", {"before": []}),
        ("raises", "failed", {}),
        ("dies", "failed", {"before": ["done", "failed"]}),  # what it wrote before is kept
        ("works", "done", {"before": ["done", "failed", "failed"]}),
    ]
    results = json.loads((tmp_path / "day.json").read_text())["entries"]
    assert results[1]["why"].endswith("MemoryError: no room for 14 GiB\n")
    assert results[2]["why"].startswith("exit code 7")
    assert not results[0]["why"]


def test_an_entry_that_hangs_is_ended_with_the_processes_it_started(tmp_path: Path) -> None:
    hanging, works = entry(tmp_path, "hangs", 1.0), entry(tmp_path, "works")
    started = time.monotonic()
    found = run(tmp_path, hanging, works)
    assert found == [("hangs", "timed out", {"before": []}), ("works", "done", {"before": ["timed out"]})]
    assert gpu_day.PATIENCE <= time.monotonic() - started < 20
    with (tmp_path / "held").open("w") as held:  # a process of the entry held it
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_entry_is_ended_when_the_day_is_over(tmp_path: Path) -> None:
    assert [status for _, status, _ in run(tmp_path, entry(tmp_path, "hangs", 2.0), seconds=2.5)] == ["timed out"]


def test_an_entry_longer_than_what_is_left_is_skipped_and_shorter_ones_still_run(tmp_path: Path) -> None:
    day = [entry(tmp_path, "works"), entry(tmp_path, "raises", 61.0), entry(tmp_path, "works")]
    assert [status for _, status, _ in run(tmp_path, *day)] == ["done", "skipped", "done"]
    skipped = json.loads((tmp_path / "day.json").read_text())["entries"][1]
    assert skipped["why"].startswith("it is estimated to take 61 s, and ")
    assert skipped["seconds"] == 0


def test_the_day_begins_with_the_engine_and_fits_into_twelve_minutes() -> None:
    full, tiny = (gpu_day.entries(tiny=tiny, trl_python="V/bin/python") for tiny in (False, True))
    assert [one.name for one in full] == [one.name for one in tiny]
    assert [one.name for one in full[:4]] == ["engine-rho", "engine-noise", "engine-unguided", "types"]
    assert sum(one.estimate_s for one in full) <= 12 * 60
    assert all("llava-1.6-7b" in one.command for one in full[:3])
    assert [one.name for one in full if "V/bin/python" in one.command] == ["train-step", "rloo-step"]


def test_without_a_gpu_the_day_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_day.py", "--output", str(tmp_path / "day.json")])
    with pytest.raises(SystemExit, match="2"):
        gpu_day.main()
    assert "there is no GPU here; --tiny" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_tiny_day_is_measured_to_its_end(tmp_path: Path) -> None:
    """Every benchmark once: the engine's three entries are bdhs.py, as one-gpu-per-worker is."""
    names = ["types", "one-gpu-per-worker", "train-step", "rloo-step", "online"]
    options = ["--tiny", "--minutes", "15", "--output", str(tmp_path / "day.json"), "--only", *names]
    done = subprocess.run([sys.executable, gpu_day.__file__, *options], capture_output=True, text=True, check=False)
    results = json.loads((tmp_path / "day.json").read_text())["entries"]
    assert [(one["name"], one["status"], one["why"]) for one in results] == [(name, "done", "") for name in names]
    assert done.returncode == 0, done.stderr
    figures = {one["name"]: one["figures"] for one in results}
    assert figures["one-gpu-per-worker"]["rho: texts alike, stock and transformers"] == "1 of 1"
    assert figures["types"] | {"left out": 0} == figures["types"]
    assert (figures["types"]["float32: proven"], figures["types"]["bfloat16: proven"]) == ("2 of 2", "2 of 2")
    assert figures["one-gpu-per-worker"]["rho: texts alike, 1 per worker and transformers"] == "2 of 2"
    ratios = [("train-step", "prefgen / limit"), ("rloo-step", "prefgen / limit"), ("online", "training / engine")]
    assert all(figures[name][ratio] > 0 for name, ratio in ratios)
    assert {one["report"]["commit"] for one in results} == {results[0]["report"]["commit"]}
    assert all(one["report"]["machine"]["device"] for one in results)
    for name in names:
        assert name in done.stdout
