from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from prefgen.records import Image
from prefgen.select import dedup, dedup_near
from prefgen.select.keys import By
from prefgen.select.near import JACCARD, PictureHash, look, minhash
from tests.select.runs import chosen_of, pair, stored, written

IMAGES = sorted((Path(__file__).parents[2] / "examples" / "scenes" / "images").glob("*.jpg"))
LONG = "There is a red bowl on the table and two green apples lie beside it near the window of the old kitchen"


def scene(number: int) -> Image:
    return Image(IMAGES[number].read_bytes(), IMAGES[number].name, 144, 144)


def copied(image: Image, side: int = 96, quality: int = 60) -> Image:
    """The picture in another size and encoding."""
    file = io.BytesIO()
    with PIL.Image.open(io.BytesIO(image.data)) as opened:
        opened.convert("RGB").resize((side, side)).save(file, "JPEG", quality=quality)
    return Image(file.getvalue(), "copy.jpg", side, side)


def test_minhash_estimates_the_share_of_common_runs_of_words() -> None:
    rng = np.random.default_rng(3)
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        words = [f"w{number}" for number in rng.permutation(10_000)[:400]]
        cut = int(share * len(words))
        one, other = words, [*words[:cut], *(f"v{word}" for word in words[cut:])]
        runs = [{tuple(text[at : at + 3]) for at in range(len(text) - 2)} for text in (one, other)]
        true = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
        estimate = float((minhash(" ".join(one)) == minhash(" ".join(other))).mean())
        assert estimate == pytest.approx(true, abs=3 * (0.25 / 128) ** 0.5)


def test_case_and_punctuation_do_not_count_but_words_do() -> None:
    assert (minhash("A red bowl, on it.") == minhash("a red BOWL on it")).all()
    one, other = minhash("No, there is no star in the image."), minhash("No, there is no ring in the image.")
    assert (one == other).mean() < JACCARD
    assert (minhash("") == minhash("!")).all()


def seen(image: Image) -> PictureHash:
    return look(PIL.Image.open(io.BytesIO(image.data)))


def test_copies_are_near_and_different_scenes_are_not() -> None:
    scenes = [scene(number) for number in range(60)]
    looks = [seen(image) for image in scenes]
    assert all(one.near(seen(copied(image))) for one, image in zip(looks, scenes, strict=True))
    assert not any(one.near(other) for one, other in combinations(looks, 2))


def test_another_colour_is_another_picture() -> None:
    # Of the same grey, and without any edge.
    red, green = (look(PIL.Image.new("RGB", (64, 64), colour)) for colour in ((255, 0, 0), (0, 130, 0)))
    assert red.bits == green.bits
    assert not red.near(green)
    assert red.near(look(PIL.Image.new("RGB", (32, 32), (250, 3, 2))))


def test_the_first_of_near_duplicates_stays(tmp_path: Path) -> None:
    answer: dict[str, Any] = {"chosen": f"{LONG}.", "rejected": f"{LONG}, and a cat.", "similarity": None}
    rows = [
        pair(0, images=(scene(0),), **answer),
        pair(1, images=(copied(scene(0)),), **answer),  # another encoding
        pair(2, images=(scene(0),), **{**answer, "chosen": f"{LONG} today!"}),  # one word more
        pair(3, images=(scene(1),), **answer),  # another picture
        pair(4, images=(scene(0),), **{**answer, "chosen": "A blue car drives along a street with trees."}),
        pair(5, images=(scene(0), scene(1)), **answer),  # two pictures
    ]
    run = stored(tmp_path / "a", rows)
    selection = dedup_near(run)
    assert selection.left_out == {"NEAR_DUPLICATE": 2}
    assert selection.rows.tolist() == [0, 3, 4, 5]
    assert len(chosen_of(written(selection, tmp_path / "out"))) == 4
    assert len(dedup(run)) == 6  # to the letter, they all differ


@pytest.mark.parametrize(
    ("by", "kept"), [("image", [0, 2]), ("prompt", [0, 2]), ("answer", [0, 2, 3]), ("pair", [0, 2, 3, 4])]
)
def test_what_is_compared(tmp_path: Path, by: By, kept: list[int]) -> None:
    rows = [
        pair(0, images=(scene(0),), chosen=LONG, rejected="Nothing is there to see."),
        pair(1, images=(copied(scene(0)),), chosen=LONG, rejected="Nothing is there to see."),
        pair(2, images=(scene(1),), chosen=LONG, rejected="Nothing is there to see."),
        pair(3, images=(scene(0),), chosen="Something else altogether.", rejected="Nothing is there to see."),
        pair(4, images=(scene(0),), chosen=LONG, rejected="A dog and a horse stand there."),
    ]
    assert dedup_near(stored(tmp_path / "a", rows), by).rows.tolist() == kept


def test_rows_without_pictures_are_compared_as_well(tmp_path: Path) -> None:
    rows = [
        pair(number, images=(), chosen=chosen, rejected="No.") for number, chosen in enumerate([LONG, f"{LONG}!", "x"])
    ]
    rows[2] = replace(rows[2], rejected="Not at all.")
    assert dedup_near(stored(tmp_path / "a", rows)).rows.tolist() == [0, 2]
