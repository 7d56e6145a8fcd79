"""Files of rows in every container: compressed, wrapped, as tables, as tar shards, listed by a meta file."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from prefgen.errors import UsageError
from prefgen.records import Dropped, Sample
from prefgen.sources import SourceOptions, fingerprint, read

ALL = SourceOptions()
ROWS = [{"id": n, "image": f"{n}.jpg", "question": "What?", "answer": f"Thing {n}."} for n in range(3)]


def samples(path: Path) -> list[Sample]:
    outcomes = list(read(str(path), ALL))
    assert not [outcome for outcome in outcomes if isinstance(outcome, Dropped)], outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Sample)]


def png(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.radial_gradient("L").resize((32, 32 + shade)).save(buffer, "PNG")
    return buffer.getvalue()


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(rows: list[dict[str, Any]], mark: str) -> str:
    return "\n".join([mark.join(rows[0]), *(mark.join(map(str, row.values())) for row in rows)]) + "\n"


CONTAINERS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip, list": ("a.json.gz", lambda: gzip.compress(json.dumps(ROWS).encode())),
    "gzip, lines": ("a.jsonl.gz", lambda: gzip.compress(lines(ROWS).encode())),
    "gzip by another name": ("a.json", lambda: gzip.compress(lines(ROWS).encode())),
    "CSV": ("a.csv", lambda: table(ROWS, ",").encode("utf-8-sig")),
    "TSV": ("a.tsv", lambda: table(ROWS, "\t").encode()),
    "gzip, CSV": ("a.csv.gz", lambda: gzip.compress(table(ROWS, ",").encode())),
    "wrapped, one line": ("a.json", lambda: json.dumps({"version": 1, "data": ROWS}).encode()),
    "wrapped, indented": ("a.json", lambda: json.dumps({"rows": ROWS, "info": {"by": "me"}}, indent=1).encode()),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_every_container_gives_the_same_samples(case: str, tmp_path: Path) -> None:
    name, make = CONTAINERS[case]
    (tmp_path / name).write_bytes(make())
    found = samples(tmp_path / name)
    assert [sample.answer for sample in found] == ["Thing 0.", "Thing 1.", "Thing 2."]
    (tmp_path / "plain.jsonl").write_text(lines(ROWS))
    assert [sample.id for sample in found] == [sample.id for sample in samples(tmp_path / "plain.jsonl")]


def test_zstandard_is_read_where_its_package_is_there_and_named_where_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    try:
        import zstandard
    except ImportError:
        path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
        with pytest.raises(UsageError, match="pip install zstandard"):
            samples(path)
    else:
        path.write_bytes(zstandard.compress(lines(ROWS).encode()))
        assert len(samples(path)) == 3


def test_a_table_holds_pictures_as_base64(tmp_path: Path) -> None:
    row = {"image": base64.b64encode(png()).decode(), "question": "What?", "answer": "Noise."}
    (tmp_path / "a.tsv").write_text(table([row], "\t"))
    [sample] = samples(tmp_path / "a.tsv")
    assert sample.images[0].data == png()


def test_a_table_row_with_a_field_too_many_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table(ROWS, ",") + "9,9.jpg,What?,One,two\n")
    assert [outcome.reason for outcome in read(str(tmp_path / "a.csv"), ALL) if isinstance(outcome, Dropped)] == [
        "ROW_SHAPE"
    ]


def test_a_tar_shard_gives_its_pictures_with_their_rows(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(2):
            row = {"image": "elsewhere.jpg", "conversations": [{"from": "human", "value": "<image>What?"}]}
            row["conversations"].append({"from": "gpt", "value": f"Thing {number}."})  # type: ignore[attr-defined]
            members = ((f"sub/{number:03}.png", png(number)), (f"sub/{number:03}.json", json.dumps(row).encode()))
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    found = samples(tmp_path / "a.tar")
    assert [sample.images[0].data for sample in found] == [png(0), png(1)]
    assert [sample.answer for sample in found] == ["Thing 0.", "Thing 1."]


def test_a_meta_file_gives_the_rows_of_all_entries_under_their_roots(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(lines(ROWS))
    (tmp_path / "two.jsonl").write_text(lines(ROWS))
    entries = {
        "one": {"root": "pictures/one", "annotation": "one.jsonl", "repeat_time": 2, "length": 3},
        "two": {"root": "two/", "annotation": "two.jsonl", "repeat_time": 0.4, "length": 3},
    }
    (tmp_path / "meta.json").write_text(json.dumps(entries))
    found = samples(tmp_path / "meta.json")
    assert [sample.images[0].path for sample in found] == [
        *[f"pictures/one/{n}.jpg" for n in (0, 1, 2)] * 2,
        "two/0.jpg",
    ]
    assert len({sample.id for sample in found}) == 7
    before = fingerprint(str(tmp_path / "meta.json"), ALL)
    (tmp_path / "two.jsonl").write_text(lines(ROWS[:2]))
    assert fingerprint(str(tmp_path / "meta.json"), ALL) != before


def test_a_meta_file_names_the_annotation_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"one": {"root": "", "annotation": "gone.jsonl"}}))
    with pytest.raises(UsageError, match=r"entry one: the annotation gone\.jsonl"):
        samples(tmp_path / "meta.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"PK\x03\x04rest", "zip archive"), (png(), "PNG picture"), (b"%PDF-1.7", "PDF"), (b"\x1f\x8bxx", "damaged")],
)
def test_a_file_of_another_kind_is_called_what_it_is(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        samples(tmp_path / "a.json")


def test_bad_rows_at_the_beginning_do_not_cost_the_good_ones_behind(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines([{"note": "x"}] * 55 + ROWS))
    outcomes = list(read(str(tmp_path / "a.jsonl"), ALL))
    assert [type(outcome).__name__ for outcome in outcomes].count("Sample") == 3
    assert len(outcomes) == 58
