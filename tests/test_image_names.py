"""Which file a path means: either the very picture, or a reason."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefgen.errors import RowError
from prefgen.images import ImageRoot, decode, load, plain
from prefgen.records import ImageRef

NAMES = st.sampled_from(["train", "val", "images", "gqa", "img"])
FILES = st.sampled_from(["1.jpg", "2.jpg", "1.png", "000000000001.jpg"])
PATHS = st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(NAMES, max_size=3), FILES)


def write(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def reason(root: ImageRoot, path: str) -> str:
    with pytest.raises(RowError) as caught:
        root.find(path)
    return caught.value.reason


@settings(max_examples=300, deadline=None)
@given(st.sets(PATHS, max_size=8), PATHS, st.lists(NAMES, max_size=2))
def test_either_the_very_picture_or_a_reason(tree: set[str], path: str, below: list[str]) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), *tree)
        root = Path(folder, *below)
        try:
            found = ImageRoot((root,)).find(path)
        except RowError:
            return
        place = found.relative_to(Path(folder).resolve()).as_posix()
        assert f"/{place}".endswith(f"/{path}") or path == f"{'/'.join(below)}/{place}"


@pytest.mark.parametrize(
    ("match", "path", "expected"),
    [
        ("exact", "gqa/images/1.jpg", "IMG_MISSING"),
        ("exact", "vg/VG_100K/1.jpg", "IMG_MISSING"),
        ("tail", "gqa/images/1.jpg", "images/1.jpg"),
        ("tail", "vg/VG_100K/1.jpg", "IMG_MISSING"),
        ("name", "vg/VG_100K/7.jpg", "7.jpg"),
        ("name", "gqa/images/1.jpg", "IMG_AMBIGUOUS"),
    ],
)
def test_folders_are_left_off_only_where_that_was_chosen(tmp_path: Path, match: str, path: str, expected: str) -> None:
    write(tmp_path, "images/1.jpg", "1.jpg", "7.jpg")
    root = ImageRoot((tmp_path,), match)  # type: ignore[arg-type]
    if expected.isupper():
        assert reason(root, path) == expected
    else:
        assert root.find(path).read_text() == expected


@pytest.mark.parametrize(
    ("there", "path"),
    [("Images/0.JPG", "images/0.jpg"), ("img/0.png", "img/0.jpg"), ("img/0.jpg", "img/0")],
)
def test_another_case_or_extension_is_named_and_taken_where_chosen(tmp_path: Path, there: str, path: str) -> None:
    write(tmp_path, there)
    with pytest.raises(RowError, match=f"is it {there}"):
        ImageRoot((tmp_path,)).find(path)
    assert ImageRoot((tmp_path,), "tail").find(path).read_text() == there


def test_a_drive_letter_is_a_folder_left_off(tmp_path: Path) -> None:
    write(tmp_path, "images/photos/0.jpg")
    path = r"D:\data\images\photos\0.jpg"
    assert reason(ImageRoot((tmp_path,)), path) == "IMG_MISSING"
    assert ImageRoot((tmp_path,), "tail").resolve(path)[1] == "tail"


def test_the_working_directory_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "1.jpg", "val/1.jpg")
    monkeypatch.chdir(tmp_path / "val")
    assert ImageRoot((tmp_path,)).find("1.jpg").read_text() == "1.jpg"


def test_two_places_that_fit_equally_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "1.jpg", "images/1.jpg")
    assert reason(ImageRoot((tmp_path, tmp_path / "images")), "1.jpg") == "IMG_AMBIGUOUS"


def test_a_link_of_a_hub_cache_to_its_blob_is_followed(tmp_path: Path) -> None:
    write(tmp_path, "repo/blobs/abc", "elsewhere/blobs/abc")
    snapshot = tmp_path / "repo" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "a.jpg").symlink_to("../../blobs/abc")
    (snapshot / "b.jpg").symlink_to(tmp_path / "elsewhere" / "blobs" / "abc")
    assert ImageRoot((snapshot,)).find("a.jpg").read_text() == "repo/blobs/abc"
    assert reason(ImageRoot((snapshot,)), "b.jpg") == "PATH_OUTSIDE_ROOT"
    assert ImageRoot((snapshot,), follow_links=True).find("b.jpg").read_text() == "elsewhere/blobs/abc"


def picture(mode: str) -> PIL.Image.Image:
    random = np.random.default_rng(0)
    if mode == "I;16":
        return PIL.Image.fromarray(random.integers(0, 2**16, (20, 30), dtype=np.uint16))
    colour = PIL.Image.fromarray(random.integers(0, 256, (20, 30, 4), dtype=np.uint8), "RGBA")
    return colour if mode == "RGBA" else colour.convert("RGB").convert(mode) if mode != "LA" else colour.convert("LA")


@pytest.mark.parametrize(
    ("mode", "kind", "options", "kept"),
    [
        ("1", "PNG", {}, True),
        ("L", "PNG", {}, True),
        ("L", "PNG", {"transparency": 60}, False),
        ("LA", "PNG", {}, False),
        ("P", "PNG", {}, True),
        ("P", "PNG", {"transparency": 60}, False),
        ("P", "GIF", {}, True),
        ("RGB", "JPEG", {}, True),
        ("RGB", "BMP", {}, True),
        ("RGBA", "PNG", {}, False),
        ("RGBA", "WEBP", {"lossless": True}, False),
        ("CMYK", "JPEG", {}, True),
        ("YCbCr", "JPEG", {}, True),
        ("I;16", "PNG", {}, False),
        ("I;16", "TIFF", {}, False),
    ],
)
def test_what_is_stored_is_what_was_shown(mode: str, kind: str, options: dict[str, object], kept: bool) -> None:
    buffer = io.BytesIO()
    shown = picture(mode)
    if "transparency" in options:
        shown.paste(60, (0, 0, 9, 9))
    shown.save(buffer, kind, **options)
    checked(buffer.getvalue(), kept)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_stored_upright(orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture("RGB").save(buffer, "JPEG", exif=exif)
    checked(buffer.getvalue(), kept=orientation == 1)


def checked(data: bytes, kept: bool) -> None:
    image = load(ImageRef(data=data), ImageRoot(()))
    assert (image.data == data) is kept
    assert bool(image.original) is not kept
    shown = decode(image)
    assert shown.size == (image.width, image.height)
    assert np.array_equal(np.asarray(plain(image.data)), np.asarray(shown))
    assert np.array_equal(np.asarray(decode(type(image)(data, "", 0, 0))), np.asarray(shown))
