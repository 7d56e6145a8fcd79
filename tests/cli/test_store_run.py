"""A run on an object store from end to end: rows, pictures, push, and the pushed run read again."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prefgen.rundir.verify import verify
from tests.cli.runs import called, data_digests, write_input
from tests.store import s3
from tests.trainers.sets import SCENES


def test_rows_pictures_and_push_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    local = write_input(tmp_path / "here", 30)
    rows = json.loads(local.read_text())
    run = ("-m", "none", "--engine", "fake", "--shard-size", "8")
    assert called("bdhs", "-i", local, *run, "-o", tmp_path / "local").returncode == 0
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in sorted((local.parent / "images").iterdir()):
            archive.write(file, f"images/{file.name}")
    with s3() as fs:
        for number, part in enumerate((rows[:13], rows[13:])):
            lines = "".join(json.dumps(row) + "\n" for row in part)
            fs.pipe_file(f"bucket/sft/part-{number}.jsonl", lines.encode())
        fs.put_file(str(tmp_path / "images.zip"), "bucket/sft/images.zip")
        source = ("-i", "s3://bucket/sft/part-*.jsonl", "--image-root", "s3://bucket/sft/images.zip")
        made = called("bdhs", *source, *run, "-o", tmp_path / "out")
        assert made.returncode == 0, made.stderr
        pushed = called("push", tmp_path / "out", "s3://bucket/runs/first")
        assert pushed.returncode == 0, pushed.stderr
        exported = called("export", "s3://bucket/runs/first", "--to", "trl", "-o", tmp_path / "trl")
        assert exported.returncode == 0, exported.stderr
        plan = ("-m", SCENES / "model", "--device", "cpu", "--dry-run", "-o", tmp_path / "trained")
        trained = called("train", "dpo", "s3://bucket/runs/first", *plan)
        assert "30 samples, 30 rejected answers" in trained.stderr
        online = ("--online", "bdhs", "--similarity-model", "minilm", "--image-root", source[-1], *plan)
        planned = called("train", "dpo", "s3://bucket/sft/part-0.jsonl", *online)
        assert "13 samples" in planned.stderr
        assert "holds no finished run" in called("train", "dpo", "s3://bucket/sft/part-0.jsonl", *plan).stderr
    [copy] = (tmp_path / "cache" / "prefgen" / "runs").glob("*/first")
    assert verify(copy).problems == ()
    assert data_digests(copy) == data_digests(tmp_path / "out")
    answers = [
        [row["rejected"] for row in read_rows(folder)] for folder in (tmp_path / "local", tmp_path / "out", copy)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 30


def read_rows(out: Path) -> list[dict[str, object]]:
    return [row for path in sorted((out / "data").iterdir()) for row in pq.read_table(path).to_pylist()]
