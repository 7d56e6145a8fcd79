"""JSON lists and JSON Lines, with one row in memory at a time; also an object with one list of rows.

Every row goes through the standard library's decoder with hooks, so that a duplicate key costs that row and not the
file, and a NaN costs nothing in a column that is not read. An event parser (ijson) stops at a NaN and cannot report
such keys.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

from prefgen.errors import RowError, UsageError
from prefgen.remote import File
from prefgen.sources.compressed import opened
from prefgen.sources.image_columns import IMAGE_COLUMNS
from prefgen.sources.messages import CONVERSATION_COLUMNS, QUESTION_COLUMNS
from prefgen.sources.meta_rows import is_meta, read_meta
from prefgen.sources.row import Row, Skip
from prefgen.sources.turns import speaker_of

CHUNK_BYTES = 2**20
HEAD_BYTES = 2**16
MAX_ROW_CHARS = 64 * 2**20
MAX_WHOLE_BYTES = 2**30  # of a file that is one object, which cannot be streamed
MAX_DEPTH = 64
MAX_DIGITS = 400
_SPACE = " \t\r\n"
_COMMA = "a comma follows the last entry of an object or list: delete it"


def read_json(path: File, skip: Skip | None = None) -> Iterator[Row]:
    """The rows of a JSON list or of JSON Lines, distinguished by the first character.

    Args:
        skip: the first rows, which are passed over.

    Raises:
        UsageError: ``ENCODING``, ``JSON_SYNTAX`` (a list only: a bad line is a bad row), ``JSON_SIZE``, ``JSON_DEPTH``.
    """
    skip = skip or Skip()
    whole = whole_object(path)
    if whole is not None:
        yield from (row for row in _wrapped(path, whole) if not skip.one())
        return
    with opened(path) as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head[:4]:
            raise _not_utf8(path, 0, head)
        is_list = head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
        yield from _ListReader(path, file).rows(skip) if is_list else _lines(path, file, skip)


def whole_object(path: File) -> dict[str, Any] | None:
    """The file's only object, if it is an object over several lines or one with a list of rows.

    None for a list, for JSON Lines, and for what is no JSON, which its reader reports.
    """
    with opened(path) as file:
        first = file.read(64)
        if not first.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):  # a list may be one line of gigabytes
            return None
        first += b"" if b"\n" in first else file.readline(MAX_ROW_CHARS)
        first, line_end, more = first.partition(b"\n")
        start = first.removeprefix(codecs.BOM_UTF8).lstrip()
        more += file.read(HEAD_BYTES)
        complete = _is_object(start)
        if more.strip() if complete else not start.rstrip().endswith((b"{", b"[", b",")):
            return None  # JSON Lines, or what is neither
        rest = more + file.read(MAX_WHOLE_BYTES)
    if len(rest) >= MAX_WHOLE_BYTES:
        return None
    try:
        value = json.loads((first + line_end + rest).removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and (is_meta(value) or len(_lists_of_rows(value)) == 1) else None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lists_of_rows(value: dict[str, Any]) -> list[str]:
    """Keys with a list of rows; empty if the object is a row itself."""
    if any(name in value for name in (*CONVERSATION_COLUMNS, *QUESTION_COLUMNS, *IMAGE_COLUMNS)):
        return []
    lists = {key: rows for key, rows in value.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)}
    return [key for key, rows in lists.items() if speaker_of(rows[0]) is None]  # messages make a row, not a file


def _wrapped(path: File, whole: dict[str, Any]) -> Iterator[Row]:
    if is_meta(whole):
        yield from read_meta(path, whole, read_json)
        return
    [key] = _lists_of_rows(whole)
    for number, row in enumerate(whole[key], 1):
        yield _as_row(f"row {number} of {key}", row, _bad_text(row))


def _not_utf8(path: File, offset: int, near: bytes) -> UsageError:
    guess = "UTF-16" if b"\0" in near or near.startswith((b"\xff\xfe", b"\xfe\xff")) else "Latin-1 or Windows-1252"
    code = "UTF-16" if guess == "UTF-16" else "WINDOWS-1252"
    return UsageError(
        f"ENCODING: {path} is not UTF-8 at byte {offset:,}; it looks like {guess}. "
        f"Convert it: iconv -f {code} -t UTF-8 {path.name} > utf8-{path.name}"
    )


class _Passing:
    """The standard decoder, for rows that are passed over."""

    def __init__(self) -> None:
        self._json = json.JSONDecoder(parse_int=float, strict=False)

    def decode(self, text: str, start: int) -> tuple[object, RowError | None, int]:
        """As `_Decoder.decode`, without its checks."""
        value, end = self._json.raw_decode(text, start)
        return value, None, end


class _Decoder:
    """The standard decoder, which also notes faults that it would accept."""

    def __init__(self) -> None:
        self._fault: RowError | None = None
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._int,
            strict=False,  # raw control characters are found later, as TEXT_CONTROL
        )

    def decode(self, text: str, start: int) -> tuple[object, RowError | None, int]:
        """The value that starts at `start`, a fault in it although it is JSON, and its end."""
        self._fault = None
        value, end = self._json.raw_decode(text, start)
        return value, _bad_text(value) or self._fault, end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            self._fault = RowError("JSON_DUPKEY", f"the key {twice[:60]!r} occurs twice in one object")
        return value

    @staticmethod
    def _int(text: str) -> float:
        return int(text) if len(text) <= MAX_DIGITS else math.inf  # beyond Python's own limit lies a ValueError


def _bad_text(value: object) -> RowError | None:
    """A fault for a lone surrogate in `value`; also checks its depth."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, str):
                try:
                    item.encode()
                except UnicodeEncodeError as error:
                    return RowError("TEXT_UNICODE", f"lone surrogate {item[error.start]!a} in a text")
            elif isinstance(item, dict):
                below.extend((*item, *item.values()))
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return None
        level = below
    raise RecursionError


def _trailing_comma(text: str, position: int) -> int | None:
    """Position of a comma after the last entry of an object or list, if that is the fault at `position`."""
    if text[position : position + 1] == ",":  # Python 3.13 gives the comma's own place
        return position if text[position + 1 :].lstrip(_SPACE)[:1] in ("}", "]") else None
    before = text[:position].rstrip(_SPACE)
    return len(before) - 1 if before.endswith(",") and text[position : position + 1] in ("}", "]") else None


def _as_row(where: str, value: object, fault: RowError | None) -> Row:
    if fault is None and isinstance(value, dict):
        return Row(where, value)
    return Row(where, fault or RowError("ROW_SHAPE", f"an object is expected, found {type(value).__name__}"))


def _too_deep(path: File, where: str) -> UsageError:
    return UsageError(f"JSON_DEPTH: {path}, {where}: nested more than {MAX_DEPTH} deep; is this SFT data?")


def _too_long(path: File, where: str) -> UsageError:
    return UsageError(
        f"JSON_SIZE: {path}, {where}: one row has more than {MAX_ROW_CHARS:,} characters. "
        "Write one object per row, with images as files or in Parquet"
    )


def _lines(path: File, file: BinaryIO, skip: Skip) -> Iterator[Row]:
    decoder = _Decoder()
    offset = 0
    number = 0
    while line := file.readline(MAX_ROW_CHARS + 1):
        number += 1
        where = f"line {number}"
        if len(line) > MAX_ROW_CHARS:
            raise _too_long(path, where)
        if skip.left and number > 1 and line.strip(_SPACE.encode()):
            offset += len(line)
            skip.left -= 1
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip(_SPACE)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, offset + error.start, line) from error
        offset += len(line)
        if not text or skip.one():  # of a first line, whose mark of byte order is no text
            continue
        try:
            value, fault, end = decoder.decode(text, 0)
            if text[end:].strip(_SPACE) == ",":
                raise json.JSONDecodeError("a comma behind the row, which JSON Lines do not have", text, end)
            if end < len(text):
                raise json.JSONDecodeError("Extra data", text, end)
        except json.JSONDecodeError as error:
            message = error.msg if _trailing_comma(text, error.pos) is None else _COMMA
            yield Row(where, RowError("JSON_SYNTAX", f"{message}, column {error.pos + 1}"))
        except RecursionError:
            raise _too_deep(path, where) from None
        else:
            yield _as_row(where, value, fault)


class _ListReader:
    """Decodes the elements of a top-level list from a buffer of little more than one element."""

    def __init__(self, path: File, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._bytes = 0  # read so far
        self._buffer = ""
        self._at = 0  # where in the buffer
        self._ended = False

    def rows(self, skip: Skip) -> Iterator[Row]:
        decoder, passing = _Decoder(), _Passing()
        number = 0
        self._next_char()
        self._at += 1  # the "[" that brought us here
        while True:
            char = self._next_char()
            if char == "]":
                self._at += 1
                if self._next_char():
                    raise self._syntax("something follows the end of the list. Write the file again", self._at)
                return
            if number:
                if char != ",":
                    message = (
                        "',' or ']' expected. Write the file again"
                        if char
                        else "the file is cut off. Download it again"
                    )
                    raise self._syntax(message, self._at)
                self._at += 1
                if self._next_char() == "]":
                    raise self._syntax("a comma follows the last row, before the ]: delete it", self._at)
            number += 1
            if skip.one():
                self._element(passing, f"row {number}")
            else:
                yield self._element(decoder, f"row {number}")

    def _element(self, decoder: _Decoder | _Passing, where: str) -> Row:
        while True:
            try:
                value, fault, end = decoder.decode(self._buffer, self._at)
                if end < len(self._buffer) or self._ended:  # a number at the buffer's end may continue
                    self._at = end
                    return _as_row(where, value, fault)
            except json.JSONDecodeError as error:
                # Near the end of the buffer, or inside an open string, more input may heal it.
                certain = error.pos < len(self._buffer) - 32 and not error.msg.startswith("Unterminated")
                if self._ended or certain:
                    if (comma := _trailing_comma(self._buffer, error.pos)) is not None:
                        raise self._syntax(_COMMA, comma) from error
                    cut = "the file is cut off: " if self._ended and not certain else ""
                    raise self._syntax(f"{cut}{error.msg}. Download or write the file again", error.pos) from error
            except RecursionError:
                raise _too_deep(self._path, where) from None
            if len(self._buffer) - self._at > MAX_ROW_CHARS:
                raise _too_long(self._path, where)
            self._fill()

    def _next_char(self) -> str:
        """The next character that is not white space, not consumed; empty at the end of the file."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._fill()

    def _fill(self) -> None:
        # as much again as is waiting, so that a long row is decoded again only a few times
        chunk = self._file.read(max(CHUNK_BYTES, len(self._buffer) - self._at))
        pending = len(self._utf8.getstate()[0])
        try:
            text = self._utf8.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise _not_utf8(self._path, self._bytes - pending + error.start, chunk[:100]) from error
        self._bytes += len(chunk)
        self._buffer = self._buffer[self._at :] + text
        self._at = 0
        self._ended = not chunk

    def _syntax(self, problem: str, position: int) -> UsageError:
        pending = len(self._utf8.getstate()[0])
        offset = self._bytes - pending - len(self._buffer[position:].encode())
        return UsageError(
            f"JSON_SYNTAX: {self._path}, byte {offset:,}: {problem}; "
            f"look at the place with: tail -c +{max(offset - 60, 1)} {self._path.name} | head -c 120"
        )
