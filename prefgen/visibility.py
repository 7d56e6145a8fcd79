"""Restricting a model's access to the image: attention masks (eq. 6) and diffusion noise (eq. 8, 9).

Numpy arrays in and out, so that a draw is the same on every device and in every engine. Source: arXiv 2407.02477,
section 3.4.1 and appendix E.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from prefgen import seeds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NoiseSpace = Literal["encoder", "pixel-clamp", "pixel-wrap"]
Schedule = Literal["paper", "code"]
NOISE_SPACES: tuple[NoiseSpace, ...] = ("encoder", "pixel-clamp", "pixel-wrap")
NOISE_STEPS_MAX = 1000


@dataclass(frozen=True)
class View:
    """The part of its images that a request may see. The default view shows everything.

    Attributes:
        rho: share of image tokens that nothing may attend to, in [0, 1]; 0 shows all, 1 none.
        keep_tokens: exactly this many image tokens stay visible; takes the place of `rho` when given.
        mask_seed: seeds the mask.
        noise_steps: N of eq. 9, 0..1000; 0 adds no noise.
        noise_space: the tensor that noise is added to, see `add_noise`.
        schedule: ``paper`` (eq. 8 as printed) or ``code`` (as in the public code of VCD and POVID).
        noise_seed: seeds the noise.
    """

    rho: float = 0.0
    keep_tokens: int | None = None
    mask_seed: int = 0
    noise_steps: int = 0
    noise_space: NoiseSpace = "encoder"
    schedule: Schedule = "paper"
    noise_seed: int = 0

    @property
    def masks(self) -> bool:
        """True if any image token can be hidden."""
        return self.keep_tokens is not None or self.rho > 0.0

    @property
    def unmasked(self) -> View:
        """The view that shows all image tokens of the same images, with the same noise."""
        if not self.noise_steps:
            return View()
        return replace(self, rho=0.0, keep_tokens=None, mask_seed=0)

    def mask(self, k: int) -> npt.NDArray[np.bool_]:
        """Eq. 6: ``m_i = 1 if rho_i >= rho_th else 0``, with ``rho_i ~ U(0, 1)``.

        Args:
            k: number of image tokens of the prompt, all images together.

        Returns:
            bool (k,), True where the token may be attended to.
        """
        rho_k = seeds.generator(self.mask_seed).random(k)
        if self.keep_tokens is None:
            return rho_k >= self.rho
        rank_k = rho_k.argsort(kind="stable").argsort(kind="stable")
        return rank_k < self.keep_tokens

    def expected_kept(self, k: int) -> float:
        """Expected number of image tokens that stay visible, out of `k`."""
        return (1.0 - self.rho) * k if self.keep_tokens is None else float(min(self.keep_tokens, k))


def last_step(schedule: Schedule) -> int:
    """The largest N of a schedule."""
    return NOISE_STEPS_MAX if schedule == "paper" else NOISE_STEPS_MAX - 1


def alpha_bar(n: int, schedule: Schedule = "paper") -> float:
    """Eq. 8 and 9: share of the image's variance that remains after `n` of 1000 diffusion steps.

    ``beta_k = sigmoid(-6 + 12 k / 1000) * (0.5e-2 - 1e-5) + 1e-5`` and the product of ``1 - beta_k`` for k = 1..n. The
    public code (``code``) spreads the argument over 0..999 instead and multiplies n + 1 factors, index n included.

    Raises:
        ValueError: if `n` is not in 0..1000, or is 1000 under the ``code`` schedule, whose last index is 999.
    """
    last = last_step(schedule)
    if not 0 <= n <= last:
        raise ValueError(f"noise steps {n} are outside 0..{last} of the {schedule} schedule")
    if n == 0:
        return 1.0
    steps = range(1, n + 1) if schedule == "paper" else range(n + 1)
    return math.prod(1.0 - _beta(k, last) for k in steps)  # eq. 9


def _beta(k: int, last: int) -> float:
    """Eq. 8: share of variance that step `k` replaces by noise."""
    return (0.5e-2 - 1e-5) / (1.0 + math.exp(6.0 - 12.0 * k / last)) + 1e-5


def add_noise(x: npt.NDArray[np.float32], n: int, seed: int, schedule: Schedule = "paper") -> npt.NDArray[np.float32]:
    """Eq. 9: ``sqrt(alpha_bar) x + sqrt(1 - alpha_bar) eps`` with ``eps ~ N(0, 1)``; same shape as `x`."""
    if n == 0:
        return x
    share = alpha_bar(n, schedule)
    epsilon = seeds.generator(seed).standard_normal(x.shape, dtype="float32")
    return math.sqrt(share) * x + math.sqrt(1.0 - share) * epsilon


def add_pixel_noise(
    pixels: npt.NDArray[np.uint8], n: int, seed: int, space: NoiseSpace, schedule: Schedule = "paper"
) -> npt.NDArray[np.uint8]:
    """Noise on the raw image scaled to [0, 1], before any resizing.

    Args:
        pixels: uint8 (height, width, 3).
        space: ``pixel-clamp`` clips to 0..255; ``pixel-wrap`` wraps around modulo 256, as POVID's published code does
            (a conversion to bytes without clipping), which is far stronger at the same `n`.
    """
    noisy = add_noise((pixels / 255).astype("float32"), n, seed, schedule) * 255
    whole = noisy.astype("int32")  # towards zero, as a conversion to bytes does
    bounded = whole % 256 if space == "pixel-wrap" else whole.clip(0, 255)
    return bounded.astype("uint8")
