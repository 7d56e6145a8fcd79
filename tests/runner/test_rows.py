"""The planned rows of a run: by shard, kept from the survey or read again."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from prefgen.errors import CorruptRun
from prefgen.rundir.layout import Plan
from prefgen.runner.rows import ReadRows, Rows

ROWS = [f"row {number} {number**number}" for number in range(23)]


def surveyed(max_bytes: int = 2**20) -> ReadRows[str]:
    kept: ReadRows[str] = ReadRows(5, max_bytes)
    for row in ROWS:
        kept.add(row)
    kept.close()
    return kept


def read(shard: int) -> tuple[int, Iterable[str]]:
    """From the second shard on, if the first is not asked for."""
    return (5, ROWS[5:]) if shard else (0, ROWS)


@pytest.mark.parametrize("order", [range(5), (1, 2, 4), (3, 0, 0, 4, 1)])
@pytest.mark.parametrize("max_bytes", [0, 150, 300, 2**20])
def test_shards_are_the_same_kept_or_read(order: Iterable[int], max_bytes: int) -> None:
    rows = Rows(Plan(len(ROWS), 5, {}), read, surveyed(max_bytes))
    for shard in order:
        assert rows.of(shard) == ROWS[5 * shard : 5 * shard + 5]


def test_what_is_kept_is_the_first_shards_once_each() -> None:
    kept = surveyed(250)
    whole = [shard for shard in range(5) if kept.take(shard) is not None]
    assert whole == [*range(len(whole))]
    assert 0 < len(whole) < 5
    assert all(kept.take(shard) is None for shard in range(5))


def test_a_stopped_survey_keeps_whole_shards_only() -> None:
    kept: ReadRows[str] = ReadRows(5)
    for row in ROWS[:13]:
        kept.add(row)
    kept.stop()
    for row in ROWS[13:]:
        kept.add(row)
    kept.close()
    assert [kept.take(shard) for shard in range(3)] == [ROWS[:5], ROWS[5:10], None]


def test_an_input_that_became_shorter_is_a_corrupt_run() -> None:
    rows = Rows(Plan(30, 5, {}), lambda _: (0, ROWS))
    with pytest.raises(CorruptRun, match="ends after row 23, but 30"):
        rows.of(4)
