"""Runs whose pictures are in archives and stores have the data of runs whose pictures are files."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.cli.runs import called, data_digests, prefgen, write_input
from tests.store import s3

RUN = ("-m", "none", "--engine", "fake", "--shard-size", "8")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An input whose pictures are a folder, a zip and a tar, none of them beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written = write_input(tmp_path / "made", 24)
    pictures = tmp_path / "pictures"
    shutil.move(written.parent / "images", pictures / "images")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive, tarfile.open(tmp_path / "images.tar", "w") as tar:
        for file in sorted((pictures / "images").iterdir()):
            archive.write(file, f"images/{file.name}")
            tar.add(file, f"images/{file.name}")
    return written


def test_archives_and_stores_give_the_data_of_a_folder(source: Path, tmp_path: Path) -> None:
    def run(root: str | Path, out: str) -> dict[str, str]:
        done = called("bdhs", "-i", source, *RUN, "--image-root", root, "-o", tmp_path / out)
        assert done.returncode == 0, done.stderr
        return data_digests(tmp_path / out)

    folder = run(tmp_path / "pictures" / "images", "folder")
    assert run(tmp_path / "images.zip", "zip") == folder
    assert run(tmp_path / "images.tar", "tar") == folder
    with s3() as fs:
        fs.put(str(tmp_path / "images.zip"), "bucket/images.zip")
        for file in (tmp_path / "pictures" / "images").iterdir():
            fs.pipe_file(f"bucket/pictures/images/{file.name}", file.read_bytes())
        assert run("s3://bucket/images.zip", "s3-zip") == folder
        assert run("s3://bucket/pictures/images", "s3-folder") == folder
    lock = (tmp_path / "s3-zip" / ".prefgen" / "config.lock").read_text()
    assert "s3://bucket/images.zip" in lock
    assert called("verify", tmp_path / "s3-zip").returncode == 0


def test_workers_and_resume_read_archives_too(source: Path, tmp_path: Path) -> None:
    arguments = ("bdhs", "-i", source, *RUN, "--image-root", tmp_path / "images.zip")
    assert called(*arguments, "-o", tmp_path / "one").returncode == 0
    part = called(*arguments, "-o", tmp_path / "two", "--shard", "0/3")
    assert part.returncode == 0, part.stderr
    rest = prefgen(*arguments, "-o", tmp_path / "two", "--workers", "2")
    assert rest.returncode == 0, rest.stderr
    assert data_digests(tmp_path / "two") == data_digests(tmp_path / "one")


def test_a_missing_member_is_a_dropped_row_and_a_hint(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for file in sorted((tmp_path / "pictures" / "images").iterdir())[:3]:
            archive.write(file, file.name)
    done = called("bdhs", "-i", source, *RUN, "--image-root", tmp_path / "some.zip", "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dropped"] == {"IMG_MISSING": 24 - 3 * 4}
    assert "4 of 7 images were not found" in done.stderr


def test_vlfeedback_is_imported_with_its_pictures_in_their_zip(source: Path, tmp_path: Path) -> None:
    def rated(model: str, text: str, stars: int) -> dict[str, object]:
        aspects = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
        return {"model": model, "response": text, "annotations": {name: {"Rating": str(stars)} for name in aspects}}

    rows = [
        {
            "id": f"{number:012d}",
            "prompt": "What?",
            "models": [],
            "completions": [rated("a", f"A thing {number}.", 5), rated("b", f"Another {number}.", 2)],
        }
        for number in range(7)
    ]
    (tmp_path / "vlfeedback_80k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.move(tmp_path / "images.zip", tmp_path / "merged_images.zip")
    arguments = ("import", "vlfeedback", tmp_path / "vlfeedback_80k.jsonl", "--json", "-o", tmp_path / "out")
    done = called(*arguments, "--image-root", tmp_path / "merged_images.zip")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 7
