"""Parquet files, read in batches that are bounded in memory before they become Python objects."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from prefgen.errors import UsageError
from prefgen.remote import File, RemoteFile
from prefgen.sources.row import Row, Skip

BATCH_ROWS = 16  # with embedded photographs, some 5 MB
MAX_BATCH_BYTES = 2**30
MAX_CHUNK_BYTES = 4 * 2**30
MAX_RATIO = 1000  # of uncompressed to compressed size, beyond what text reaches


def read_parquet(path: File, skip: Skip | None = None) -> Iterator[Row]:
    """The rows of one Parquet file.

    Args:
        skip: the first rows, which are passed over.

    Raises:
        UsageError: ``PARQUET_CORRUPT``, ``PARQUET_CHECKSUM``, ``PARQUET_BOMB``, ``ENCODING``.
    """
    try:
        remote = isinstance(path, RemoteFile)  # of which a group is read in a few requests; on disk it is streamed
        file = pq.ParquetFile(
            path.unbuffered() if isinstance(path, RemoteFile) else path,
            pre_buffer=remote,
            buffer_size=0 if remote else 2**20,
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"PARQUET_CORRUPT: {path}: {_first_line(error)}; download or write the file again") from error
    number = 0
    with file:
        for group in range(file.num_row_groups):
            rows_of_group = file.metadata.row_group(group).num_rows
            if skip and skip.left >= rows_of_group:
                skip.left -= rows_of_group
                number += rows_of_group
                continue
            _check_group(path, file, group)
            batches = file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group])
            while True:
                try:
                    batch = next(batches, None)
                    if batch is None:
                        break
                    if batch.nbytes > MAX_BATCH_BYTES:
                        raise _bomb(path, group, f"{batch.num_rows} rows take {batch.nbytes:,} bytes")
                    rows = batch.to_pylist()
                except UnicodeDecodeError as error:
                    raise UsageError(
                        f"ENCODING: {path}, row group {group}, after row {number}: a text column is not UTF-8"
                    ) from error
                except (pa.ArrowException, OSError) as error:
                    code = "PARQUET_CHECKSUM" if "checksum" in str(error).lower() else "PARQUET_CORRUPT"
                    raise UsageError(
                        f"{code}: {path}, row group {group}, after row {number}: {_first_line(error)}; "
                        "download or write the file again"
                    ) from error
                for columns in rows:
                    number += 1
                    if skip and skip.one():
                        continue
                    yield Row(f"row {number}", columns)


def _check_group(path: File, file: pq.ParquetFile, group: int) -> None:
    metadata = file.metadata.row_group(group)
    for index in range(metadata.num_columns):
        chunk = metadata.column(index)
        packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
        if unpacked > MAX_CHUNK_BYTES or unpacked > max(MAX_RATIO * packed, 64 * 2**20):
            raise _bomb(path, group, f"column {chunk.path_in_schema} unpacks from {packed:,} to {unpacked:,} bytes")


def _bomb(path: File, group: int, problem: str) -> UsageError:
    return UsageError(f"PARQUET_BOMB: {path}, row group {group}: {problem}; write it with smaller row groups")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
