"""Runs without a similarity model: what a method only records may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefgen.engines import embedder
from prefgen.errors import ModelUnreachable
from prefgen.rundir.verify import verify
from tests.cli.runs import called, data_digests

WORLD = Path(__file__).parents[2] / "examples" / "scenes"
RUN = ("-i", WORLD / "llava_instruct.json", "-m", WORLD / "model", "--limit", "3")


def answers(out: Path) -> list[dict[str, Any]]:
    import pyarrow.dataset as ds

    rows: list[dict[str, Any]] = ds.dataset(out / "data").to_table().to_pylist()
    return rows


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """all-mpnet-base-v2 cannot be had, whatever this machine's cache holds."""

    def unreachable(name: str) -> str:
        raise ModelUnreachable("model sentence-transformers/all-mpnet-base-v2 cannot be found")

    monkeypatch.setattr(embedder, "revision_of", unreachable)


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("command", [("povid",), ("baseline", "blind")], ids=" ".join)
def test_a_recorded_similarity_is_null_where_its_model_cannot_be_had(command: tuple[str, ...], tmp_path: Path) -> None:
    done = called(*command, *RUN, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "similarity    not recorded: " in done.stderr
    rows = answers(tmp_path / "out")
    assert rows
    assert {row["similarity"] for row in rows} == {None}
    assert {row["similarity_model"] for row in rows} == {""}
    assert not verify(tmp_path / "out").problems
    asked = called(*command, *RUN, "-o", tmp_path / "asked", "--similarity-model", "none")
    assert "not recorded: " not in asked.stderr
    assert data_digests(tmp_path / "asked") == data_digests(tmp_path / "out")


def test_a_run_goes_on_without_the_model_that_it_began_without(
    tmp_path: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert called("povid", *RUN, "-o", tmp_path / "out").returncode == 0
    monkeypatch.setattr(embedder, "revision_of", lambda name: "0123abcd")  # and now it is there
    again = called("povid", *RUN, "-o", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("bdhs", *RUN), 5),
        (("rank", *RUN, "--by", "similarity"), 5),
        (("bdhs", *RUN, "--similarity-model", "none"), 2),
        (("rank", *RUN, "--by", "similarity", "--similarity-model", "none"), 2),
        (("tune", "bdhs", *RUN[:4], "--similarity-model", "none"), 2),
    ],
    ids=["bdhs", "rank", "bdhs none", "rank none", "tune none"],
)
def test_a_method_that_decides_by_similarity_needs_its_model(
    command: tuple[str | Path, ...], code: int, tmp_path: Path
) -> None:
    done = called(*command, "-o", tmp_path / "out")
    assert done.returncode == code, done.stderr
    assert ("--similarity-model none" in done.stderr) == (code == 2)
    assert not (tmp_path / "out").exists()
