import math

import numpy as np
import pytest

from prefgen.visibility import NOISE_SPACES, View, add_noise, add_pixel_noise, alpha_bar


def test_rho_is_the_masked_share() -> None:
    visible = np.mean([View(rho=0.9, mask_seed=seed).mask(1000).mean() for seed in range(50)])
    assert visible == pytest.approx(0.1, abs=0.005)
    assert View(rho=0.0, mask_seed=1).mask(500).all()
    assert not View(rho=1.0, mask_seed=1).mask(500).any()


def test_masks_are_nested_in_rho() -> None:
    few, many = View(rho=0.9, mask_seed=7).mask(300), View(rho=0.5, mask_seed=7).mask(300)
    assert (few <= many).all()


def test_keep_tokens_is_exact() -> None:
    assert [int(View(keep_tokens=n, mask_seed=3).mask(64).sum()) for n in (0, 1, 29, 64, 99)] == [0, 1, 29, 64, 64]
    assert View(keep_tokens=29).expected_kept(2340) == 29
    assert View(rho=0.99).expected_kept(2880) == pytest.approx(28.8)


def test_a_mask_depends_on_its_seed_alone() -> None:
    assert (View(rho=0.5, mask_seed=5).mask(99) == View(rho=0.5, mask_seed=5, noise_steps=9).mask(99)).all()
    assert (View(rho=0.5, mask_seed=5).mask(99) != View(rho=0.5, mask_seed=6).mask(99)).any()


def beta(k: int) -> float:
    """Eq. 8, written out a second time."""
    return 1 / (1 + math.exp(-(-6 + 12 * k / 1000))) * (0.5e-2 - 1e-5) + 1e-5


@pytest.mark.parametrize("n", [0, 1, 100, 300, 500, 1000])
def test_the_schedule_is_the_papers(n: int) -> None:
    assert alpha_bar(n) == pytest.approx(math.prod(1 - beta(k) for k in range(1, n + 1)), rel=1e-12)


def test_known_values_of_both_schedules() -> None:
    """The values that were measured in the public code of VCD, and the paper's formula beside it."""
    assert alpha_bar(500, "code") == pytest.approx(0.74480, abs=5e-6)
    assert alpha_bar(500) == pytest.approx(0.74554, abs=5e-6)
    assert [round(alpha_bar(n, "code"), 3) for n in (100, 300, 700, 999)] == [0.997, 0.962, 0.351, 0.081]


def test_steps_outside_the_schedule_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1001 are outside 0\.\.1000"):
        alpha_bar(1001)
    with pytest.raises(ValueError, match=r"0\.\.999"):
        alpha_bar(1000, "code")


def test_noise_has_the_variance_of_eq_9() -> None:
    x = np.full((3, 200, 200), 2.0, dtype=np.float32)
    noisy = add_noise(x, 500, seed=1)
    assert noisy.dtype == np.float32
    assert noisy.mean() == pytest.approx(2 * math.sqrt(alpha_bar(500)), abs=0.01)
    assert noisy.std() == pytest.approx(math.sqrt(1 - alpha_bar(500)), abs=0.01)
    assert (add_noise(x, 500, seed=1) == noisy).all()
    assert (add_noise(x, 500, seed=2) != noisy).any()
    assert add_noise(x, 0, seed=1) is x


def test_wrapping_is_far_stronger_than_clamping() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def correlation(other: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
        return float(np.corrcoef(pixels.ravel(), other.ravel())[0, 1])

    clamped, wrapped = (add_pixel_noise(pixels, 500, 1, space) for space in NOISE_SPACES[1:])
    assert clamped.dtype == wrapped.dtype == np.uint8
    assert correlation(clamped) > correlation(wrapped) + 0.2


def test_wrapping_is_modulo_256() -> None:
    """300 becomes 44 and -25.5 becomes 231, as a conversion to bytes without clipping does."""
    assert np.mod(np.trunc(np.array([300.0, -25.5], dtype=np.float32)), 256).tolist() == [44.0, 231.0]
