"""Opening of row files, decompressed if their content is gzip or Zstandard."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from prefgen.errors import UsageError
from prefgen.remote import File

_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
# The first bytes of files that hold no rows, and what to do about each.
_OTHERS = {
    b"PK\x03\x04": "a zip archive: unpack it, and give the file or folder of rows",
    b"\xfd7zXZ": "xz-compressed: decompress it with unxz",
    b"BZh": "bzip2-compressed: decompress it with bunzip2",
    b"\x89PNG": "a PNG picture; give the file of rows that names it",
    b"\xff\xd8\xff": "a JPEG picture; give the file of rows that names it",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database; export its table to JSON Lines or Parquet",
    b"\x80\x04\x95": "a Python pickle, which prefgen never loads; save it as JSON Lines or Parquet",
    b"\x80\x05\x95": "a Python pickle, which prefgen never loads; save it as JSON Lines or Parquet",
    b"ARROW1": "an Arrow file; give the folder that `save_to_disk` wrote, or save it as Parquet",
}


@contextmanager
def opened(path: File) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed.

    Raises:
        UsageError: ``INPUT_UNREADABLE``: damaged, or known by its first bytes to hold no rows. ``INPUT_FORMAT``: it is
            compressed with Zstandard, and the package that reads it is not installed.
    """
    with path.open("rb") as file:
        magic = file.read(16)
        file.seek(0)
        for start, what in _OTHERS.items():
            if magic.startswith(start):
                raise UsageError(f"INPUT_FORMAT: {path} is {what}")
        try:
            if magic.startswith(_GZIP):
                with gzip.open(file) as inner:
                    yield cast("BinaryIO", inner)
            elif magic.startswith(_ZSTANDARD):
                with _zstandard(path, file) as stream:
                    yield stream
            else:
                yield file
        except (gzip.BadGzipFile, EOFError) as error:
            raise UsageError(f"INPUT_UNREADABLE: {path} is damaged or cut off: {error}; download it again") from error


def _zstandard(path: File, file: BinaryIO) -> BinaryIO:
    try:
        import zstandard
    except ImportError:
        raise UsageError(
            f"INPUT_FORMAT: {path} is compressed with Zstandard: pip install zstandard, or decompress it with zstd -d"
        ) from None
    return cast("BinaryIO", io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file)))
