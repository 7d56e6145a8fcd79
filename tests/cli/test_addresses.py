"""Runs whose input is at an address: the data of a local run, and what a store may do to a run on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from prefgen import remote
from tests.cli.runs import called, data_digests, write_input
from tests.store import Web, s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3() as fs:
        yield fs


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES_S", (0.0, 0.0))


def bdhs(input: object, images: Path, out: Path, *more: str) -> Any:
    arguments = ("bdhs", "-i", str(input), "-m", "none", "--engine", "fake", "--shard-size", "8")
    return called(*arguments, "--image-root", images, "-o", out, *more)


def test_a_run_from_an_address_has_the_data_of_a_local_one(bucket: Any, tmp_path: Path) -> None:
    local = write_input(tmp_path / "here", 20)
    bucket.pipe_file("bucket/rows/input.json", local.read_bytes())
    images = local.parent / "images"
    assert bdhs(local, images, tmp_path / "a").returncode == 0
    assert bdhs("s3://bucket/rows/input.json", images, tmp_path / "b").returncode == 0
    assert data_digests(tmp_path / "b") == data_digests(tmp_path / "a")
    again = bdhs("s3://bucket/rows/input.json", images, tmp_path / "b")
    assert again.returncode == 0
    assert "nothing to do" in again.stderr


def test_an_object_that_changed_since_the_plan_is_drift(bucket: Any, tmp_path: Path) -> None:
    local = write_input(tmp_path / "here", 20)
    bucket.pipe_file("bucket/drift/input.json", local.read_bytes())
    images = local.parent / "images"
    assert bdhs("s3://bucket/drift/input.json", images, tmp_path / "out", "--shard", "0/2").returncode == 0
    bucket.pipe_file("bucket/drift/input.json", local.read_bytes().replace(b"cats", b"dogs"))
    other = bdhs("s3://bucket/drift/input.json", images, tmp_path / "out", "--shard", "1/2")
    assert other.returncode == 6
    assert "input_sha256" in other.stderr


def test_a_run_goes_on_where_the_network_failed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BUFFER_BYTES", 1000)
    local = write_input(tmp_path / "here", 40)
    images = local.parent / "images"
    assert bdhs(local, images, tmp_path / "a").returncode == 0
    with Web({"/input.json": local.read_bytes()}) as web:
        address = f"{web.url}/input.json"
        assert bdhs(address, images, tmp_path / "b", "--allow-urls", "--shard", "0/3").returncode == 0
        web.cuts = [0.5, *[0.0] * 1000]  # half of the file, then nothing; halves alone can add up to all of it
        broken = bdhs(address, images, tmp_path / "b", "--allow-urls")
        assert broken.returncode == 5, broken.stderr
        assert "The same command continues" in broken.stderr
        web.cuts = []
        assert bdhs(address, images, tmp_path / "b", "--allow-urls").returncode == 0
    assert data_digests(tmp_path / "b") == data_digests(tmp_path / "a")


def test_no_secret_of_an_address_is_kept_or_printed(tmp_path: Path) -> None:
    local = write_input(tmp_path / "here", 8)
    with Web({"/input.json": local.read_bytes()}) as web:
        address = web.url.replace("//", "//me:hunter2@") + "/input.json?X-Amz-Signature=hunter3"
        done = bdhs(address, local.parent / "images", tmp_path / "out", "--allow-urls")
        assert done.returncode == 0, done.stderr
        web.files.clear()
        gone = bdhs(address, local.parent / "images", tmp_path / "other", "--allow-urls")
    assert gone.returncode == 2
    said = done.stdout + done.stderr + gone.stdout + gone.stderr
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert "/input.json" in said
    assert any(b"/input.json" in path.read_bytes() for path in kept)
    assert "hunter" not in said
    assert not [path for path in kept if b"hunter" in path.read_bytes()]


@pytest.mark.parametrize(
    "address", ["http://bob:pass@h/v1", "https://pass@h/v1", "http://h/v1?api_key=pass", "h?sig=pass"]
)
@pytest.mark.parametrize(
    "words",
    [
        ("corrupt", "-i", "x", "--judge", "m", "-o", "o", "--judge-url"),
        ("rank", "-i", "x", "-m", "m", "--by", "api", "--judge", "m", "-o", "o", "--judge-url"),
        ("povid", "-i", "x", "-m", "m", "--engine", "openai", "-o", "o", "--base-url"),
        ("compare", "x", "y", "-m", "m", "--engine", "openai", "--base-url"),
    ],
)
def test_an_address_of_a_server_holds_no_secret(words: tuple[str, ...], address: str) -> None:
    done = called(*words, address)
    assert done.returncode == 2
    assert "must" in done.stderr
    assert "pass" not in done.stderr.replace("password", "")


def test_several_inputs_on_the_command_line_and_in_its_lock(tmp_path: Path) -> None:
    local = write_input(tmp_path / "here", 20)
    rows = json.loads(local.read_text())
    for name, part in (("p-1.json", rows[:9]), ("p-2.json", rows[9:14]), ("rest.json", rows[14:])):
        (local.parent / name).write_text(json.dumps(part))
    images = local.parent / "images"
    assert bdhs(local, images, tmp_path / "one").returncode == 0
    done = bdhs(local.parent / "p-*.json", images, tmp_path / "out", "-i", str(local.parent / "rest.json"))
    assert done.returncode == 0, done.stderr
    one, several = ([row["chosen"] for row in read_rows(tmp_path / name)] for name in ("one", "out"))
    assert several == one
    lock = tmp_path / "out" / ".prefgen" / "config.lock"
    again = called("bdhs", "--config", lock, "-o", tmp_path / "out")
    assert "nothing to do" in again.stderr, again.stderr


def read_rows(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "data").iterdir()) for row in pq.read_table(path).to_pylist()]


def test_one_input_of_a_configuration_may_be_no_list(tmp_path: Path) -> None:
    local = write_input(tmp_path / "here", 8)
    config = tmp_path / "run.toml"
    config.write_text(f'input = "{local}"\nmodel = "none"\nengine = "fake"\n')
    done = called("bdhs", "--config", config, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
