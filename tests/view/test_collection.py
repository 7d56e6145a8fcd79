from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefgen.errors import UsageError
from prefgen.linting import lint
from prefgen.rundir.shards import Plan, RunDirectory
from prefgen.view.collection import Collection, Query
from tests.handmade import finished_run
from tests.view.sets import mixed


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return Collection(mixed(tmp_path_factory.mktemp("view") / "out"))


@pytest.mark.parametrize(
    ("query", "positions"),
    [
        ({}, [*range(12)]),
        ({"descending": True}, [*range(11, -1, -1)]),
        ({"search": "ZEBRA"}, [5]),
        ({"search": f"{7:016x}"}, [7]),
        ({"search": "nowhere"}, []),
        ({"flag": "similar"}, [0, 4, 8]),
        ({"iteration": "2"}, [1, 4, 7, 10]),
        ({"method": "povid"}, []),
        ({"method": "bdhs", "flag": "similar", "iteration": "3"}, [8]),
        ({"low": 0.7}, [0, 1, 2, 4]),
        ({"low": 0.5, "high": 0.6}, [6, 7, 8]),
        ({"sort": "similarity", "high": 0.5}, [11, 10, 9, 8]),
        ({"sort": "length", "descending": True, "flag": "similar"}, [8, 4, 0]),
        ({"sort": "iteration", "flag": "similar"}, [0, 4, 8]),
    ],
)
def test_rows_asked_for(collection: Collection, query: dict[str, Any], positions: list[int]) -> None:
    assert collection.select(Query(**query)).tolist() == positions


@pytest.mark.parametrize("descending", [False, True])
def test_rows_without_a_similarity_come_last(collection: Collection, descending: bool) -> None:
    assert collection.select(Query(sort="similarity", descending=descending))[-1] == 3


def test_an_unknown_sort_is_refused(collection: Collection) -> None:
    with pytest.raises(UsageError, match="sort 'meta' is unknown"):
        collection.select(Query(sort="meta"))


def test_a_row_is_read_from_its_place(tmp_path: Path) -> None:
    collection = Collection(finished_run(tmp_path / "out"))  # in four files
    assert collection.rows == 12
    ids = collection.index["id"].to_pylist()
    for position in (11, 0, 5, 3, 3):
        assert collection.row(position)["id"] == ids[position]
        assert len(collection.images(position)) == 1
    assert "bytes" not in collection.row(0)["images"][0]
    for position in (-1, 12):
        with pytest.raises(IndexError):
            collection.row(position)


def test_a_run_whose_first_shard_is_not_committed_is_told_from_what_is_no_run(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path / "out", Plan(4, 2, {"version": "t"})).close()
    for read in (Collection, lint):
        with pytest.raises(UsageError, match="holds no pairs yet"):
            read(tmp_path / "out")


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pairs: give"):
        Collection(tmp_path)
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(UsageError, match="has no column chosen_chars"):
        Collection(tmp_path)
