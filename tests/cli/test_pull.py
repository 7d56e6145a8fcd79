"""Commands that read a run take one that was pushed: by its address, or by its id on the Hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefgen import remote
from prefgen.errors import ExitCode
from prefgen.rundir.verify import verify
from tests.cli.runs import called, data_digests
from tests.handmade import finished_run
from tests.store import s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3() as fs:
        yield fs


@pytest.fixture
def pushed(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a run that is also in ``here/out``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSES_S", (0.0, 0.0))
    address = f"s3://bucket/{hashlib.md5(str(tmp_path).encode()).hexdigest()}/out"
    done = called("push", finished_run(tmp_path / "here" / "out"), address)
    assert done.returncode == 0, done.stderr
    return address


def test_mix_lint_view_and_export_take_an_address(pushed: str, tmp_path: Path) -> None:
    here = tmp_path / "here" / "out"
    for name, run in (("local", str(here)), ("pulled", pushed)):
        assert called("mix", f"{run}:0.5", "-o", tmp_path / name / "mixture").returncode == 0
        assert called("export", run, "--to", "trl", "-o", tmp_path / name / "trl").returncode == 0
        assert called("view", run, "--static", tmp_path / name / "page.html").returncode == 0
    assert data_digests(tmp_path / "pulled" / "mixture") == data_digests(tmp_path / "local" / "mixture")
    exported = [path.relative_to(tmp_path / "local") for path in (tmp_path / "local" / "trl").rglob("*.*")]
    for file in (Path("page.html"), *exported):
        assert (tmp_path / "pulled" / file).read_bytes() == (tmp_path / "local" / file).read_bytes(), file
    found = [json.loads(called("lint", run, "--json").stdout) for run in (here, pushed)]
    assert found[0] == found[1]


def test_the_download_is_whole_and_made_once(bucket: Any, pushed: str, tmp_path: Path) -> None:
    assert called("lint", pushed).returncode == 0
    [copy] = (tmp_path / "cache" / "prefgen" / "runs").glob("*/out")
    assert verify(copy).problems == ()
    bucket.rm(f"{pushed}/data", recursive=True)
    assert called("lint", pushed).returncode == 0


def test_a_download_that_was_cut_off_goes_on(bucket: Any, pushed: str, tmp_path: Path) -> None:
    shard = next(path for path in bucket.find(f"{pushed}/data"))
    content = bucket.cat_file(shard)
    bucket.rm_file(shard)
    broken = called("lint", pushed)
    assert broken.returncode == ExitCode.CORRUPT
    assert "is missing: push the run again" in broken.stderr
    bucket.pipe_file(shard, content)
    assert called("lint", pushed).returncode == 0


def test_a_damaged_object_is_never_read_as_data(bucket: Any, pushed: str) -> None:
    shard = next(path for path in bucket.find(f"{pushed}/data"))
    bucket.pipe_file(shard, bucket.cat_file(shard)[:-1] + b"!")
    broken = called("export", pushed, "--to", "trl", "-o", "never")
    assert broken.returncode == ExitCode.CORRUPT
    assert "differs from its digest" in broken.stderr
    manifest = f"{pushed}/.prefgen/manifest.json"
    bucket.pipe_file(manifest, bucket.cat_file(manifest) + b" ")
    assert called("lint", pushed).returncode == ExitCode.CORRUPT


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "data/../../evil", "..\\evil"])
def test_a_manifest_cannot_name_files_outside_the_run(name: str, bucket: Any, pushed: str, tmp_path: Path) -> None:
    bucket.pipe_file(f"{pushed}/.prefgen/manifest.json", record := json.dumps({"files": {name: {}}}).encode())
    digest = hashlib.sha256(record).hexdigest()
    bucket.pipe_file(f"{pushed}/.prefgen/manifest.sha256", f"{digest}  manifest.json\n".encode())
    broken = called("lint", pushed)
    assert broken.returncode == ExitCode.CORRUPT
    assert "which is outside the run" in broken.stderr
    assert not list(tmp_path.rglob("evil"))


def test_what_holds_no_run_is_said(bucket: Any, pushed: str, tmp_path: Path) -> None:
    for address in ("s3://bucket/nothing/here", "s3://no-such-bucket/run"):
        missing = called("lint", address)
        assert missing.returncode == ExitCode.USAGE
        assert "holds no finished run of prefgen" in missing.stderr
    refused = called("lint", "https://example.org/run")
    assert refused.returncode == ExitCode.USAGE


def test_a_cache_that_cannot_be_written_is_the_machines_fault(
    pushed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert called("lint", pushed).returncode == ExitCode.ENVIRONMENT
