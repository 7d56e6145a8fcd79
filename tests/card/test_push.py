from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefgen.card import push
from prefgen.errors import CorruptRun, UsageError
from prefgen.rundir.shards import RunDirectory
from tests.handmade import PROVENANCE, finished_run, outcomes, plan


def test_everything_of_the_manifest_and_nothing_else(tmp_path: Path) -> None:
    out = finished_run(tmp_path / "out")
    (out / ".prefgen" / "votes.csv").write_text("id\n")
    (out / ".prefgen" / "tmp" / "half").write_text("")
    (out / "notes.txt").write_text("mine")
    parcel = push.package(out, "me/pairs")
    listed = json.loads((out / ".prefgen" / "manifest.json").read_text())["files"]
    assert {*parcel.files} == {*listed, ".prefgen/manifest.json", ".prefgen/manifest.sha256"}
    assert parcel.size == sum(
        len(file) if isinstance(file, bytes) else file.stat().st_size for file in parcel.files.values()
    )


def test_llama_factory_is_told_where_the_data_is(tmp_path: Path) -> None:
    content = push.package(finished_run(tmp_path / "out"), "me/pairs").files["dataset_info.json"]
    assert isinstance(content, bytes)
    info = json.loads(content)["pairs"]
    assert info["hf_hub_url"] == "me/pairs"
    assert "file_name" not in info
    assert info["columns"]["rejected"] == "rejected_response"


@pytest.mark.parametrize("name", ["pairs", "me/", "/pairs", "a/b/c", "me/pa irs", "../etc", "https://x/y"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="give USER/NAME"):
        push.package(tmp_path, name)


def test_unfinished_and_damaged_runs_stay_at_home(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "half", plan()) as run:
        run.commit(0, outcomes(range(4)), PROVENANCE)
    with pytest.raises(UsageError, match="is not finished"):
        push.package(tmp_path / "half", "me/pairs")
    out = finished_run(tmp_path / "out")
    (out / "README.md").write_text("other")
    with pytest.raises(CorruptRun, match=r"1 problems, the first in README\.md"):
        push.package(out, "me/pairs")
