"""Preferences between images: what each distortion leaves, and how such pairs pass through everything else."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from prefgen import images
from prefgen.driver import drive
from prefgen.engines.hf.album import Album
from prefgen.errors import RowError, UsageError
from prefgen.formats.checking import check
from prefgen.formats.exporting import export
from prefgen.linting import lint
from prefgen.methods import distortions
from prefgen.methods.image_pairs import DISTORTIONS, ImagePairs
from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Turn
from prefgen.requests import Borrow
from prefgen.rundir.reader import Stored
from prefgen.rundir.verify import verify
from prefgen.view.collection import Collection
from prefgen.view.present import present
from tests.cli.runs import called, write_input
from tests.select.runs import stored


def photo(number: int = 0, width: int = 240, height: int = 160) -> Image:
    """Soft colours, so that a blur can be told from noise."""
    colours = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(colours).resize((width, height), PIL.Image.Resampling.BICUBIC).save(buffer, "PNG")
    return Image(buffer.getvalue(), f"folder/{number}.png", width, height)


def sample(number: int = 0, count: int = 1) -> Sample:
    prompt = (Turn("user", (*[Slot.IMAGE] * count, "What is there?")),)
    pictures = tuple(photo(10 * number + place) for place in range(count))
    return Sample(f"{number:016x}", prompt, pictures, "A red cat.", "test", f"row {number}")


def made(method: ImagePairs, samples: list[Sample]) -> list[Outcome]:
    found = drive(samples, method, {Borrow: Album(samples)})
    return [outcome for _, outcome in sorted(found, key=lambda one: one[0])]


def rejected(method: ImagePairs, one: Sample) -> list[np.ndarray]:
    (outcome,) = made(method, [one])
    assert isinstance(outcome, Pair)
    assert (outcome.chosen, outcome.rejected) == ("A red cat.", "A red cat.")
    return [np.asarray(images.decode(image)).astype(float) for image in outcome.loaded_rejected_images]


def original(one: Sample) -> np.ndarray:
    return np.asarray(images.decode(one.loaded_images[0])).astype(float)


def test_noise_is_that_of_the_schedule() -> None:
    (seen,) = rejected(ImagePairs(noise_steps=300), sample())
    inside = (original(sample()) > 100) & (original(sample()) < 150)  # where nothing is clamped
    spread = (seen - 0.981 * original(sample()))[inside].std() / 255
    assert spread == pytest.approx(0.194, abs=0.02)  # sqrt(1 - alpha_bar_300); JPEG takes a little of it


def test_downscaled_pictures_keep_their_size_and_lose_their_detail() -> None:
    checks = np.indices((160, 240)).sum(axis=0) % 2 * 100 + (np.arange(240) >= 120) * 100  # the right half is lighter
    picture = PIL.Image.fromarray(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8))
    seen = np.asarray(distortions.downscale(picture, 20)).astype(float)
    assert seen.shape == (160, 240, 3)
    left, right = seen[:, 20:100], seen[:, 140:220]
    assert (left.mean(), right.mean()) == (pytest.approx(50, abs=3), pytest.approx(150, abs=3))
    assert left.std() < 5 < checks[:, 20:100].std()


def test_crops_are_pieces_of_the_picture_of_all_sizes_allowed() -> None:
    picture = PIL.Image.fromarray(np.arange(240 * 160 * 3, dtype=np.uint32).astype(np.uint8).reshape(160, 240, 3))
    whole = np.asarray(picture)
    shares = []
    for seed in range(60):
        piece = np.asarray(distortions.crop(picture, (0.01, 0.2), seed))
        shares.append(piece.shape[0] * piece.shape[1] / (240 * 160))
        corners = np.argwhere((whole == piece[0, 0]).all(axis=-1))
        assert any(
            (whole[y : y + piece.shape[0], x : x + piece.shape[1]] == piece).all()
            for y, x in corners
            if y + piece.shape[0] <= 160 and x + piece.shape[1] <= 240
        )
    assert 0.008 < min(shares) < 0.05 < 0.15 < max(shares) < 0.21


def test_patches_hide_their_share_of_a_grid() -> None:
    picture = PIL.Image.new("RGB", (240, 240), (255, 0, 0))
    shares = [(np.asarray(distortions.patches(picture, 0.9, seed))[5::10, 5::10, 1] > 0).mean() for seed in range(30)]
    assert np.mean(shares) == pytest.approx(0.9, abs=0.02)
    assert np.asarray(distortions.patches(picture, 0.0, 1)).tolist() == np.asarray(picture).tolist()


def test_blank_is_black() -> None:
    (seen,) = rejected(ImagePairs("blank"), sample())
    assert seen.shape == original(sample()).shape
    assert not seen.any()


def test_another_samples_image_is_its_very_bytes_and_never_the_samples_own() -> None:
    samples = [sample(number, count=1 + number % 2) for number in range(6)]
    outcomes = made(ImagePairs("other", seed=3), samples)
    known = {image.sha256 for one in samples for image in one.loaded_images}
    for one, outcome in zip(samples, outcomes, strict=True):
        assert isinstance(outcome, Pair)
        assert len(outcome.loaded_rejected_images) == len(one.images)
        for own, other in zip(one.loaded_images, outcome.loaded_rejected_images, strict=True):
            assert other.sha256 in known - {own.sha256}
    assert outcomes == made(ImagePairs("other", seed=3), samples)
    (alone,) = made(ImagePairs("other"), [sample()])
    assert isinstance(alone, Dropped)
    assert alone.reason == "IMG_NO_OTHER"


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_draws_are_seeded_by_sample_and_place(distortion: Any) -> None:
    twin = sample(1, count=2)
    twin = Sample(twin.id, twin.prompt, (twin.images[0],) * 2, twin.answer, "test", "row 1")
    samples = [sample(0), twin, sample(2)]
    first, second = (
        made(ImagePairs(distortion), samples)[1],
        made(ImagePairs(distortion), [samples[2], twin, samples[0]])[1],
    )
    assert isinstance(first, Pair)
    assert isinstance(second, Pair)
    if distortion in ("noise", "crop", "patches"):
        assert first.loaded_rejected_images == second.loaded_rejected_images
        assert first.loaded_rejected_images[0].data != first.loaded_rejected_images[1].data
    if distortion != "other":
        assert [image.path for image in first.loaded_rejected_images] == [f"10-{distortion}.jpg"] * 2


@pytest.mark.parametrize(
    "options", [{"distortion": "rotate"}, {"noise_space": "encoder"}, {"noise_steps": 0}, {"rho": 2.0}, {"side": 0}]
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(options)).replace("_", "-")):
        ImagePairs(**options)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with pairs of both kinds, one after the other."""
    folder = tmp_path_factory.mktemp("image") / "out"
    kinds = [*made(ImagePairs("crop"), [sample(1), sample(2, count=2)])]
    text = Pair(sample(3), "bdhs", "attn", "A red cat.", "A red dog.", 1, 0.5, 0)
    stored(folder, [*(pair for pair in kinds if isinstance(pair, Pair)), text])
    return folder


def test_rows_hold_the_rejected_pictures_and_open_in_datasets(out: Path) -> None:
    assert not verify(out).problems
    rows = datasets.load_dataset(str(out), split="train")
    assert rows[0]["rejected_images"][0].size != rows[0]["images"][0].size
    assert len(rows[1]["rejected_images"]) == 2
    assert rows[2]["rejected_images"] is None
    assert rows[0]["rejected_response"] == rows[0]["chosen_response"]


def test_verify_sees_a_rejected_picture_that_is_none(out: Path, tmp_path: Path) -> None:
    from prefgen.rundir.verify import _row_problems

    row = pq.read_table(out / "data").to_pylist()[0]
    assert list(_row_problems(row)) == []
    assert any("equal" in problem for problem in _row_problems({**row, "rejected_images": None}))
    assert any("equal" in problem for problem in _row_problems({**row, "rejected_images": row["images"]}))
    assert any("rejected_images for 1" in problem for problem in _row_problems({**row, "rejected_images": []}))
    broken = [{"bytes": b"x", "path": "x.jpg"}]
    assert any("differs from its digest" in problem for problem in _row_problems({**row, "rejected_images": broken}))


def test_lint_expects_equal_answers_there(out: Path) -> None:
    identical = next(finding for finding in lint(out).findings if finding.check == "identical")
    assert identical.count == 0


def test_the_viewer_shows_what_is_rejected_beside_the_original(out: Path) -> None:
    collection = Collection(out)
    card = present(collection, 1, lambda position, place, noisy: f"{position}/{place}")
    assert [(image["plain"], image["rejected"]) for image in card["images"]] == [
        ("1/0", False),
        ("1/1", False),
        ("1/2", True),
        ("1/3", True),
    ]
    assert len(collection.images(1)) == 4
    assert [image["rejected"] for image in present(collection, 2, lambda *_: "")["images"]] == [False]


def test_ms_swift_gets_them_and_the_others_leave_them_out(out: Path, tmp_path: Path) -> None:
    exported = export(Stored(out), "ms-swift", tmp_path / "swift")
    assert (exported.rows, dict(exported.left_out)) == (3, {})
    rows = [json.loads(line) for line in (tmp_path / "swift" / "train.jsonl").read_text().splitlines()]
    assert len(rows[1]["images"]) == len(rows[1]["rejected_images"]) == 2
    assert [row["rejected_images"] == row["images"] for row in rows] == [False, False, True]
    assert [row["rejected_messages"] == row["messages"] for row in rows] == [True, True, False]
    for row in rows:
        assert "rejected_response" not in row
        assert all((tmp_path / "swift" / name).exists() for name in row["images"] + row["rejected_images"])
    assert not check(tmp_path / "swift", "ms-swift").problems
    for to in ("trl", "llamafactory", "llava", "mmpr"):
        exported = export(Stored(out), to, tmp_path / to)
        assert (exported.rows, dict(exported.left_out)) == (1, {"REJECTED_BY_IMAGE": 2})


def test_the_command_needs_no_model(tmp_path: Path) -> None:
    source = write_input(tmp_path / "input", 10)
    for distortion in ("patches", "other"):
        done = called(
            "povid", "--pairs", "image", "--distortion", distortion, "-i", source, "-o", tmp_path / distortion, "--json"
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["pairs"] == 10
        assert called("verify", tmp_path / distortion).returncode == 0
    assert called("povid", "-i", source, "-o", tmp_path / "text").returncode == 2  # without --model
    foreign = {("--distortion", "crop"): "text", ("--temperature", "0.5"): "image", ("--fidelity", "paper"): "image"}
    for option, pairs in foreign.items():
        refused = called("povid", "-i", source, "-o", tmp_path / "text", "-m", "none", "--pairs", pairs, *option)
        assert refused.returncode == 2
        assert option[0] in refused.stderr


def test_an_album_answers_nothing_else() -> None:
    with pytest.raises(TypeError, match="Borrow"):
        Album([]).submit(0, None)  # type: ignore[arg-type]
    album = Album([sample(1)])
    album.submit(7, Borrow(photo(10), 0))
    ((ticket, reply),) = album.collect()
    assert ticket == 7
    assert isinstance(reply, RowError)
