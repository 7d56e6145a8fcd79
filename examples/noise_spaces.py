"""The noise spaces against the paper's figures 3, 10 and 11, on a drawn picture that is like a photograph.

    python examples/noise_spaces.py --output /tmp/noise

What the paper shows of N (figures 3 and 11): at 300 a picture is blurry, but landmark, colours and a street sign are
still named; at 500 it is "a pattern that appears to be a digital or pixelated texture", in two pictures of four, and a
jetliner is not visible. Figure 10: at 500 more than 99% of the answers are not similar to the reference, more than
without any image (93%).

For every space and N this prints, of what the vision encoder receives, the correlation with the clean picture over
pixels and over the means of 14 x 14 patches, and the mean structural similarity (SSIM, Wang et al. 2004, windows of
8 x 8). It writes the pictures as a sheet. `--scenes` adds figure 10 on the scenes: the share of answers not similar to
the reference after each iteration of BDHS, and without an image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw

from prefgen import BDHS, EngineConfig, SourceOptions
from prefgen.evaluate import tune
from prefgen.view import noise
from prefgen.visibility import NOISE_SPACES

SCENES = Path(__file__).parent / "scenes"
STEPS = (100, 200, 300, 400, 500)
_WINDOW = 8  # pixels of a side
_C1, _C2 = 0.01**2, 0.03**2  # of SSIM, for values in [0, 1]
Array = npt.NDArray[np.float64]


def texture(height: int, width: int, exponent: float, seed: int) -> Array:
    """Noise whose amplitude falls with frequency as in photographs (1/f for an exponent of 1), in [0, 1]."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1.0
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, frequency.shape)
    field = np.fft.irfft2(np.exp(1j * phases) / frequency**exponent, (height, width))
    return np.asarray((field - field.min()) / np.ptp(field))


def photograph(width: int = 640, height: int = 480, seed: int = 0) -> PIL.Image.Image:
    """A street: sky with clouds, a row of houses with windows, a road, a tree and a red sign, all with texture."""
    draw_mask = PIL.Image.new("L", (width, height), 0)
    draw = PIL.ImageDraw.Draw(draw_mask)
    horizon = int(0.62 * height)
    generator = np.random.default_rng(seed)
    left, kind = 0, 1
    while left < width:  # houses
        wide, tall = int(generator.integers(80, 150)), int(generator.integers(150, 250))
        draw.rectangle((left, horizon - tall, left + wide - 4, horizon), fill=kind)
        for x in range(left + 12, left + wide - 28, 30):
            for y in range(horizon - tall + 16, horizon - 24, 40):
                draw.rectangle((x, y, x + 15, y + 22), fill=4)
        left, kind = left + wide, kind % 3 + 1
    draw.rectangle((0, horizon, width, height), fill=5)  # road
    draw.polygon([(0, height), (width // 3, horizon), (width // 3 + 12, horizon), (90, height)], fill=6)
    draw.rectangle((500, horizon - 90, 518, horizon + 40), fill=7)  # tree
    draw.ellipse((440, horizon - 210, 580, horizon - 60), fill=8)
    draw.rectangle((180, horizon - 60, 186, horizon + 50), fill=9)  # sign
    draw.ellipse((153, horizon - 112, 213, horizon - 52), fill=10)
    colours = np.array(
        [
            (150, 185, 225), (176, 120, 92), (205, 190, 160), (122, 128, 140), (45, 52, 66), (92, 92, 94),
            (214, 208, 196), (84, 62, 44), (58, 104, 48), (120, 120, 120), (196, 32, 30),
        ],
        dtype=np.float64,
    )  # fmt: skip
    kinds = np.asarray(draw_mask)
    light = np.linspace(1.1, 0.75, width)[None, :, None]  # from the left
    surface = texture(height, width, 1.0, seed + 1)[..., None] - 0.5
    grain = texture(height, width, 0.3, seed + 2)[..., None] - 0.5
    clouds = np.where((kinds == 0)[..., None], (texture(height, width, 1.6, seed + 3)[..., None] - 0.5) * 150, 0.0)
    pixels = colours[kinds] * light + surface * 90 + grain * 25 + clouds
    return PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def structural_similarity(one: Array, other: Array) -> float:
    """Mean SSIM of two pictures with values in [0, 1], (3, side, side)."""
    windows = [_windows(values) for values in (one, other)]
    means = [values.mean(axis=-1) for values in windows]
    variances = [values.var(axis=-1) for values in windows]
    shared = (windows[0] * windows[1]).mean(axis=-1) - means[0] * means[1]
    found = (2 * means[0] * means[1] + _C1) * (2 * shared + _C2)
    return float((found / ((means[0] ** 2 + means[1] ** 2 + _C1) * (variances[0] + variances[1] + _C2))).mean())


def _windows(values: Array) -> Array:
    """(3, rows, columns, pixels of a window)."""
    cells = values.shape[-1] // _WINDOW
    split = values[:, : cells * _WINDOW, : cells * _WINDOW].reshape(3, cells, _WINDOW, cells, _WINDOW)
    return np.asarray(split.transpose(0, 1, 3, 2, 4).reshape(3, cells, cells, -1))


def _shown(values: npt.NDArray[np.float32]) -> Array:
    """What the encoder receives, as colours in [0, 1]."""
    return np.asarray(noise.clip.as_picture(values), dtype=np.float64).transpose(2, 0, 1) / 255


def measure(picture: PIL.Image.Image) -> None:
    """Print the table of one picture."""
    print("| space | N | pixels | patches | SSIM |\n| --- | --- | --- | --- | --- |")
    clean = _shown(noise.measure(picture, "encoder", 0).values)
    for space in NOISE_SPACES:
        for steps in STEPS:
            found = noise.measure(picture, space, steps)
            similar = structural_similarity(clean, _shown(found.values))
            print(f"| {space} | {steps} | {found.correlation:+.2f} | {found.patch_correlation:+.2f} | {similar:.2f} |")


def main() -> None:
    """Draw, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="Folder for the picture and the sheet.")
    parser.add_argument("--scenes", type=int, default=0, metavar="N", help="Figure 10 on the first N rows, too.")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    picture = photograph()
    picture.save(arguments.output / "street.png")
    noise.sheet(noise.measure_all(picture)).save(arguments.output / "sheet.png")
    measure(picture)
    if arguments.scenes:
        print("\n| BDHS on the scenes | iteration 1 | 2 | 3 | 4 | 5 |\n| --- | --- | --- | --- | --- | --- |")
        methods = [("no image (ρ = 1)", BDHS(rho=1))] + [
            (f"{space}, N = {steps}", BDHS(variant="noise", noise_space=space, noise_steps=steps))
            for space in NOISE_SPACES
            for steps in (300, 500)
        ]
        model = EngineConfig(str(SCENES / "model"), similarity_model="minilm")
        rows = str(SCENES / "llava_instruct.json"), SourceOptions(limit=arguments.scenes)
        for trial in tune.pilot(methods, *rows, model):
            shares = " | ".join(f"{share:.1%}" for share in trial.non_similar)
            print(f"| {trial.setting} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
