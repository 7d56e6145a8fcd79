"""JSON lists and JSON Lines: what a fault costs, where it is said to be, and how much memory a big file takes."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefgen.errors import RowError, UsageError
from prefgen.records import Sample
from prefgen.sources import SourceOptions, json_rows, read
from prefgen.sources.json_rows import read_json

GOOD = '{"question": "Who?", "answer": "Ä."}'
ROW_FAULTS = {
    "duplicate key": ('{"a": {"id": 1, "id": 2}}', "JSON_DUPKEY"),
    "lone surrogate": (r'{"answer": "\ud800"}', "TEXT_UNICODE"),
    "lone surrogate in a key": (r'{"\udfff": "x"}', "TEXT_UNICODE"),
    "not an object": ("[1, 2]", "ROW_SHAPE"),
    "null": ("null", "ROW_SHAPE"),
    "number": ("17", "ROW_SHAPE"),
}


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "input.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def summary(path: Path) -> list[str]:
    """The reason or "ok" of each row."""
    return [row.columns.reason if isinstance(row.columns, RowError) else "ok" for row in read_json(path)]


@pytest.mark.parametrize("fault", ROW_FAULTS)
@pytest.mark.parametrize("container", ["list", "lines"])
def test_a_fault_in_a_row_costs_that_row_only(tmp_path: Path, container: str, fault: str) -> None:
    text, reason = ROW_FAULTS[fault]
    rows = [GOOD, text, GOOD]
    path = write(tmp_path, f"[{', '.join(rows)}]" if container == "list" else "\n".join(rows))
    assert summary(path) == ["ok", reason, "ok"]


def test_a_bad_line_is_named_by_its_number(tmp_path: Path) -> None:
    lines = [GOOD] * 16 + ['{"question": "Who?'] + [GOOD, "", GOOD + GOOD]
    rows = list(read_json(write(tmp_path, "\n".join(lines))))
    bad = [(row.where, row.columns.reason) for row in rows if isinstance(row.columns, RowError)]
    assert bad == [("line 17", "JSON_SYNTAX"), ("line 20", "JSON_SYNTAX")]
    assert len(rows) == 19  # the blank line is no row


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (f"[{GOOD}, {GOOD}, {{", None),
        (f"[{GOOD}", len(f"[{GOOD}".encode())),
        (f'[{GOOD}, {{"a": "open', len(f'[{GOOD}, {{"a": '.encode())),
        (f"[{GOOD}, oops, {GOOD}]", len(f"[{GOOD}, ".encode())),
        (f"[{GOOD}] trailing", len(f"[{GOOD}] ".encode())),
        (f"\ufeff[{GOOD} {GOOD}]", len(f"\ufeff[{GOOD} ".encode())),
        (f"[{GOOD},]", len(f"[{GOOD},".encode())),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_a_broken_list_is_reported_with_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, offset: int | None, chunk: int
) -> None:
    monkeypatch.setattr(json_rows, "CHUNK_BYTES", chunk)
    with pytest.raises(UsageError, match="JSON_SYNTAX") as caught:
        summary(write(tmp_path, content))
    found = re.search(r"byte ([\d,]+)", str(caught.value))
    assert found
    if offset is not None:
        assert int(found[1].replace(",", "")) == offset


def test_rows_before_the_cut_were_already_given(tmp_path: Path) -> None:
    rows = read_json(write(tmp_path, f"[{GOOD}, {GOOD}, {{"))
    assert [next(rows).where, next(rows).where] == ["row 1", "row 2"]


@pytest.mark.parametrize(
    ("content", "guess"),
    [
        (f"[{GOOD}]".encode("utf-16"), "UTF-16"),
        (f"[{GOOD}]".encode("utf-16-le"), "UTF-16"),
        (f"[{GOOD}]".encode("latin-1"), "Latin-1"),
        (GOOD.encode("latin-1"), "Latin-1"),
    ],
)
def test_another_encoding_is_named_with_the_command_that_converts_it(
    tmp_path: Path, content: bytes, guess: str
) -> None:
    with pytest.raises(UsageError, match=rf"ENCODING: .*{guess}.*iconv"):
        summary(write(tmp_path, content))


def test_an_encoding_fault_is_placed_by_its_byte(tmp_path: Path) -> None:
    start = f"[{GOOD}, ".encode()
    for content in (start + b'{"a": "\xff"}]', b"{}\n" + b'{"a": "\xff"}'):
        with pytest.raises(UsageError, match=f"at byte {content.index(0xFF)}"):
            summary(write(tmp_path, content))


@pytest.mark.parametrize("container", ["[{}]", "{}\n" + GOOD])
@pytest.mark.parametrize("depth", [65, 10_000, 200_000])
def test_deep_nesting_is_an_error_and_no_recursion_error(tmp_path: Path, container: str, depth: int) -> None:
    row = '{"a": ' + "[" * depth + "]" * depth + "}"
    with pytest.raises(UsageError, match="JSON_DEPTH"):
        summary(write(tmp_path, container.replace("{}", row)))


def test_nesting_within_the_limit_is_read(tmp_path: Path) -> None:
    assert summary(write(tmp_path, '[{"a": ' + "[" * 60 + "]" * 60 + "}]")) == ["ok"]


@pytest.mark.parametrize("container", ["[{}]", "{}\n" + GOOD])
def test_a_row_beyond_the_size_limit_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    monkeypatch.setattr(json_rows, "MAX_ROW_CHARS", 10_000)
    monkeypatch.setattr(json_rows, "CHUNK_BYTES", 1000)
    with pytest.raises(UsageError, match="JSON_SIZE"):
        summary(write(tmp_path, container.replace("{}", json.dumps({"a": "x" * 50_000}))))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), min_size=1), chunk=st.integers(1, 40))
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_list_reads_as_json_loads_reads_it_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, ascii_only: bool, rows: list[dict[str, object]], chunk: int
) -> None:
    text = json.dumps(rows, ensure_ascii=ascii_only).encode("utf-8", "replace")
    path = write(tmp_path_factory.getbasetemp(), text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK_BYTES", chunk)
        found = [row.columns for row in read_json(path)]
    assert [row for row in found if not isinstance(row, RowError)] == json.loads(text)


def big_list(path: Path, size: int) -> Path:
    talk = [{"from": speaker, "value": "word " * 200} for speaker in ("human", "gpt")] * 2
    text = json.dumps({"id": "NUMBER", "image": "a.jpg", "conversations": talk})
    with path.open("w") as file:
        for number in range(size // len(text) + 1):
            file.write(("," if number else "[") + text.replace("NUMBER", str(number)))
        file.write("]")
    return path


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_memory_stays_below_the_size_of_the_file(tmp_path: Path, suffix: str) -> None:
    path = big_list(tmp_path / "big.json", 12_000_000)
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, json.loads(path.read_text()))))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_json(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count > 2000
    assert peak < 6_000_000


@pytest.mark.slow
def test_a_200_mb_list_is_read_within_100_mb_of_memory(tmp_path: Path) -> None:
    path = big_list(tmp_path / "big.json", 200_000_000)
    program = (
        "import resource, sys; from prefgen.sources import SourceOptions, read\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "count = sum(1 for _ in read(sys.argv[1], SourceOptions()))\n"
        "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    count, growth_kib = map(int, run.stdout.split())
    assert count > 40_000
    assert growth_kib < 100 * 1024
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 400 * 1024


@pytest.mark.parametrize("container", ["list", "lines"])
@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 5000])
def test_a_number_that_is_none_costs_nothing_where_nobody_reads_it(tmp_path: Path, container: str, number: str) -> None:
    row = f'{{"image": "a.jpg", "question": "Who?", "answer": "Ä.", "score": {number}}}'
    path = write(tmp_path, f"[{row}]" if container == "list" else row)
    [sample] = read(str(path), SourceOptions())
    assert isinstance(sample, Sample)
    assert (sample.answer, sample.meta) == ("Ä.", {"score": None})


@pytest.mark.parametrize("chunk", [1, 7, 2**20])
@pytest.mark.parametrize(
    "content", [f"[{GOOD},\n]", '[{"question": "Who?",\n}]', '[{"tags": ["a", ], "question": "Who?"}]']
)
def test_a_comma_too_many_is_called_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, chunk: int
) -> None:
    monkeypatch.setattr(json_rows, "CHUNK_BYTES", chunk)
    with pytest.raises(UsageError, match="a comma follows the last") as caught:
        summary(write(tmp_path, content))
    assert "ownload" not in str(caught.value)


def test_a_comma_too_many_in_a_line_is_called_that(tmp_path: Path) -> None:
    rows = list(read_json(write(tmp_path, f'{GOOD}\n{GOOD},\n{{"question": "Who?", }}\n{GOOD}')))
    faults = [row.columns.detail for row in rows if isinstance(row.columns, RowError)]
    assert len(rows) == 4
    assert [fault.partition(",")[0] for fault in faults] == [
        "a comma behind the row",
        "a comma follows the last entry of an object or list: delete it",
    ]
