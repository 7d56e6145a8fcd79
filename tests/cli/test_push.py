from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefgen.rundir.verify import verify
from tests.cli.runs import ENVIRONMENT, called
from tests.handmade import finished_run, plan
from tests.hub import TOKEN, Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as made:
        yield made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return finished_run(tmp_path / "out")


def push(hub: Hub, out: Path, *options: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    return command(hub, out, "push", str(out), "me/pairs", *options, token=token)


def command(hub: Hub, out: Path, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    del environment["HF_HUB_OFFLINE"]
    environment["HF_HOME"] = str(out.parent / "hf")  # no token of this machine
    environment["XDG_CACHE_HOME"] = str(out.parent / "cache")
    line = [sys.executable, "-m", "prefgen", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment, timeout=120)


def test_a_push_is_private_complete_and_can_be_verified(hub: Hub, out: Path, tmp_path: Path) -> None:
    done = push(hub, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.url}/datasets/me/pairs/commit/abc\n"
    assert hub.private is True
    assert hub.commits == 1
    for path, content in hub.files.items():
        (tmp_path / "down" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "down" / path).write_bytes(content)
    found = verify(tmp_path / "down")
    assert (found.problems, found.pairs, found.finished) == ((), 12, True)


def test_what_was_pushed_is_read_by_its_id(hub: Hub, out: Path, tmp_path: Path) -> None:
    assert push(hub, out).returncode == 0
    for run, name in (("me/pairs", "pulled"), (str(out), "local")):
        done = command(hub, out, "export", run, "--to", "trl", "-o", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    files = [path.relative_to(tmp_path / "local") for path in (tmp_path / "local").rglob("*.parquet")]
    assert files
    assert all((tmp_path / "pulled" / path).read_bytes() == (tmp_path / "local" / path).read_bytes() for path in files)
    missing = command(hub, out, "lint", "me/none")
    assert missing.returncode == 2
    assert "holds no finished run" in missing.stderr


def test_a_push_that_was_cut_off_goes_on(hub: Hub, out: Path) -> None:
    hub.failing = 1
    failed = push(hub, out)
    assert failed.returncode == 5
    assert "the Hub did not take me/pairs" in failed.stderr
    assert hub.commits == 0
    before = hub.uploads
    assert push(hub, out).returncode == 0
    assert hub.uploads == 4  # four shards, each of them once
    assert before <= 3


def test_files_of_an_earlier_push_are_replaced(hub: Hub, out: Path, tmp_path: Path) -> None:
    push(hub, out)
    hub.files["notes.md"] = b"the user's own"
    smaller = finished_run(tmp_path / "smaller", plan(8))
    assert push(hub, smaller).returncode == 0
    assert sorted(path for path in hub.files if path.startswith("data/")) == [
        f"data/train-0000{number}-of-00002.parquet" for number in range(2)
    ]
    assert "notes.md" in hub.files


def test_public_only_when_asked_for(hub: Hub, out: Path) -> None:
    assert push(hub, out, "--public").returncode == 0
    assert hub.private is False
    refused = push(hub, out)
    assert (refused.returncode, hub.commits) == (2, 1)
    assert "is there already, and public: give --public" in refused.stderr


def test_a_wrong_token_sends_nothing(hub: Hub, out: Path) -> None:
    refused = push(hub, out, token="hf_other")
    assert (refused.returncode, hub.files) == (5, {})
    assert "hf_other" not in refused.stderr


def test_a_token_that_no_header_can_hold_is_said_and_not_shown(hub: Hub, out: Path) -> None:
    refused = push(hub, out, token="hf_gehëim")
    assert refused.returncode == 2
    assert "$HF_TOKEN holds characters that no key has" in refused.stderr
    assert "gehëim" not in refused.stderr


def test_no_token_is_said(hub: Hub, out: Path) -> None:
    refused = push(hub, out, token="")
    assert refused.returncode == 2
    assert "set HF_TOKEN" in refused.stderr


def test_a_dry_run_lists_and_sends_nothing(out: Path) -> None:
    shown = called("push", out, "me/pairs", "--dry-run")
    assert shown.returncode == 0
    assert "README.md" in shown.stdout.splitlines()
    assert ".prefgen/lock" not in shown.stdout.splitlines()
    assert "private" in shown.stderr


def test_a_hub_that_is_not_there_is_said_without_a_traceback(out: Path) -> None:
    with Hub() as gone:
        pass
    refused = push(gone, out)
    assert (refused.returncode, "Traceback" in refused.stderr) == (5, False)
    assert "the Hub did not take me/pairs" in refused.stderr
