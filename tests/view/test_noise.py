from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from prefgen import visibility
from prefgen.methods.bdhs import BDHS
from prefgen.methods.povid import Povid
from prefgen.view import clip, noise
from prefgen.visibility import NOISE_SPACES
from tests.cli.runs import called


def photograph() -> PIL.Image.Image:
    """Soft shapes, as a photograph has: 12 x 9 random colours, enlarged."""
    colours = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return PIL.Image.fromarray(colours).resize((480, 360), PIL.Image.Resampling.BICUBIC)


def patch_means(values: np.ndarray) -> np.ndarray:
    corners = range(0, 336, 14)
    return np.array([[values[c, i : i + 14, j : j + 14].mean() for i in corners for j in corners] for c in range(3)])


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    scores = [(x - x.mean(dtype=np.float64)) / x.std(dtype=np.float64) for x in (one, other)]
    return float((scores[0] * scores[1]).mean())


@pytest.mark.parametrize("space", NOISE_SPACES)
def test_the_correlation_is_pearsons(space: visibility.NoiseSpace) -> None:
    picture = photograph()
    clean, noised = clip.encoder_input(picture), noise.noised(picture, space, 300, seed=1)
    assert noised.dtype == np.float32
    assert noised.shape == (3, 336, 336)
    found = noise.measure(picture, space, 300, seed=1)
    assert found.correlation == pytest.approx(pearson(clean, noised), abs=1e-6)
    means = [patch_means(values) for values in (clean, noised)]
    assert found.patch_correlation == pytest.approx(pearson(*means), abs=1e-5)


def test_no_noise_is_the_clean_input_and_more_noise_is_less_of_it() -> None:
    cells = noise.measure_all(photograph())
    for space in NOISE_SPACES:
        found = [cell.correlation for cell in cells if cell.space == space]
        assert found[0] == pytest.approx(1.0)
        assert found == sorted(found, reverse=True) or space == "pixel-wrap"  # where it is 0, it is 0 by chance
    half = {cell.space: cell.correlation for cell in cells if cell.steps == 500}
    assert half["encoder"] > half["pixel-clamp"] > half["pixel-wrap"]


def test_the_default_space_is_the_one_that_fits_the_figures_of_the_paper(tmp_path: Path) -> None:
    """Things can still be named at N = 300, and nothing at N = 500: the script's table says which space does that."""
    script = Path(__file__).parents[2] / "examples" / "noise_spaces.py"
    done = subprocess.run([sys.executable, script, "--output", tmp_path], stdout=subprocess.PIPE, check=True, text=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:]]
    patches = {(space, int(steps)): float(found) for space, steps, _, found, _ in rows}
    similar = {(space, int(steps)): float(found) for space, steps, _, _, found in rows}
    fitting = [space for space in NOISE_SPACES if patches[space, 300] > 0.5 and patches[space, 500] < 0.5]
    assert fitting == [Povid.noise_space] == [BDHS.noise_space]
    assert all(similar[space, 100] > similar[space, 300] > similar[space, 500] > 0 for space in NOISE_SPACES)
    assert (tmp_path / "sheet.png").exists()


def test_the_other_schedule_ends_a_step_earlier() -> None:
    assert {cell.steps for cell in noise.measure_all(photograph(), schedule="code")} == {*range(0, 1000, 100), 999}


def test_the_command_writes_the_sheet(tmp_path: Path) -> None:
    photograph().save(tmp_path / "photo.jpg")
    done = called("noise", tmp_path / "photo.jpg", "--output", tmp_path / "noise.png")
    assert done.returncode == 0, done.stderr
    with PIL.Image.open(io.BytesIO((tmp_path / "noise.png").read_bytes())) as sheet:
        width, height = sheet.size
        corner = np.asarray(sheet.convert("RGB"))
    assert width > 11 * 160
    assert height > 3 * 160
    assert (corner < 100).any()  # captions were drawn


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_what_is_no_picture_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    done = called("noise", path, "--output", tmp_path / "noise.png")
    assert done.returncode == 2
    assert "photo.jpg" in done.stderr
