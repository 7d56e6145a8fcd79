"""Copies of runs in an object store: whole, verified there, continued after a kill, never over something else."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefgen import remote
from prefgen.card import push_store
from prefgen.errors import ExitCode, StoreUnreachable, UsageError
from prefgen.rundir.verify import verify
from tests.cli.runs import ENVIRONMENT, called
from tests.handmade import finished_run
from tests.store import s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3() as fs:
        yield fs


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return finished_run(tmp_path / "out")


@pytest.fixture
def target(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(remote, "PAUSES_S", (0.0, 0.0))
    return f"s3://bucket/{hashlib.md5(str(tmp_path).encode()).hexdigest()}/runs/a"


def push(out: Path, target: str) -> push_store.Copied:
    return push_store.push_store(push_store.store_package(out, target))


def there(bucket: Any, target: str) -> dict[str, bytes]:
    bucket.invalidate_cache()
    folder = target.removeprefix("s3://")
    return {path[len(folder) + 1 :]: bucket.cat_file(path) for path in bucket.find(folder)}


def named(bucket: Any, target: str) -> list[str]:
    bucket.invalidate_cache()
    return list(bucket.find(target))


def here(out: Path) -> dict[str, bytes]:
    """The files of a run that are data; not locks and votes."""
    parcel = push_store.store_package(out, "s3://bucket/x")
    return {path: (out / path).read_bytes() for path in parcel.files}


def downloaded(bucket: Any, target: str, folder: Path) -> Path:
    for path, content in there(bucket, target).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_a_copy_is_complete_and_can_be_verified(bucket: Any, out: Path, target: str, tmp_path: Path) -> None:
    done = called("push", out, target + "/")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{target}\n"
    assert there(bucket, target) == here(out)
    found = verify(downloaded(bucket, target, tmp_path / "down"))
    assert (found.problems, found.pairs, found.finished) == ((), 12, True)


def test_the_manifest_comes_last_and_its_digest_behind_it(out: Path) -> None:
    assert list(push_store.store_package(out, "s3://b/x").files)[-2:] == [
        ".prefgen/manifest.json",
        ".prefgen/manifest.sha256",
    ]


def test_pushing_again_sends_nothing(bucket: Any, out: Path, target: str) -> None:
    files = len(here(out))
    assert push(out, target) == push_store.Copied(files, 0)
    assert push(out, target) == push_store.Copied(0, files)


def test_a_dry_run_lists_and_sends_nothing(bucket: Any, out: Path, target: str) -> None:
    done = called("push", out, target, "--dry-run")
    assert done.returncode == 0
    assert done.stdout.splitlines() == list(here(out))
    assert there(bucket, target) == {}


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_copy_that_was_cut_off_goes_on_and_has_no_manifest_until_then(
    after: int, bucket: Any, out: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = len(here(out))
    left = [after]
    send = push_store._Copy._send

    def dies(self: Any, path: str) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        send(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(push_store._Copy, "_send", dies)
        with pytest.raises(KeyboardInterrupt):
            push(out, target)
    assert ".prefgen/manifest.sha256" not in there(bucket, target)
    assert push(out, target) == push_store.Copied(files - after, after)
    assert there(bucket, target) == here(out)


def test_a_killed_push_is_continued_by_the_same_command(bucket: Any, out: Path, target: str) -> None:
    command = [sys.executable, "-m", "prefgen", "push", str(out), target]
    process = subprocess.Popen(command, env={**ENVIRONMENT, **_store_environment()}, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(named(bucket, target)) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    push(out, target)
    assert there(bucket, target) == here(out)


def _store_environment() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def test_an_object_that_is_damaged_there_is_sent_again(bucket: Any, out: Path, target: str) -> None:
    files = len(here(out))
    push(out, target)
    shard = next(path for path in here(out) if path.startswith("data/"))
    bucket.pipe_file(f"{target}/{shard}", here(out)[shard][:-1] + b"!")
    bucket.rm_file(f"{target}/README.md")
    assert push(out, target) == push_store.Copied(2, files - 2)
    assert there(bucket, target) == here(out)


def test_where_the_tag_is_no_md5_the_object_is_read_back(
    bucket: Any, out: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_store, "_md5s", lambda _: set())
    files = len(here(out))
    assert push(out, target) == push_store.Copied(files, 0)
    assert push(out, target) == push_store.Copied(0, files)
    shard = next(path for path in here(out) if path.startswith("data/"))
    bucket.pipe_file(f"{target}/{shard}", here(out)[shard][:-1] + b"!")
    assert push(out, target) == push_store.Copied(1, files - 1)


def test_a_file_that_does_not_arrive_as_it_is_ends_the_push(
    bucket: Any, out: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = remote.store(target)

    def spoils(local: str, path: str) -> None:
        fs.pipe_file(path, Path(local).read_bytes()[:-1] + b"!")

    with monkeypatch.context() as patch:
        patch.setattr(fs, "put_file", spoils)
        with pytest.raises(StoreUnreachable, match="arrived with another digest, 2 times") as caught:
            push(out, target)
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert ".prefgen/manifest.sha256" not in there(bucket, target)
    push(out, target)
    assert there(bucket, target) == here(out)


def test_foreign_files_and_other_runs_are_left_alone(bucket: Any, out: Path, target: str, tmp_path: Path) -> None:
    bucket.pipe_file(f"{target}/thesis.tex", b"mine")
    with pytest.raises(UsageError, match=r"holds 1 files that are not this run's, such as thesis\.tex"):
        push(out, target)
    bucket.rm_file(f"{target}/thesis.tex")
    bucket.pipe_file(f"{target}/README.md", b"mine")
    with pytest.raises(UsageError, match="holds another run, or a part of one"):
        push(out, target)
    assert there(bucket, target) == {"README.md": b"mine"}
    bucket.rm_file(f"{target}/README.md")
    push(out, target)
    other = finished_run(tmp_path / "other")
    (other / ".prefgen" / "plan.json").write_bytes((other / ".prefgen" / "plan.json").read_bytes() + b"\n")
    before = there(bucket, target)
    parcel = push_store.store_package(out, target)
    changed = push_store.StorePackage(out, target, parcel.files, "0" * 64)
    with pytest.raises(UsageError, match="holds another run"):
        push_store.push_store(changed)
    assert there(bucket, target) == before


def test_a_bucket_that_is_not_there_is_not_made(bucket: Any, out: Path, target: str) -> None:
    done = called("push", out, "s3://no-such-bucket/a")
    assert done.returncode == ExitCode.USAGE
    assert "create the bucket first" in done.stderr
    assert not bucket.exists("no-such-bucket")


def test_a_name_that_no_bucket_can_have_is_a_usage_error_at_once(
    bucket: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefgen.remote.PAUSES_S", ())  # would be waited for
    done = called("push", out, "s3://Bad_Bucket!/a")
    assert done.returncode == ExitCode.USAGE
    assert 'Invalid bucket name "Bad_Bucket!"; correct the address' in done.stderr


def test_without_credentials_it_says_where_they_are_set(
    bucket: Any, out: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    type(bucket).clear_instance_cache()
    done = called("push", out, target)
    type(bucket).clear_instance_cache()
    assert done.returncode == ExitCode.USAGE
    assert "AWS_PROFILE" in done.stderr


def test_any_file_system_of_fsspec_will_do(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "disk" / "copy"
    assert push(out, f"memory://runs/{tmp_path.name}").sent == len(here(out))
    assert push(out, copy.as_uri()).sent == len(here(out))
    assert verify(copy).problems == ()
    assert push(out, copy.as_uri()).sent == 0


@pytest.mark.parametrize("address", ["https://host/x", "hf://datasets/me/pairs", "simplecache::s3://bucket/a"])
def test_what_is_no_store_is_refused(address: str, out: Path) -> None:
    with pytest.raises(UsageError, match="is no address of an object store"):
        push_store.store_package(out, address)


def test_a_run_that_is_damaged_or_unfinished_is_not_copied(bucket: Any, out: Path, target: str) -> None:
    shard = next((out / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    assert called("push", out, target).returncode == ExitCode.CORRUPT
    assert there(bucket, target) == {}


def test_public_is_for_the_hub(out: Path, target: str) -> None:
    done = called("push", out, target, "--public")
    assert done.returncode == ExitCode.USAGE
    assert "--public is for the Hub" in done.stderr
