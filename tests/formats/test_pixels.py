"""What trainers show of pictures in every mode, next to what prefgen's engines show."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from prefgen.formats import IMPORTERS, LOADERS
from prefgen.formats.checking import check
from prefgen.formats.exporting import export
from prefgen.images import decode
from prefgen.records import Image
from prefgen.rundir.reader import Stored
from tests.formats.test_round_trips import imported
from tests.formats.written import write_lines

Pixels = npt.NDArray[np.uint8]
SIZE = (24, 16)
RNG = np.random.default_rng(5)


def noise(channels: int) -> Pixels:
    return RNG.integers(0, 256, (SIZE[1], SIZE[0], channels), dtype=np.uint8)


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return encoded(PIL.Image.fromarray(noise(3)), "JPEG", exif=exif)


def palette(*, transparent: bool) -> bytes:
    picture = PIL.Image.fromarray(noise(3)).quantize(16)
    return encoded(picture, transparency=3) if transparent else encoded(picture)


def opaque() -> bytes:
    return encoded(PIL.Image.fromarray(np.dstack([noise(3), np.full((SIZE[1], SIZE[0]), 255, np.uint8)])))


PICTURES: dict[str, bytes] = {
    "rgb.png": encoded(PIL.Image.fromarray(noise(3))),
    "rgb.jpg": encoded(PIL.Image.fromarray(noise(3)), "JPEG"),
    "grey.png": encoded(PIL.Image.fromarray(noise(1)[:, :, 0])),
    "bits.png": encoded(PIL.Image.fromarray(noise(1)[:, :, 0] > 127)),
    "rgba.png": encoded(PIL.Image.fromarray(noise(4))),
    "opaque.png": opaque(),
    "la.png": encoded(PIL.Image.fromarray(noise(2), "LA")),
    "palette.png": palette(transparent=False),
    "transparent.png": palette(transparent=True),
    "grey16.png": encoded(PIL.Image.fromarray(RNG.integers(0, 65536, (16, 24)).astype(np.uint16))),
    "cmyk.jpg": encoded(PIL.Image.fromarray(noise(4), "CMYK"), "JPEG"),
    "rgba.webp": encoded(PIL.Image.fromarray(noise(4)), "WEBP", lossless=True, exact=True),
    **{f"exif{orientation}.jpg": turned(orientation) for orientation in (1, 3, 6, 8)},
}


def by_datasets(data: bytes) -> PIL.Image.Image:
    """TRL: a column of type Image, then the processor's conversion."""
    loaded: PIL.Image.Image = datasets.Image().decode_example({"bytes": data, "path": None})
    return loaded.convert("RGB")


def by_swift(data: bytes) -> PIL.Image.Image:
    found: PIL.Image.Image = pytest.importorskip("swift.template.vision_utils").load_image(data)
    return found


def by_llamafactory(data: bytes) -> PIL.Image.Image:
    plugin = pytest.importorskip("llamafactory.data.mm_plugin").get_mm_plugin("base")
    limits = {"image_max_pixels": 768 * 768, "image_min_pixels": 1}
    found: PIL.Image.Image = plugin._regularize_images([{"bytes": data, "path": None}], **limits)["images"][0]
    return found


SHOWN: dict[str, Callable[[bytes], PIL.Image.Image]] = {
    "trl": by_datasets,
    "ms-swift": by_swift,
    "llamafactory": by_llamafactory,
}


def same(left: PIL.Image.Image, right: PIL.Image.Image) -> bool:
    return left.size == right.size and bool((np.asarray(left) == np.asarray(right)).all())


def shown(data: bytes) -> PIL.Image.Image:
    """What prefgen's engines are given."""
    return decode(Image(data, "", *SIZE))


@pytest.mark.parametrize("trainer", LOADERS)
def test_check_names_the_pictures_that_the_loader_shows_otherwise(tmp_path: Path, trainer: str) -> None:
    (tmp_path / "img").mkdir()
    for name, data in PICTURES.items():
        (tmp_path / "img" / name).write_bytes(data)
    rows = []
    for name in PICTURES:
        said = [{"role": "user", "content": f"<image>{name}?"}]
        answers = {
            "chosen": [{"role": "assistant", "content": "A"}],
            "rejected": [{"role": "assistant", "content": "B"}],
        }
        rows.append({"images": [f"img/{name}"], "prompt": said, "messages": said, **answers})
    found = check(Path(write_lines(tmp_path / "a.jsonl", rows)), trainer, loaded=1).problems
    named = {
        problem.detail.partition("(")[2].partition(")")[0] for problem in found if "other pixels" in problem.detail
    }
    expected = {name for name, data in PICTURES.items() if not same(SHOWN[trainer](data), shown(data))}
    assert named == expected
    assert {"rgba.png", "la.png", "transparent.png", "grey16.png"} <= expected
    assert not {"rgb.png", "opaque.png", "palette.png", "cmyk.jpg", "exif1.jpg"} & expected


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run of one row a picture, and its rows."""
    folder = tmp_path_factory.mktemp("modes")
    for name, data in PICTURES.items():
        (folder / name).write_bytes(data)
    rows = [{"image": name, "prompt": f"{name}?", "chosen": "A", "rejected": "B"} for name in PICTURES]
    return folder / "run", imported(IMPORTERS["jsonl"](), write_lines(folder / "a.jsonl", rows), folder / "run")


@pytest.mark.parametrize("trainer", LOADERS)
def test_what_is_stored_and_exported_is_what_was_shown(
    tmp_path: Path, run: tuple[Path, list[dict[str, Any]]], trainer: str
) -> None:
    out, rows = run
    for row, (name, data) in zip(rows, PICTURES.items(), strict=True):
        assert same(SHOWN[trainer](row["images"][0]["bytes"]), shown(data)), name
    assert check(out, trainer, loaded=1).problems == ()
    export(Stored(out), trainer, tmp_path / "out")
    assert check(tmp_path / "out", trainer, loaded=1).problems == ()


def test_a_picture_that_is_none_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    said = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "A"}]
    source = write_lines(tmp_path / "a.jsonl", [{"messages": said, "rejected_response": "B", "images": ["a.png"]}])
    (found,) = check(Path(source), "ms-swift", loaded=1).problems
    assert "images 1 (a.png): cannot be read as a picture" in found.detail
