"""Training on published sets, as the importers bring them in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefgen.training.run import prepare
from tests.cli.runs import called as prefgen
from tests.formats import written
from tests.train.test_run import job, run


def povid(folder: Path) -> str:
    _pictures(folder, "COCO_train2014_{:012d}.jpg")
    return written.write_json(folder / "povid.json", [written.povid_row(number) for number in range(3)])


def rlhf_v(folder: Path) -> str:
    return written.write_parquet(folder / "rlhf_v.parquet", [written.rlhf_v_row(number) for number in range(3)])


def rlaif_v(folder: Path) -> str:
    return written.write_parquet(folder / "rlaif_v.parquet", [written.rlaif_v_row(number) for number in range(3)])


def vlfeedback(folder: Path) -> str:
    (folder / "merged_images").mkdir()
    (folder / "merged_images" / "svit-detail-1234.jpg").write_bytes(written.picture(99).data)
    return written.write_lines(folder / "vlfeedback.jsonl", [written.vlfeedback_row()])


def llava_rlhf(folder: Path) -> str:
    _pictures(folder, "{:012d}.jpg")
    return written.write_json(folder / "llava.json", [written.llava_rlhf_row(number) for number in range(3)])


def _pictures(folder: Path, name: str) -> None:
    for number in range(3):
        (folder / name.format(number)).write_bytes(written.picture(number).data)


SETS: dict[str, Callable[[Path], str]] = {
    "povid": povid,
    "rlhf-v": rlhf_v,
    "rlaif-v": rlaif_v,
    "vlfeedback": vlfeedback,
    "llava-rlhf": llava_rlhf,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    found = []
    for name, write in SETS.items():
        folder = tmp_path_factory.mktemp(name)
        done = prefgen("import", name, write(folder), "-o", folder / "run")
        assert done.returncode == 0, done.stderr
        found.append(folder / "run")
    return tuple(found)


def test_every_imported_row_is_trained_on(runs: tuple[Path, ...], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"loss_mask": "dense", "max_steps": 2, "batch_size": 13, "grad_accum": 1}
    given = replace(job(runs[0], tmp_path / "out", **settings), runs=runs)
    prepared = prepare(given)
    assert [sample.place[0] for sample in prepared.samples] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4, 4, 4]
    assert not prepared.dropped
    first, second = run(given)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert second["loss"] > 0
    assert first["grad_norm"] > 0
