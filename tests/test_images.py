"""Images: what is found, what is refused with which reason, and which pixels come out."""

from __future__ import annotations

import io
import os
import socket
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefgen.errors import RowError
from prefgen.images import FORMATS, ImageLimits, ImageRoot, decode, load, public_url
from prefgen.records import ImageRef

NOWHERE = ImageRoot(())


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> PIL.Image.Image:
    shape = (size[1], size[0], 3)
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).convert(mode)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(decode(load(ImageRef(data=data), NOWHERE)))


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(RowError) as caught:
        call()
    return caught.value.reason


# --- finding --------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "coco"
    (folder / "train2017").mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "./a.jpg"),
        ("train2017/a.jpg", "train2017/a.jpg"),
        ("train2017/a.jpg", "coco/train2017/a.jpg"),
        ("a.jpg", "data/coco/a.jpg"),
        ("train2017/a.jpg", "train2017\\a.jpg"),
        ("a b.jpg", "a%20b.jpg"),
        ("a b.jpg", "a b.jpg\n"),
        ("e\u0301.jpg", "\u00e9.jpg"),
        ("000000442786.jpg", "COCO_train2014_000000442786.jpg"),
        ("COCO_train2014_000000442786.jpg", "000000442786.jpg"),
        ("COCO_val2014_000000442786.jpg", "COCO_train2014_000000442786.jpg"),
        ("train2017/000000442786.jpg", "COCO_train2014_000000442786.jpg"),
        ("train2017/000000442786.jpg", "000000442786.jpg"),
        ("train2017/000000442786.jpg", "./data/coco/COCO_train2014_000000442786.jpg"),
    ],
)
def test_a_path_is_found_under_the_root_in_every_usual_spelling(root: Path, stored: str, asked: str) -> None:
    (root / stored).write_bytes(b"x")
    assert ImageRoot((root,)).find(asked) == (root / stored).resolve()


def test_povid_path_is_found_though_it_already_holds_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "x.jpg").write_bytes(b"x")
    monkeypatch.chdir(root.parent.parent)
    assert ImageRoot((Path("data/coco"),)).find("./data/coco/x.jpg") == (root / "x.jpg").resolve()


def test_the_longest_path_wins_over_the_bare_name(root: Path) -> None:
    (root / "a.jpg").write_bytes(b"other")
    (root / "train2017" / "a.jpg").write_bytes(b"meant")
    assert ImageRoot((root,)).find("coco/train2017/a.jpg").read_bytes() == b"meant"


def test_an_absolute_path_under_a_linked_root_is_found(root: Path, tmp_path: Path) -> None:
    (root / "a.jpg").write_bytes(b"x")
    link = tmp_path / "link"
    link.symlink_to(root)
    for asked in ("a.jpg", str(link / "a.jpg"), str(root / "a.jpg")):
        assert ImageRoot((link,)).find(asked) == (root / "a.jpg").resolve()


@pytest.mark.parametrize(
    "asked", ["/etc/passwd", "../secret.txt", "train2017/../../secret.txt", "../coco-private/p.jpg"]
)
def test_paths_out_of_the_root_are_refused_without_showing_content(root: Path, asked: str) -> None:
    (root.parent / "secret.txt").write_text("SECRET")
    (root.parent / "coco-private").mkdir()
    (root.parent / "coco-private" / "p.jpg").write_text("SECRET")
    with pytest.raises(RowError) as caught:
        load(ImageRef(path=asked), ImageRoot((root,)))
    assert caught.value.reason == "PATH_OUTSIDE_ROOT"
    assert "SECRET" not in str(caught.value)


def test_a_refused_path_reads_the_same_whether_or_not_the_file_exists(root: Path) -> None:
    (root.parent / "there.jpg").write_bytes(b"x")
    details = []
    for name in ("there.jpg", "gone!.jpg"):
        with pytest.raises(RowError) as caught:
            ImageRoot((root,)).find(f"../{name}")
        details.append(str(caught.value).replace(name, ""))
    assert details[0] == details[1]


def test_links_are_followed_inside_the_root_only(root: Path) -> None:
    (root.parent / "out.jpg").write_bytes(encoded(noise()))
    (root / "in.jpg").write_bytes(encoded(noise()))
    (root / "leads-out.jpg").symlink_to(root.parent / "out.jpg")
    (root / "stays-in.jpg").symlink_to(root / "in.jpg")
    (root / "dangling.jpg").symlink_to(root / "nothing")
    assert load(ImageRef(path="stays-in.jpg"), ImageRoot((root,))).width == 48
    assert reason(lambda: load(ImageRef(path="leads-out.jpg"), ImageRoot((root,)))) == "PATH_OUTSIDE_ROOT"
    assert reason(lambda: load(ImageRef(path="dangling.jpg"), ImageRoot((root,)))) == "IMG_MISSING"


def test_what_is_not_a_regular_file_is_refused_and_never_hangs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "fifo.jpg")
    monkeypatch.chdir(root)  # the address of a socket is limited to 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        for name in ("fifo.jpg", "socket.jpg", "train2017"):
            assert reason(lambda name=name: load(ImageRef(path=name), ImageRoot((root,)))) == "PATH_NOT_FILE"  # type: ignore[misc]
    assert reason(lambda: load(ImageRef(path="/dev/zero"), ImageRoot((Path("/dev"),)))) == "PATH_NOT_FILE"


@pytest.mark.parametrize("asked", ["gone.jpg", "a\0b.jpg", "x" * 5000, "x" * 300])
def test_a_missing_image_is_named_and_never_a_crash(tmp_path: Path, asked: str) -> None:
    assert reason(lambda: load(ImageRef(path=asked), ImageRoot((tmp_path,)))) == "IMG_MISSING"


def test_without_a_root_no_path_is_found() -> None:
    assert reason(lambda: load(ImageRef(path="a.jpg"), NOWHERE)) == "IMG_MISSING"


def test_the_second_folder_is_tried_when_the_first_lacks_the_image(root: Path) -> None:
    (root / "train2017" / "a.jpg").write_bytes(b"x")
    assert ImageRoot((root.parent, root / "train2017")).find("a.jpg").is_file()


# --- refusing -------------------------------------------------------------------------------------------------------

BOMB_HEADER = (
    b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0))
    + png_chunk(b"IDAT", zlib.compress(bytes(200_000), 9))
    + png_chunk(b"IEND", b"")
)


def with_chunk(kind: bytes, body: bytes) -> bytes:
    plain = encoded(noise())
    return plain[:33] + png_chunk(kind, body) + plain[33:]


def animated(kind: str) -> bytes:
    return encoded(noise(), kind, save_all=True, append_images=[noise().rotate(90)])


REFUSED = {
    "empty": (b"", "IMG_EMPTY"),
    "HTML named .jpg": (b"<!DOCTYPE html><html><body>404 <svg></svg></body></html>", "IMG_FORMAT"),
    "text": (b"hello", "IMG_FORMAT"),
    "SVG": (
        b'<?xml version="1.0"?>\n<!-- made by x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "IMG_FORMAT_BLOCKED",
    ),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "IMG_FORMAT_BLOCKED"),
    "PDF": (b"%PDF-1.7\n", "IMG_FORMAT_BLOCKED"),
    "PSD": (b"8BPS\0\1", "IMG_FORMAT_BLOCKED"),
    "ICO": (b"\0\0\1\0\1\0", "IMG_FORMAT"),
    "2.5 Gpx header": (BOMB_HEADER, "IMG_BOMB"),
    "zTXt bomb": (with_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 << 20), 9)), "IMG_BOMB"),
    "iCCP bomb": (with_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(100 << 20), 9)), "IMG_BOMB"),
    "1x1": (encoded(noise(size=(1, 1))), "IMG_TOO_SMALL"),
    "10000x2": (encoded(noise(size=(10_000, 2))), "IMG_ASPECT"),
    "animated GIF": (animated("GIF"), "IMG_ANIMATED"),
    "animated WebP": (animated("WEBP"), "IMG_ANIMATED"),
    "animated PNG": (animated("PNG"), "IMG_ANIMATED"),
    "two-page TIFF": (animated("TIFF"), "IMG_MULTIPAGE"),
    "32-bit float TIFF": (encoded(noise("F"), "TIFF"), "IMG_FORMAT"),
    "JPEG magic only": (b"\xff\xd8\xff", "IMG_TRUNCATED"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_image_is_refused_with_its_reason_within_two_seconds(case: str) -> None:
    data, expected = REFUSED[case]
    started = time.monotonic()
    assert reason(lambda: load(ImageRef(data=data, path="bad.jpg"), NOWHERE)) == expected
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_file_cut_short_is_found_by_decoding_it(kind: str, share: float) -> None:
    data = encoded(noise(), kind)
    assert reason(lambda: load(ImageRef(data=data[: int(len(data) * share)]), NOWHERE)) == "IMG_TRUNCATED"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_jpeg_is_refused_where_a_whole_decoding_fails(options: dict[str, object]) -> None:
    whole = encoded(noise(size=(160, 96)), "JPEG", **options)
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(whole)
        if rng.random() < 0.5:
            del damaged[int(rng.integers(200, len(whole))) :]
        for place in rng.integers(4, len(damaged), int(rng.integers(0, 4))):
            damaged[place] = int(rng.integers(0, 256))
        assert _loads(bytes(damaged)) == _decodes(bytes(damaged))


def _loads(data: bytes) -> bool:
    try:
        load(ImageRef(data=data), NOWHERE)
    except RowError:
        return False
    return True


def _decodes(data: bytes) -> bool:
    try:
        with PIL.Image.open(io.BytesIO(data)) as opened:
            opened.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return opened.format == "JPEG"


def test_a_picture_that_was_checked_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(noise(size=(31, 17)), "WEBP", lossless=True)
    for name in ("a.webp", "b.webp"):
        (tmp_path / name).write_bytes(data)
    first = load(ImageRef(path="a.webp"), ImageRoot((tmp_path,)))
    monkeypatch.setattr(PIL.Image, "open", None)
    again = load(ImageRef(path="b.webp"), ImageRoot((tmp_path,)))
    assert (again.data, again.sha256, again.width, again.height) == (data, first.sha256, 31, 17)
    assert again.path == "b.webp"
    monkeypatch.undo()
    stricter = ImageLimits(min_side=20)
    assert reason(lambda: load(ImageRef(path="a.webp"), ImageRoot((tmp_path,)), stricter)) == "IMG_TOO_SMALL"
    for _ in range(2):
        assert reason(lambda: load(ImageRef(data=data[:-40]), NOWHERE)) == "IMG_TRUNCATED"
    turned = encoded(noise("RGBA", size=(31, 17)), "PNG")
    assert load(ImageRef(data=turned), NOWHERE) == load(ImageRef(data=turned), NOWHERE) != first


def test_no_other_package_can_switch_on_grey_filling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(noise(), "JPEG")
    assert reason(lambda: load(ImageRef(data=data[: len(data) // 2]), NOWHERE)) == "IMG_TRUNCATED"
    assert PIL.ImageFile.LOAD_TRUNCATED_IMAGES


def test_limits_are_the_callers(tmp_path: Path) -> None:
    data = encoded(noise())
    (tmp_path / "a.png").write_bytes(data)
    for limits, expected in [
        (ImageLimits(max_bytes=100), "IMG_SIZE"),
        (ImageLimits(max_pixels=1000), "IMG_BOMB"),
        (ImageLimits(min_side=33), "IMG_TOO_SMALL"),
        (ImageLimits(max_aspect=1.2), "IMG_ASPECT"),
        (ImageLimits(formats=("JPEG",)), "IMG_FORMAT"),
    ]:
        for ref in (ImageRef(data=data), ImageRef(path="a.png")):
            assert reason(lambda ref=ref, limits=limits: load(ref, ImageRoot((tmp_path,)), limits)) == expected  # type: ignore[misc]


def test_no_decoder_is_called_for_a_blocked_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "open", lambda *_, **__: pytest.fail("decoder called"))
    assert reason(lambda: load(ImageRef(data=b"%!PS-Adobe"), NOWHERE)) == "IMG_FORMAT_BLOCKED"


def test_url_images_are_off_unless_something_fetches_them() -> None:
    ref = ImageRef(url="https://user:key@example.org/a.png?token=SECRET")
    with pytest.raises(RowError) as caught:
        load(ref, NOWHERE)
    assert caught.value.reason == "URL_DISABLED"
    assert "SECRET" not in str(caught.value)
    image = load(ref, NOWHERE, fetch=lambda url: encoded(noise()) if url == ref.url else b"")
    assert image.path == "https://example.org/a.png"


@pytest.mark.parametrize("url", ["http://[broken/x", "", "no url"])
def test_a_malformed_url_has_no_public_form(url: str) -> None:
    assert public_url(url) == ""


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(FORMATS), edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8)
)
def test_damaged_bytes_give_an_image_or_a_reason_and_nothing_else(kind: str, edits: list[tuple[int, int]]) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    data = bytearray(encoded(noise(size=(16, 12)), kind, **options))
    for place, value in edits:
        data[place % len(data)] = value
    try:
        image = load(ImageRef(data=bytes(data)), NOWHERE)
    except RowError as error:
        assert error.reason.startswith("IMG_")  # noqa: PT017 - both ends are right
    else:
        assert decode(image).size == (image.width, image.height)


# --- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_pixels_and_original_bytes_are_kept(kind: str) -> None:
    data = encoded(noise(), kind)
    image = load(ImageRef(data=data, path="named.jpg"), NOWHERE)
    assert (image.data, image.path, image.width, image.height) == (data, "named.jpg", 48, 32)
    np.testing.assert_array_equal(np.asarray(decode(image)), np.asarray(noise()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_exactly_once(kind: str, orientation: int) -> None:
    upright = PIL.Image.new("RGB", (32, 16), "white")
    upright.paste("red", (0, 0, 16, 8))  # the top left quarter, wherever the camera stored it
    store = {1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"]}
    store |= {5: ["TRANSPOSE"], 6: ["ROTATE_90"], 7: ["TRANSVERSE"], 8: ["ROTATE_270"]}
    stored = upright
    for step in store[orientation]:
        stored = stored.transpose(PIL.Image.Transpose[step])
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    image = load(ImageRef(data=encoded(stored, kind, exif=exif)), NOWHERE)
    assert (image.width, image.height) == (32, 16)
    picture = np.asarray(decode(image)).astype(int)
    assert np.abs(picture[2:6, 3:13] - (255, 0, 0)).max() < 60
    assert np.abs(picture[10:14, 19:29] - 255).max() < 60


def test_a_broken_exif_block_counts_as_none() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = encoded(noise(), "JPEG", exif=exif)
    at = data.index(b"Exif\0\0") + 6
    for broken in (data[:at] + b"X" * 8 + data[at + 8 :], data[: at + 4] + b"\xff" * 4 + data[at + 8 :]):
        assert pixels(broken).shape == (32, 48, 3)


def test_a_corrupt_colour_profile_is_ignored() -> None:
    np.testing.assert_array_equal(pixels(with_chunk(b"iCCP", b"x\0\0garbage")), np.asarray(noise()))


def test_bytes_after_the_image_do_not_matter() -> None:
    np.testing.assert_array_equal(pixels(encoded(noise()) + b"PK\3\4 a zip"), np.asarray(noise()))


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    grey = np.array([[0, 128, 129, 257, 1000, 32_768, 65_406, 65_535]] * 8, dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        found = pixels(encoded(PIL.Image.fromarray(grey), kind))
        np.testing.assert_array_equal(found[0, :, 0], [0, 0, 1, 1, 4, 128, 254, 255])
        np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_sixteen_bit_colour_keeps_the_high_byte() -> None:
    rows = b"".join(b"\0" + bytes([0xFF, 0xFF, 0x80, 0x00, 0x01, 0x7F]) * 8 for _ in range(8))
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    data += png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    np.testing.assert_array_equal(pixels(data)[0, 0], [255, 128, 1])


def test_transparency_is_composed_onto_white() -> None:
    half = PIL.Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    clear = PIL.Image.new("RGBA", (8, 8), (9, 9, 9, 0))
    palette = PIL.Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    keyed = PIL.Image.new("RGB", (8, 8), (1, 2, 3))
    for data, expected in [
        (encoded(half), (255, 127, 127)),
        (encoded(clear), (255, 255, 255)),
        (encoded(clear, "WEBP", lossless=True), (255, 255, 255)),
        (encoded(palette), (0, 0, 0)),
        (encoded(palette, transparency=0), (255, 255, 255)),
        (encoded(palette, transparency=b"\0\xff"), (255, 255, 255)),
        (encoded(palette, "GIF", transparency=0), (255, 255, 255)),
        (encoded(keyed, transparency=(1, 2, 3)), (255, 255, 255)),
        (encoded(PIL.Image.new("LA", (8, 8), (0, 0))), (255, 255, 255)),
        (encoded(PIL.Image.new("1", (8, 8), 1)), (255, 255, 255)),
        (encoded(PIL.Image.new("L", (8, 8), 77)), (77, 77, 77)),
    ]:
        np.testing.assert_array_equal(pixels(data)[0, 0], expected)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb_by_the_arithmetic_rule(kind: str) -> None:
    # Pillow writes JPEG with Adobe's marker and inverted values, so this covers the inversion as well
    data = encoded(PIL.Image.new("CMYK", (16, 16), (255, 0, 0, 0)), kind)
    np.testing.assert_allclose(pixels(data)[0, 0].astype(int), (0, 255, 255), atol=2)


def test_decoding_says_nothing_on_stderr_and_leaves_the_warning_filters_alone() -> None:
    before = list(warnings.filters)
    palette = PIL.Image.new("P", (8, 8), 0)
    pixels(encoded(palette, transparency=b"\0\xff"))
    assert warnings.filters == before
