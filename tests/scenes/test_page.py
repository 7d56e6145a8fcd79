"""The page of the world and its contact sheet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from prefgen.evaluate.scenes.render import render
from prefgen.evaluate.scenes.sample import TRAINING, sample_scene
from prefgen.evaluate.scenes.truth import IMAGE_SIZE

EXAMPLES = Path(__file__).parents[2] / "examples" / "scenes"


def test_the_sheet_in_the_documentation_shows_what_the_script_draws(tmp_path: Path) -> None:
    drawn, kept = tmp_path / "sheet.webp", EXAMPLES / "contact_sheet.webp"
    subprocess.run([sys.executable, EXAMPLES / "contact_sheet.py", "--out", drawn], check=True)
    assert kept.stat().st_size <= 400_000
    sheets = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (drawn, kept)]
    assert np.abs(sheets[0] - sheets[1]).mean() < 2  # the font may differ a little
    first = np.asarray(render(sample_scene(TRAINING, 5, 0))).astype(int)
    assert np.abs(sheets[0][8 : 8 + IMAGE_SIZE, 8 : 8 + IMAGE_SIZE] - first).mean() < 6


def test_the_page_is_what_the_script_writes(tmp_path: Path) -> None:
    written = tmp_path / "world.md"
    subprocess.run([sys.executable, EXAMPLES / "world_page.py", "--out", written], check=True)
    assert written.read_text() == (EXAMPLES / "world.md").read_text()
