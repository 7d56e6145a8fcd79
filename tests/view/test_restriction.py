from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import PIL.Image
import pytest

from prefgen import seeds, visibility
from prefgen.methods.bdhs import BDHS
from prefgen.methods.povid import Povid
from prefgen.view import restriction


def row(method: BDHS, tokens: int = 64, iteration: int = 2) -> dict[str, Any]:
    view = method.view("ab", iteration)
    return {
        "id": "ab",
        "method": "bdhs",
        "iteration": iteration,
        "image_tokens": tokens,
        "kept_image_tokens": int(view.mask(tokens).sum()),
    }


def test_the_mask_of_the_accepted_iteration() -> None:
    method = BDHS(rho=0.9, seed=3)
    seen = restriction.view(row(method), dataclasses.asdict(method))
    assert seen == method.view("ab", 2)
    mask = restriction.mask(row(method), seen, 1)
    assert mask is not None
    assert mask.side == 8
    assert mask.kept == tuple(np.flatnonzero(method.view("ab", 2).mask(64)))


@pytest.mark.parametrize(("tokens", "images"), [(60, 1), (0, 1), (64, 2)])
def test_no_grid_where_there_is_no_single_square(tokens: int, images: int) -> None:
    method = BDHS(rho=0.9)
    assert restriction.mask(row(method, tokens), method.view("ab", 2), images) is None


def test_a_mask_that_contradicts_the_record_is_not_shown() -> None:
    method = BDHS(rho=0.5)
    wrong = {**row(method), "kept_image_tokens": 1}
    assert restriction.mask(wrong, method.view("ab", 2), 1) is None


def test_unknown_methods_and_options_have_no_view() -> None:
    method = BDHS()
    assert restriction.view({**row(method), "method": "rlhf-v"}, {}) is None
    assert restriction.view({**row(method), "method": "povid-style"}, dataclasses.asdict(method)) is None
    assert restriction.view({**row(method), "method": "blind"}, {}) is None
    assert restriction.view(row(method), {"rho": 7.0}) is None
    assert restriction.view(row(method), {"unheard": 1}) is None
    noise = BDHS(variant="noise")
    assert restriction.mask(row(noise), noise.view("ab", 2), 1) is None


def test_the_noise_of_povid_is_drawn_again() -> None:
    povid = Povid(noise_steps=300, seed=4)
    seen = restriction.view({**row(BDHS()), "method": "povid-style", "iteration": 1}, dataclasses.asdict(povid))
    assert seen == povid.view("ab", 1)


def test_pixel_noise_is_that_of_the_run() -> None:
    view = BDHS(variant="noise", noise_space="pixel-clamp", noise_steps=300).view("ab", 1)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    found = restriction.noisy(PIL.Image.fromarray(pixels), view, 1, 64)
    seed = seeds.derive(view.noise_seed, "", 1, "image")
    assert (np.asarray(found) == visibility.add_pixel_noise(pixels, 300, seed, "pixel-clamp")).all()


def test_encoder_noise_has_the_size_of_the_encoders_input() -> None:
    picture = PIL.Image.new("RGB", (50, 30), (200, 10, 10))
    few, many = (BDHS(variant="noise", noise_space="encoder", noise_steps=steps).view("ab", 1) for steps in (1, 900))
    assert restriction.noisy(picture, few, 0, 576).size == (336, 336)
    assert restriction.noisy(picture, few, 0, 61).size == (336, 336)
    faint, strong = (np.asarray(restriction.noisy(picture, view, 0, 16)).astype(float) for view in (few, many))
    assert faint.shape == (56, 56, 3)
    assert abs(faint - (200, 10, 10)).mean() < 10 < abs(strong - (200, 10, 10)).mean()
