"""Rows of a run that `datasets` filtered and saved again are still a run's rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from prefgen.errors import UsageError
from prefgen.formats import IMPORTERS, LOADERS, checking
from prefgen.linting import lint
from prefgen.rundir.reader import Stored
from prefgen.select import Amount, mix
from tests.formats.test_round_trips import imported
from tests.handmade import pair as generated
from tests.handmade import sample
from tests.select.runs import picture, stored, table, written

# An import has a model and an engine of its own: none.
OF_THE_RUN = (
    *("model", "model_revision", "engine", "attention", "positions", "dtype", "device"),
    *("similarity_model", "similarity_revision", "prefgen_version", "meta"),
)
SAVERS: dict[str, Callable[[Any, Path], Path]] = {}


def saver(save: Callable[[Any, Path], Path]) -> Callable[[Any, Path], Path]:
    SAVERS[save.__name__] = save
    return save


@saver
def save_to_disk(rows: Any, folder: Path) -> Path:
    rows.save_to_disk(str(folder / "disk"))
    return folder / "disk"


@saver
def several_files(rows: Any, folder: Path) -> Path:
    rows.save_to_disk(str(folder / "disk"), num_shards=2)
    return folder / "disk"


@saver
def dictionary(rows: Any, folder: Path) -> Path:
    datasets.DatasetDict({"train": rows}).save_to_disk(str(folder / "dict"))
    return folder / "dict"


@saver
def parquet(rows: Any, folder: Path) -> Path:
    rows.to_parquet(str(folder / "rows.parquet"))
    return folder / "rows.parquet"


@saver
def parquet_folder(rows: Any, folder: Path) -> Path:
    (folder / "rows").mkdir()
    rows.to_parquet(str(folder / "rows" / "a.parquet"))
    return folder / "rows"


@saver
def another_library(rows: Any, folder: Path) -> Path:
    source = pq.read_table(parquet(rows, folder)).replace_schema_metadata(None)
    pq.write_table(source.append_column("mine", source["id"]), folder / "other.parquet")
    return folder / "other.parquet"


def original(tmp_path: Path, count: int = 8) -> tuple[list[dict[str, Any]], Any]:
    """The rows of a run but every third one, as they were and as `datasets` has them."""
    pairs = [
        generated(number, sample=sample(number, images=(picture(number),), meta={"level": number}))
        for number in range(count)
    ]
    stored(tmp_path / "run", pairs)
    loaded = datasets.load_dataset(str(tmp_path / "run"), split="train", cache_dir=str(tmp_path / "cache"))
    kept = loaded.filter(lambda row: int(row["source_id"]) % 3 > 0)
    return [row for row in table(tmp_path / "run").to_pylist() if int(row["source_id"]) % 3 > 0], kept


@pytest.mark.parametrize("save", SAVERS)
def test_a_mixture_of_saved_rows_is_the_rows(tmp_path: Path, save: str) -> None:
    before, kept = original(tmp_path)
    saved = Stored(SAVERS[save](kept, tmp_path))
    assert len(saved) == len(before)
    assert written(mix([(saved, Amount())], 0), tmp_path / "out") == before
    assert [row["source_id"] for row in saved.take([3, 0]).to_pylist()] == [
        before[3]["source_id"],
        before[0]["source_id"],
    ]
    assert [row["images"] for row in saved.scan(["images.list.element.path"])] == [
        [{"path": row["images"][0]["path"]}] for row in before
    ]


@pytest.mark.parametrize("name", ["prefgen", "trl", "ms-swift"])
@pytest.mark.parametrize("save", ["save_to_disk", "parquet"])
def test_an_import_of_saved_rows_is_the_rows(tmp_path: Path, save: str, name: str) -> None:
    before, kept = original(tmp_path)
    after = imported(IMPORTERS[name](), str(SAVERS[save](kept, tmp_path)), tmp_path / "out")

    def told(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{column: value for column, value in row.items() if column not in OF_THE_RUN} for row in rows]

    assert told(after) == told(before)


def test_edited_texts_keep_no_offsets(tmp_path: Path) -> None:
    _, kept = original(tmp_path)

    def edited(row: dict[str, Any]) -> dict[str, Any]:
        return {"rejected": [{"role": "assistant", "content": [{"type": "text", "text": "Nothing."}]}]}

    source = parquet(kept.map(edited), tmp_path)
    row = imported(IMPORTERS["prefgen"](), str(source), tmp_path / "out")[0]
    assert (row["method"], row["source_id"], row["rejected_response"]) == ("bdhs", "1", "Nothing.")
    assert (row["spans"], row["iteration"], row["similarity"]) == ([], 0, None)


@pytest.mark.parametrize("save", SAVERS)
def test_lint_and_check_read_saved_rows(tmp_path: Path, save: str) -> None:
    before, kept = original(tmp_path)
    path = SAVERS[save](kept, tmp_path)
    assert lint(path).rows == len(before)
    for trainer in LOADERS:
        found = checking.check(path, trainer)
        assert found.rows == len(before)
        assert found.problems == ()


def test_other_tables_are_no_run(tmp_path: Path) -> None:
    _, kept = original(tmp_path)
    kept.remove_columns("spans").to_parquet(str(tmp_path / "less.parquet"))
    with pytest.raises(UsageError, match="holds no prefgen run"):
        Stored(tmp_path / "less.parquet")
    source = pq.read_table(parquet(kept, tmp_path))
    at = source.schema.get_field_index("iteration")
    pq.write_table(source.set_column(at, "iteration", source["source"]), tmp_path / "wrong.parquet")
    with pytest.raises(UsageError, match="not its types"):
        list(Stored(tmp_path / "wrong.parquet").tables())
