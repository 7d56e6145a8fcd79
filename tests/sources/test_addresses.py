"""Rows at addresses: every container from an S3 server and from web servers, and what can go wrong on the way."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefgen import addresses, remote
from prefgen.errors import ExitCode, PackageMissing, StoreUnreachable, UsageError
from prefgen.sources import SourceOptions, fingerprint, read
from tests.store import Web, s3

ALL = SourceOptions()
URLS = SourceOptions(allow_urls=True)
ROWS = [{"id": f"r{n}", "image": f"{n}.jpg", "question": "What?", "answer": f"Thing {n}. " * 20} for n in range(300)]
PNG = bytes.fromhex("89504e470d0a1a0a")


def lines(rows: list[dict[str, Any]] = ROWS) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer, row_group_size=70)
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for row in ROWS:
            for suffix, content in ((".jpg", PNG), (".json", json.dumps({**row, "image": ""}).encode())):
                member = tarfile.TarInfo(f"{row['id']}{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def table() -> bytes:
    head = ",".join(ROWS[0])
    return "\n".join([head, *(",".join(row.values()) for row in ROWS)]).encode()


CONTAINERS: dict[str, Callable[[], bytes]] = {
    "rows.json": lambda: json.dumps(ROWS).encode(),
    "wrapped.json": lambda: json.dumps({"data": ROWS}, indent=1).encode(),
    "rows.jsonl": lines,
    "rows.parquet": parquet,
    "rows.csv": table,
    "rows.jsonl.gz": lambda: gzip.compress(lines()),
    "rows.jsonl.zst": lambda: bytes(pytest.importorskip("zstandard").compress(lines())),
    "rows.tar": tar,
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3() as fs:
        yield fs


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES_S", (0.0, 0.0))


def same(address: str, local: Path, options: SourceOptions) -> None:
    there, here = list(read(address, options)), list(read(str(local), options))
    assert len(there) == len(ROWS)
    assert there == here


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("ranges", [True, False, None], ids=["web server", "web server without ranges", "S3"])
def test_every_container_gives_the_rows_of_a_local_file(
    name: str, ranges: bool | None, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "BUFFER_BYTES", 5000)  # so that it takes several requests
    local = tmp_path / name
    local.write_bytes(CONTAINERS[name]())
    if ranges is None:
        bucket.pipe_file(f"bucket/in/{name}", local.read_bytes())
        same(f"s3://bucket/in/{name}", local, ALL)
        return
    with Web({f"/in/{name}": local.read_bytes()}, ranges=ranges) as web:
        same(f"{web.url}/in/{name}", local, URLS)


def test_a_file_address_is_the_local_file(tmp_path: Path) -> None:
    local = tmp_path / "a b.jsonl"
    local.write_bytes(lines())
    same(local.as_uri(), local, ALL)
    assert fingerprint(local.as_uri(), ALL) == fingerprint(str(local), ALL)


def test_a_meta_file_lists_files_beside_it_and_nothing_of_this_machine(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(lines())
    for name in ("x.jsonl", str(tmp_path / "mine.jsonl")):
        entry = {"root": "pics", "annotation": name, "repeat_time": 1, "length": len(ROWS)}
        bucket.pipe_file("bucket/meta/set.json", json.dumps({"set": entry}).encode())
        bucket.pipe_file("bucket/meta/x.jsonl", lines())
        if name == "x.jsonl":
            assert len(list(read("s3://bucket/meta/set.json", ALL))) == len(ROWS)
        else:
            with pytest.raises(UsageError, match="is not there"):
                list(read("s3://bucket/meta/set.json", ALL))


def test_the_fingerprint_follows_the_object_and_names_no_credentials(bucket: Any) -> None:
    bucket.pipe_file("bucket/f.jsonl", lines())
    first = fingerprint("s3://bucket/f.jsonl", ALL)
    assert first == fingerprint("s3://bucket/f.jsonl", ALL)
    assert first.startswith("s3://bucket/f.jsonl ETag ")
    bucket.pipe_file("bucket/f.jsonl", lines()[:-1] + b" ")  # as long as before
    assert fingerprint("s3://bucket/f.jsonl", ALL) != first
    with Web({"/f.jsonl": lines()}) as web:
        signed = web.url.replace("//", "//me:secret@") + "/f.jsonl?X-Amz-Signature="
        assert fingerprint(signed + "abc", URLS) == fingerprint(signed + "other", URLS)
        assert "secret" not in fingerprint(signed + "abc", URLS)


def test_an_object_that_changes_while_it_is_read_stops_the_run(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BUFFER_BYTES", 5000)
    for other in (lines()[:-1] + b" ", lines()[:20_000]):
        bucket.pipe_file("bucket/g.jsonl", lines())
        rows = read("s3://bucket/g.jsonl", ALL)
        next(rows)
        bucket.pipe_file("bucket/g.jsonl", other)
        with pytest.raises(UsageError, match=r"INPUT_CHANGED: s3://bucket/g\.jsonl"):
            list(rows)


@pytest.mark.parametrize("cuts", [[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]], ids=str)
@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_is_made_again_where_it_broke(ranges: bool, cuts: list[float], tmp_path: Path) -> None:
    local = tmp_path / "rows.jsonl"
    local.write_bytes(lines())
    with Web({"/rows.jsonl": lines()}, ranges=ranges) as web:
        web.cuts = [*cuts]
        same(f"{web.url}/rows.jsonl", local, URLS)
        assert web.cuts == []


@pytest.mark.parametrize("fault", ["cuts", "status"])
def test_a_network_that_stays_broken_ends_with_its_own_exit_code(fault: str) -> None:
    with Web({"/rows.jsonl": lines()}) as web:
        rows = read(f"{web.url}/rows.jsonl", URLS)
        setattr(web, fault, {"cuts": [0.0] * 1000, "status": 503}[fault])
        with pytest.raises(StoreUnreachable, match="tried 3 times") as caught:
            list(rows)
    assert caught.value.exit_code == ExitCode.UNREACHABLE


def test_a_server_that_is_gone_is_no_missing_file() -> None:
    with Web({}) as web, pytest.raises(UsageError, match="INPUT_NOT_FOUND"):
        list(read(f"{web.url}/rows.jsonl", URLS))
    with pytest.raises(StoreUnreachable):
        list(read(f"{web.url}/rows.jsonl", URLS))


@pytest.mark.parametrize("address", ["s3://bucket/none.jsonl", "s3://no-such-bucket/rows.jsonl", "s3://bucket/none-*"])
def test_what_is_not_there_is_said(address: str, bucket: Any) -> None:
    with pytest.raises(UsageError, match="INPUT_NOT_FOUND") as caught:
        list(read(address, ALL))
    assert address in str(caught.value)


def test_a_folder_is_no_file(bucket: Any) -> None:
    bucket.pipe_file("bucket/folder/a.parquet", parquet())
    with pytest.raises(UsageError, match=r"is a folder; name its files, as in s3://bucket/folder/\*\.parquet"):
        list(read("s3://bucket/folder", ALL))


def test_without_credentials_it_says_where_they_are_set(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.pipe_file("bucket/h.jsonl", lines())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket.clear_instance_cache()
    with pytest.raises(UsageError, match=r"AWS_PROFILE.*FSSPEC_S3_ANON"):
        list(read("s3://bucket/h.jsonl", ALL))
    bucket.clear_instance_cache()


def test_a_refused_file_is_a_matter_of_credentials() -> None:
    with Web({"/a.jsonl": lines()}) as web:
        web.status = 403
        with pytest.raises(UsageError, match=r"INPUT_UNREADABLE.*credentials"):
            list(read(f"{web.url}/a.jsonl", URLS))


def test_a_host_in_an_address_needs_leave() -> None:
    with Web({"/a.jsonl": lines()}) as web:
        with pytest.raises(UsageError, match=r"URL_DISABLED.*--allow-urls"):
            list(read(f"{web.url}/a.jsonl", ALL))
        assert web.requests == 0


@pytest.mark.parametrize("address", ["zip://a.jsonl::https://x.org/b.zip", "simplecache::s3://bucket/a.jsonl"])
def test_a_chain_of_addresses_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="URL_SCHEME"):
        list(read(address, URLS))


def test_a_redirect_from_the_public_internet_leads_to_no_private_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with Web({"/a.jsonl": lines()}) as web:
        monkeypatch.setattr(addresses, "names_private_host", lambda _: False)  # as if the first host were public
        with pytest.raises(UsageError, match="not on the public internet"):
            list(read(f"{web.url}/a.jsonl", URLS))
        assert web.requests == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3fs", "gcsfs"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    from fsspec.registry import _registry

    for name in ("s3", "gs"):
        monkeypatch.delitem(_registry, name, raising=False)
    with pytest.raises(PackageMissing, match=r"pip install 'prefgen\[s3\]'"):
        list(read("s3://bucket/a.jsonl", ALL))
    with pytest.raises(PackageMissing, match="pip install gcsfs"):
        list(read("gs://bucket/a.jsonl", ALL))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@host/a?x=1", "https://***@host/a?x=1"),
        (
            "https://h/a?X-Amz-Credential=AK%2F1&X-Amz-Signature=ff&v=2",
            "https://h/a?X-Amz-Credential=***&X-Amz-Signature=***&v=2",
        ),
        ("https://h/a?sv=1&sig=abc%3D and more", "https://h/a?sv=***&sig=*** and more"),
        ("https://h/a?access_token=abc", "https://h/a?access_token=***"),
        ("s3://key:secret@bucket/a", "s3://***@bucket/a"),
    ],
)
def test_secrets_are_taken_out_of_what_is_printed(text: str, shown: str) -> None:
    assert addresses.redact(text) == shown
