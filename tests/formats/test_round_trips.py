"""Import, export, import: nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from prefgen.formats import IMPORTERS, LOADERS, Importer, checking
from prefgen.formats.exporting import export
from prefgen.rundir.layout import Layout, Plan
from prefgen.rundir.reader import Stored
from prefgen.rundir.shards import RunDirectory
from prefgen.rundir.verify import verify
from prefgen.runner.import_job import ImportJob, survey, work
from prefgen.sources import SourceOptions
from tests.formats.test_trainer_formats import ALPACA, SHAREGPT, SWIFT, trl_row
from tests.formats.written import (
    llava_rlhf_row,
    picture,
    povid_row,
    rlaif_v_row,
    rlhf_v_row,
    vlfeedback_row,
    write_json,
    write_lines,
    write_parquet,
)
from tests.handmade import card
from tests.select.runs import table

# What an import records of itself; everything else must survive. An id hashes how the picture is named, which changes.
OF_THE_IMPORT = {"id", "prefgen_version"}
TO_IMPORTER = {
    "trl": "trl",
    "llamafactory": "llamafactory",
    "ms-swift": "ms-swift",
    "llava": "povid",
    "mmpr": "mmpr",
    "openai": "openai",
    "jsonl": "jsonl",
    "unpaired": "unpaired",
}


def imported(importer: Importer, src: str, out: Path, image_root: Path | None = None) -> list[dict[str, Any]]:
    """Rows of the run that an import makes."""
    job = ImportJob(importer, src, SourceOptions((str(image_root),) if image_root else ()), out, 2)
    found = survey(job)
    assert not found.missing.missing
    with RunDirectory.open(out, Plan(found.rows, 2, job.fingerprint())) as directory:
        work(job, directory, None, lambda outcome: None)
        directory.finalize(card)
    verified = verify(out)
    assert (verified.problems, verified.dropped) == ((), 0), list(Layout(out).read_dropped())
    return table(out).to_pylist()  # type: ignore[no-any-return]  # pyarrow is untyped


def content(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in OF_THE_IMPORT} for row in rows]


def picture_files(folder: Path) -> Path:
    for number, name in enumerate(
        ["1.jpg", "img/1.jpg", "kitten.png", "a.png", "b.png", "merged_images/svit-detail-1234.jpg"]
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number).data)
    for number in range(5):
        (folder / f"COCO_train2014_{number:012d}.jpg").write_bytes(picture(50 + number).data)
    return folder


MMPR = {
    "id": 7,
    "image": "a.png",
    "question": "<image>\nHow many?",
    "chosen": "Five.",
    "rejected": "Six.",
    "extra": [1],
}
SYSTEM = {"role": "system", "content": "Be brief."}
TWO_PICTURES = {
    **SWIFT,
    "images": ["a.png", "b.png"],
    "messages": [
        {"role": "user", "content": "<image>\nThis, or that:\n<image>\nWhich?"},
        SWIFT["messages"][1],
    ],
}
FILES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "povid": ("povid", lambda folder: write_json(folder / "s.json", [povid_row(n, note={"n": n}) for n in range(5)])),
    "rlhf-v": ("rlhf-v", lambda folder: write_parquet(folder / "s.parquet", [rlhf_v_row(n) for n in range(5)])),
    "rlaif-v": ("rlaif-v", lambda folder: write_parquet(folder / "s.parquet", [rlaif_v_row(n) for n in range(5)])),
    "vlfeedback": ("vlfeedback", lambda folder: write_lines(folder / "s.jsonl", [vlfeedback_row()])),
    "llava-rlhf": ("llava-rlhf", lambda folder: write_json(folder / "s.json", [llava_rlhf_row(n) for n in range(5)])),
    "mmpr": ("mmpr", lambda folder: write_lines(folder / "s.jsonl", [MMPR, {**MMPR, "id": 8, "chosen": "5"}])),
    "trl": (
        "trl",
        lambda folder: write_parquet(
            folder / "s.parquet",
            [trl_row(), trl_row(chosen=[{"role": "assistant", "content": [{"type": "text", "text": "<image>?"}]}])],
        ),
    ),
    "llamafactory": ("llamafactory", lambda folder: write_json(folder / "s.json", [SHAREGPT])),
    "alpaca": ("llamafactory", lambda folder: write_json(folder / "s.json", [{**ALPACA, "system": "Be brief."}])),
    "ms-swift": (
        "ms-swift",
        lambda folder: write_lines(folder / "s.jsonl", [SWIFT, {**SWIFT, "messages": [SYSTEM, *SWIFT["messages"]]}]),
    ),
    "two pictures": (
        "ms-swift",
        lambda folder: write_lines(
            folder / "s.jsonl",
            [TWO_PICTURES],
        ),
    ),
}
NO_PLACE = {("alpaca", "llava"), ("two pictures", "llava"), ("alpaca", "mmpr"), ("llava-rlhf", "mmpr")}
NO_PLACE |= {(name, "jsonl") for name, to in NO_PLACE if to == "mmpr"}


@pytest.mark.parametrize(("name", "to"), [both for both in product(FILES, TO_IMPORTER) if both not in NO_PLACE])
def test_nothing_is_lost(tmp_path: Path, name: str, to: str) -> None:
    importer, write = FILES[name]
    root = picture_files(tmp_path)
    before = imported(IMPORTERS[importer](), write(tmp_path), tmp_path / "first", root)
    exported = export(Stored(tmp_path / "first"), to, tmp_path / "exported")
    parquet = "data/train-00000-of-00001.parquet"
    files = {"llamafactory": "", "llava": "train.json", "trl": parquet, "unpaired": parquet}
    path = files.get(to, "train.jsonl")
    after = imported(IMPORTERS[TO_IMPORTER[to]](), str(tmp_path / "exported" / path), tmp_path / "second")
    assert exported.rows + sum(exported.left_out.values()) == len(before)
    kept = [row for row in before if not (to == "llava" and row["conversations"][0]["role"] == "system")]
    if to in ("mmpr", "jsonl"):
        kept = [row for row in kept if len(row["prompt"]) == 1]
    assert content(after) == content(kept)
    if to in LOADERS:
        assert checking.check(tmp_path / "exported", to).problems == ()


def test_preferences_between_pictures_survive_ms_swift(tmp_path: Path) -> None:
    by_image = {**SWIFT, "rejected_response": None, "rejected_images": ["a.png"]}
    two = {**TWO_PICTURES, "rejected_response": None, "rejected_images": ["b.png", "a.png"]}
    source = write_lines(tmp_path / "s.jsonl", [by_image, SWIFT, two])
    before = imported(IMPORTERS["ms-swift"](), source, tmp_path / "first", picture_files(tmp_path))
    assert [len(row["rejected_images"] or []) for row in before] == [1, 0, 2]
    export(Stored(tmp_path / "first"), "ms-swift", tmp_path / "exported")
    after = imported(IMPORTERS["ms-swift"](), str(tmp_path / "exported" / "train.jsonl"), tmp_path / "second")
    assert content(after) == content(before)
    assert checking.check(tmp_path / "exported", "ms-swift").problems == ()


@pytest.mark.parametrize("trainer", LOADERS)
@pytest.mark.parametrize("name", FILES)
def test_a_run_itself_is_what_every_trainer_reads(tmp_path: Path, name: str, trainer: str) -> None:
    importer, write = FILES[name]
    imported(IMPORTERS[importer](), write(tmp_path), tmp_path / "run", picture_files(tmp_path))
    assert checking.check(tmp_path / "run", trainer).problems == ()


def test_licence_and_options_travel(tmp_path: Path) -> None:
    importer, write = FILES["vlfeedback"]
    imported(IMPORTERS[importer](licence="cc-by-4.0"), write(tmp_path), tmp_path / "first", picture_files(tmp_path))
    export(Stored(tmp_path / "first"), "ms-swift", tmp_path / "exported")
    (row,) = imported(IMPORTERS["ms-swift"](), str(tmp_path / "exported" / "train.jsonl"), tmp_path / "second")
    assert (row["licence"], row["method"], row["variant"]) == ("cc-by-4.0", "vlfeedback", "best-worst")
    assert row["source"] == "s.jsonl"
    assert json.loads(row["meta"])["options"]["rejected_model"] == "qwen-vl-chat"
