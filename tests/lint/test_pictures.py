from __future__ import annotations

from pathlib import Path

from prefgen.linting.pictures import ImageSizes, Leakage, Repeats
from prefgen.select import Excluded
from tests.lint.rows import ask, picture, row


def test_repeated_images_prompts_and_pairs() -> None:
    rows = [row(n, pictures=(picture(n % 2),), prompt="Describe it.", rejected=f"It {n // 2}") for n in range(40)]
    found = ask(Repeats(), [*rows, rows[0]])
    assert {name: (finding.level, finding.count) for name, finding in found.items()} == {
        "repeated-pairs": ("error", 1),
        "repeated-images": ("warning", 39),
        "repeated-prompts": ("warning", 40),
    }
    assert "2 images for 41 rows; one is in 21 rows" in found["repeated-images"].message


def test_different_rows_repeat_nothing() -> None:
    assert {finding.count for finding in ask(Repeats(), [row(n) for n in range(30)]).values()} == {0}


def test_sizes_and_rows_without_an_image() -> None:
    found = ask(ImageSizes(), [row(0, pictures=(picture(0, side=32),)), row(1), row(2, pictures=())])
    assert (found["image-size"].level, found["image-size"].count) == ("warning", 1)
    assert (found["no-image"].level, found["no-image"].count) == ("warning", 1)
    assert set(ask(ImageSizes(), [row(0)])) == {"image-size"}


def test_leakage_by_digest_by_name_and_by_coco_number(tmp_path: Path) -> None:
    path = tmp_path / "pope.txt"
    path.write_text(f"# of POPE\n\n{picture(10).sha256.upper()}\nval2014/COCO_val2014_000000000042.jpg\ncat.png\n")
    excluded = Excluded.read(path)
    rows = [
        row(10),
        row(1, pictures=(picture(1, "000000000042.jpg"),)),
        row(2),
        row(3, pictures=(picture(3, "cat.png"),)),
        row(4, rejected_pictures=(picture(5, "cat.png"),)),
    ]
    finding = ask(Leakage(excluded), rows)["leakage"]
    assert (finding.level, finding.count) == ("error", 4)
    assert [example.row for example in finding.examples] == [rows[place].id for place in (0, 1, 3)]  # the first ones
