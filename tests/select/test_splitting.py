from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from prefgen.errors import UsageError
from prefgen.select import Excluded, keep, split
from prefgen.select.expressions import parse
from prefgen.select.keys import digests
from tests.select.runs import chosen_of, pair, picture, stored, written

SHARES = {"train": 0.7, "val": 0.3}


def test_no_picture_is_in_two_splits(tmp_path: Path) -> None:
    pairs = [pair(number, shade=number % 40) for number in range(120)]
    parts = split(stored(tmp_path / "a", pairs, 50), SHARES, seed=3)
    rows = {name: written(part, tmp_path / name, 50) for name, part in parts.items()}
    seen = {name: {digest for row in found for digest in digests(row)} for name, found in rows.items()}
    assert not seen["train"] & seen["val"]
    assert len(seen["train"] | seen["val"]) == 40
    assert sorted(row["id"] for found in rows.values() for row in found) == [f"{number:016x}" for number in range(120)]
    assert 0.5 < len(rows["train"]) / 120 < 0.9


def test_rows_that_share_pictures_through_others_stay_together(tmp_path: Path) -> None:
    chain = [pair(number, images=(picture(number), picture(number + 1))) for number in range(30)]
    single = [pair(100 + number, shade=100 + number) for number in range(20)]
    parts = split(stored(tmp_path / "a", chain + single, 50), SHARES, seed=0)
    held = [{number for number in part.rows.tolist() if number < 30} for part in parts.values()]
    assert sorted(map(len, held)) == [0, 30]
    assert all(len(part) for part in parts.values())


def test_a_split_depends_on_seed_and_picture_alone(tmp_path: Path) -> None:
    pairs = [pair(number) for number in range(40)]
    forward = split(stored(tmp_path / "a", pairs), SHARES, 1)["val"].rows.tolist()
    backward = split(stored(tmp_path / "b", pairs[::-1]), SHARES, 1)["val"].rows.tolist()
    assert sorted(39 - number for number in backward) == forward
    assert forward != split(stored(tmp_path / "c", pairs), SHARES, 2)["val"].rows.tolist()


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.4}, {"a": 1.0, "b": 0.0}, {"a": 2.0, "b": -1.0}])
def test_shares_must_add_up(tmp_path: Path, shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        split(stored(tmp_path / "a", [pair(0)]), shares, 0)


EVERY = parse("True")


def test_evaluation_pictures_are_left_out_by_name(tmp_path: Path) -> None:
    names = ["COCO_val2014_000000000042.jpg", "000000000043.jpg", "VG_44.jpg", "45.png", "46.png"]
    pairs = [pair(number, images=(picture(number, name),)) for number, name in enumerate(names)]
    run = stored(tmp_path / "a", pairs)
    listed = tmp_path / "pope.jsonl"
    listed.write_text(
        '{"question_id": 1, "image": "000000000042.jpg", "text": "?"}\n'
        "val2014/COCO_val2014_000000000043.jpg\n\nvg_44\n45\n"
    )
    selection = keep(run, EVERY, Excluded.read(listed))
    assert selection.left_out == {"EVALUATION_IMAGE": 4}
    assert chosen_of(written(selection, tmp_path / "out")) == ["A cat 4."]


def test_a_number_of_another_set_is_no_coco_number(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(0, images=(picture(0, "000000000042.jpg"),)), pair(1)])
    listed = tmp_path / "ids.txt"
    listed.write_text("42\n")
    assert len(keep(run, EVERY, Excluded.read(listed))) == 2


def test_evaluation_pictures_are_left_out_by_content(tmp_path: Path) -> None:
    run = stored(tmp_path / "a", [pair(number) for number in range(4)])
    folder = tmp_path / "eval"
    folder.mkdir()
    (folder / "renamed.bin").write_bytes(picture(2).data)
    listed = tmp_path / "digests.txt"
    listed.write_text(picture(3).sha256)
    assert keep(run, EVERY, Excluded.read(folder)).rows.tolist() == [0, 1, 3]
    assert keep(run, EVERY, Excluded.read(listed)).rows.tolist() == [0, 1, 2]


def test_a_rejected_picture_counts_as_well(tmp_path: Path) -> None:
    by_image = dataclasses.replace(pair(0), rejected="A cat 0.", rejected_images=(picture(9, "evaluated.png"),))
    run = stored(tmp_path / "a", [by_image, pair(1)])
    listed = tmp_path / "list"
    for entry in ("evaluated.png", picture(9).sha256.upper()):
        listed.write_text(f"# POPE\n{entry}\n")
        assert keep(run, EVERY, Excluded.read(listed)).rows.tolist() == [1]


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n", "{broken", '{"question": 1}', b"\xff\xfe"])
def test_a_list_that_names_nothing_is_refused(tmp_path: Path, content: str | bytes) -> None:
    listed = tmp_path / "list"
    listed.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match="--exclude-images"):
        Excluded.read(listed)
