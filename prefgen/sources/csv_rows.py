"""CSV and TSV tables whose first line names the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from prefgen.errors import RowError, UsageError
from prefgen.remote import File
from prefgen.sources.compressed import opened
from prefgen.sources.row import Row, Skip

CSV_SUFFIXES = (".csv", ".tsv")
_MAX_FIELD_CHARS = 64 * 2**20  # pictures as base64 are long


def read_csv(path: File, skip: Skip | None = None) -> Iterator[Row]:
    """The rows of a table, streamed; an empty field is a missing column.

    Args:
        skip: the first rows, which are passed over.

    Raises:
        UsageError: ``ENCODING``, ``CSV_SYNTAX``.
    """
    tabs = ".tsv" in path.suffixes
    before = csv.field_size_limit(_MAX_FIELD_CHARS)
    number = 0
    try:
        with opened(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            reader = csv.DictReader(text, delimiter="\t" if tabs else ",", strict=True)
            for number, fields in enumerate(reader, 1):
                if skip and skip.one():
                    continue
                where = f"row {number}"
                if None in fields or None in fields.values():
                    found = len(reader.fieldnames or ())
                    yield Row(where, RowError("ROW_SHAPE", f"a row with more or fewer fields than the {found} columns"))
                else:
                    yield Row(where, {name: value for name, value in fields.items() if value != ""})
    except UnicodeDecodeError as error:
        raise UsageError(
            f"ENCODING: {path} is not UTF-8; convert it: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}"
        ) from error
    except csv.Error as error:
        raise UsageError(f"CSV_SYNTAX: {path}, after row {number}: {error}") from error
    finally:
        csv.field_size_limit(before)
