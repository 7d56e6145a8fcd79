"""Parquet: bounded batches, and files that are damaged or meant to do damage."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefgen.errors import UsageError
from prefgen.sources import parquet_rows
from prefgen.sources.parquet_rows import read_parquet


def written(path: Path, table: pa.Table, **options: object) -> Path:
    pq.write_table(table, path, **options)
    return path


@pytest.fixture
def table() -> pa.Table:
    return pa.table({"question": [f"question {number}" for number in range(100)]})


def test_rows_come_in_order_across_row_groups_and_batches(tmp_path: Path, table: pa.Table) -> None:
    rows = list(read_parquet(written(tmp_path / "a.parquet", table, row_group_size=30)))
    assert [row.columns for row in rows] == table.to_pylist()
    assert [rows[0].where, rows[99].where] == ["row 1", "row 100"]


def test_a_cut_footer_or_wrong_magic_is_corrupt(tmp_path: Path, table: pa.Table) -> None:
    whole = written(tmp_path / "a.parquet", table).read_bytes()
    for content in (whole[:-20], whole[:4], b"<html>", whole[:-4] + b"XXXX"):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(UsageError, match=r"PARQUET_CORRUPT"):
            list(read_parquet(tmp_path / "a.parquet"))


def test_a_wrong_page_checksum_names_the_row_group(tmp_path: Path, table: pa.Table) -> None:
    options = {"write_page_checksum": True, "compression": "none", "use_dictionary": False, "row_group_size": 50}
    content = written(tmp_path / "a.parquet", table, **options).read_bytes()
    at = content.index(b"question 77")
    (tmp_path / "a.parquet").write_bytes(content[:at] + b"X" + content[at + 1 :])
    with pytest.raises(UsageError, match=r"PARQUET_CHECKSUM: .*row group 1"):
        list(read_parquet(tmp_path / "a.parquet"))


def test_damage_within_a_page_is_an_error(tmp_path: Path, table: pa.Table) -> None:
    content = written(tmp_path / "a.parquet", table, compression="zstd").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:30] + b"\xff" * 40 + content[70:])
    with pytest.raises(UsageError, match=r"PARQUET_CORRUPT"):
        list(read_parquet(tmp_path / "a.parquet"))


def test_a_dictionary_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    bomb = pa.table({"question": pa.array(["x" * 70_000_000]).dictionary_encode()})
    path = written(tmp_path / "a.parquet", bomb, compression="zstd")
    assert path.stat().st_size < 200_000
    with pytest.raises(UsageError, match=r"PARQUET_BOMB: .*question unpacks"):
        list(read_parquet(path))


def test_a_batch_that_grows_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_rows, "MAX_BATCH_BYTES", 1_000_000)
    repeated = pa.table({"question": ["x" * 100_000] * 16})
    with pytest.raises(UsageError, match=r"PARQUET_BOMB: .*16 rows take"):
        list(read_parquet(written(tmp_path / "a.parquet", repeated)))


def test_text_that_is_not_utf8_is_an_encoding_error(tmp_path: Path) -> None:
    latin = pa.array([b"caf\xe9"]).view(pa.string())
    path = tmp_path / "a.parquet"
    buffer = io.BytesIO()
    pq.write_table(pa.table({"question": latin}), buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UsageError, match=r"ENCODING: .*row group 0"):
        list(read_parquet(path))
