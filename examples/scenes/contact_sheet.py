"""A contact sheet of the scenes: the first scenes of a series, each with its caption.

    python examples/scenes/contact_sheet.py --seed 5 --out examples/scenes/contact_sheet.webp

Pictures are shown pixel by pixel as a model gets them.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from prefgen.evaluate.scenes.language import detail
from prefgen.evaluate.scenes.render import photo
from prefgen.evaluate.scenes.sample import TRAINING, sample_scene
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, TEXT_STREAM, Scene

COLUMNS, ROWS = 4, 6
GAP, TEXT_WIDTH, TEXT_SIZE = 8, 196, 11  # pixels
CELL = (IMAGE_SIZE + TEXT_WIDTH + 2 * GAP, IMAGE_SIZE + GAP)


def contact_sheet(scenes: list[Scene]) -> Image.Image:
    """Pictures in rows, each with its caption on the right."""
    sheet = Image.new("RGB", (CELL[0] * COLUMNS + GAP, CELL[1] * ROWS + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=TEXT_SIZE)
    for number, scene in enumerate(scenes):
        left, top = GAP + number % COLUMNS * CELL[0], GAP + number // COLUMNS * CELL[1]
        sheet.paste(photo(scene), (left, top))
        lines = wrapped(detail(scene, scene.rng(TEXT_STREAM)), font)
        pen.multiline_text((left + IMAGE_SIZE + GAP, top), lines, fill="black", font=font, spacing=2)
    return sheet


def wrapped(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The text with line breaks where it would be wider than its column."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > TEXT_WIDTH:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5, help="series of scenes")
    parser.add_argument("--out", type=Path, required=True, help="picture file")
    args = parser.parse_args()
    scenes = [sample_scene(TRAINING, args.seed, index) for index in range(COLUMNS * ROWS)]
    contact_sheet(scenes).save(args.out, quality=88)


if __name__ == "__main__":
    main()
