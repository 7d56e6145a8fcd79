"""Images: resolution of paths under a root, checks against limits, and decoding by stated rules.

`ImageRoot` finds the file that a path of the source means and never leaves its folders. `load` reads the encoded bytes
and proves by really decoding them that they hold one whole picture. They are kept as they are, unless a trainer's plain
``convert("RGB")`` would show other pixels than `decode`: then what `decode` shows is kept instead, as a PNG. `decode`
turns the bytes into RGB pixels:

    EXIF orientation          applied once; a broken EXIF block counts as none
    palette, alpha            composed onto white (a transparent grey level of a 16-bit PNG is not)
    CMYK, YCCK, YCbCr         Pillow's arithmetic conversion; Adobe's inverted CMYK is turned back; ICC profiles unused
    16-bit grey               v / 257, rounded, so that 65535 is white; 16-bit colour keeps the high byte (Pillow)
    MPO (phone JPEG)          the first picture
    animated, multi-page      refused: a first frame is not what the text was written about
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np
import PIL.Image
import PIL.ImageFile

from prefgen import image_names
from prefgen.errors import RowError
from prefgen.records import Dropped, Image, ImageRef, Sample

Fetch = Callable[[str], bytes]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_PLAIN_MODES = ("1", "L", "RGB", "RGBX", "CMYK", "YCbCr")  # those of which `decode` makes what ``convert("RGB")`` makes


@dataclass(frozen=True)
class ImageLimits:
    """Limits of an image. The defaults admit any photograph that vision-language models are trained on.

    Attributes:
        max_bytes: encoded size, in bytes.
        max_pixels: width times height. Above 89 million, Pillow's own limit holds.
        min_side: shorter side, in pixels.
        max_aspect: longer side over shorter side; Qwen2-VL's processor refuses more than 200.
        formats: names of `FORMATS` that are accepted, judged by content and not by file name.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 64_000_000
    min_side: int = 8
    max_aspect: float = 200.0
    formats: tuple[str, ...] = FORMATS


DEFAULT_LIMITS = ImageLimits()

MAX_PATH_CHARS = 4096


class Pictures(Protocol):
    """Pictures that are not files of their own, such as members of archives, addressed by virtual paths."""

    @property
    def bases(self) -> tuple[str, ...]:
        """The absolute folders below which the pictures are."""

    def find(self, places: Iterable[str]) -> dict[str, str]:
        """The given places at which there is a picture, by its own name; a picture may have several places."""

    def is_folder(self, place: str) -> bool:
        """True if there are pictures below a place."""

    def like(self, place: str) -> list[str]:
        """Places of pictures that differ from `place` only in case or extension."""

    def read(self, place: str, max_bytes: int) -> bytes:
        """The bytes of a picture."""


@dataclass(frozen=True)
class Place:
    """Location of a picture.

    Attributes:
        archived: whether it is one of `ImageRoot.archived`, and no file.
        path: absolute, normalised.
        how: ``""`` for the name as it is written, else the rule of `prefgen.image_names` that it took: ``spelling``,
            ``tail`` or ``name``.
    """

    path: str
    how: str = ""
    archived: bool = False


@dataclass(frozen=True)
class ImageRoot:
    """The folders below which images may be. Without a folder, no path is found.

    Attributes:
        archived: pictures of archives and stores, which are looked for where no file is found.
        match: how a file's place must agree with a path, see `prefgen.image_names`.
        follow_links: whether a link may lead out of the folders. Those of a Hub cache to its own blobs always may.
    """

    folders: tuple[Path, ...]
    match: image_names.Match = "exact"
    follow_links: bool = False
    archived: Pictures | None = None

    def __str__(self) -> str:
        named = [*map(str, self.folders), *([str(self.archived)] if self.archived else [])]
        return " or ".join(dict.fromkeys(named)) or "(no --image-root given)"

    def look(self, path: str, exists: Callable[[str], bool] = os.path.exists) -> Place | None:
        """The only place below the folders that `path` can mean, or None.

        Args:
            exists: asked about absolute, normalised paths below a folder only.

        Raises:
            RowError: ``IMG_AMBIGUOUS``, where several files fit equally well.
        """
        if not path or len(path) > MAX_PATH_CHARS or "\0" in path:
            return None
        for how, tried in self._tries(path, exists):
            places = list(dict.fromkeys(tried))
            files = image_names.distinct([place for place in places if self._on_disk(place) and exists(place)])
            found = {place: place for place in files}
            archived = self.archived is not None and not found
            if self.archived is not None and not found:
                found = self.archived.find(places)
            if len(found) > 1:
                named = ", ".join([*found][:3])
                raise RowError("IMG_AMBIGUOUS", f"{path[:200]} may be any of {named}: set --image-root")
            for place in found.values():
                return Place(place, how, archived)
        return None

    def _on_disk(self, place: str) -> bool:
        return self.archived is None or any(place.startswith(_prefixes(str(folder))) for folder in self.folders)

    @cached_property
    def _bases(self) -> list[str]:
        folders = [os.path.abspath(folder) for folder in self.folders]
        return list(dict.fromkeys([*folders, *(self.archived.bases if self.archived else ())]))

    @cached_property
    def _gates(self) -> tuple[str, ...]:
        return tuple(prefix for base in self._bases for prefix in _prefixes(base))

    @cached_property
    def _real_gates(self) -> tuple[str, ...]:
        return tuple(os.path.join(os.path.realpath(folder), "") for folder in self.folders)

    def locate(self, path: str, exists: Callable[[str], bool]) -> str | None:
        """As `look`, without the rule; None also where several files match."""
        try:
            found = self.look(path, exists)
        except RowError:
            return None
        return found.path if found else None

    def _tries(self, path: str, exists: Callable[[str], bool]) -> Iterator[tuple[str, list[str]]]:
        """The matching rules in order, each with the places that it allows."""
        bases, gates = self._bases, self._gates

        def below(make: Callable[[str], Iterable[str]]) -> list[str]:
            # by name only, a fast first gate on 150,000 rows times some dozen candidates: `find` checks the real path
            return [place for base in bases for place in make(base) if place.startswith(gates)]

        def is_there(place: str) -> bool:
            if self._on_disk(place) and exists(place):
                return True
            return self.archived is not None and self.archived.is_folder(place)

        if path.startswith("/"):
            yield "", below(lambda base: (os.path.normpath(path),))
        yield "", below(lambda base: islice(image_names.accounted(base, path), 1))
        yield "", below(lambda base: image_names.accounted(base, path))
        for base in bases:
            for place in image_names.coco(base, path, is_there):
                yield "", [place]
        written = image_names.spellings(path)
        absolute = [os.path.normpath(spelling) for spelling in written[1:] if spelling.startswith("/")]
        yield "spelling", below(lambda base: (*absolute, *(p for s in written for p in image_names.accounted(base, s))))
        if self.match == "exact":
            return
        yield self.match, below(lambda base: (p for s in written for p in image_names.shortened(base, s, self.match)))
        allowed = below(lambda base: (p for s in written for p in image_names.accounted(base, s)))
        allowed += below(lambda base: (p for s in written for p in image_names.shortened(base, s, self.match)))
        alike = [found for place in allowed if self._on_disk(place) for found in image_names.like(place)]
        if self.archived is not None:
            alike += [found for place in allowed for found in self.archived.like(place)]
        yield "spelling", alike

    def find(self, path: str) -> Path:
        """The real path of the file that `path` means. It may not be a regular file.

        Raises:
            RowError: ``PATH_OUTSIDE_ROOT``, ``IMG_MISSING``, ``IMG_AMBIGUOUS``.
        """
        return self.resolve(path)[0]

    def resolve(self, path: str) -> tuple[Path, str]:
        """As `find`, with the matching rule that applied (`Place.how`)."""
        found = self._found(path)
        return self._file(found, path), found.how

    def read(self, path: str, max_bytes: int) -> tuple[bytes, str]:
        """The bytes of the picture that `path` means, at most `max_bytes` + 1, with the matching rule that applied.

        Raises:
            RowError: as `find`; ``PATH_NOT_FILE``, ``IMG_SIZE``, ``IMG_UNREADABLE``.
        """
        found = self._found(path)
        if found.archived and self.archived is not None:
            return self.archived.read(found.path, max_bytes), found.how
        return _read_file(self._file(found, path), path, max_bytes), found.how

    def _found(self, path: str) -> Place:
        found = self.look(path)
        if found is None:
            bases = self._bases
            if bases and not any(
                os.path.abspath(os.path.join(base, path)).startswith(_prefixes(base)) for base in bases
            ):
                raise RowError("PATH_OUTSIDE_ROOT", f"{path[:200]} is not under {self}; set --image-root")
            hint = self.hint(path)
            raise RowError("IMG_MISSING", f"{path[:200]} is not under {self}{hint and f'; {hint}'}")
        return found

    def _file(self, found: Place, path: str) -> Path:
        real = Path(os.path.realpath(found.path))
        if self.leads_out(found.path, real):
            raise RowError(
                "PATH_OUTSIDE_ROOT", f"{path[:200]} is a link that leads out of {self}; --follow-links allows that"
            )
        return real

    def leads_out(self, place: str, real: Path) -> bool:
        """True if a place is a link to `real`, outside the folder, that may not be followed."""
        if self.follow_links or os.path.join(real, "").startswith(self._real_gates):
            return False
        above = Path(place).parents  # cache/snapshots/COMMIT/a.jpg is a link to cache/blobs/DIGEST
        return not any(p.name == "snapshots" and real.parent == p.parent.resolve() / "blobs" for p in above)

    def hint(self, path: str) -> str:
        """A similar path and the option that would accept it, for a path that was not found; empty if there is none."""
        if len(path) > MAX_PATH_CHARS or "\0" in path:
            return ""
        if near := image_names.nearest(self.folders, path):
            return f"is it {near}?" + (" --image-match tail takes it" if self.match == "exact" else "")
        for match, agrees in (("tail", "last folders agree"), ("name", "file name agrees")):
            other = dataclasses.replace(self, match=match)  # type: ignore[arg-type]
            if self.match == "exact" and other.locate(path, os.path.exists):
                return f"only its {agrees} with a file that is there, which --image-match {match} would take"
        return ""


@cache
def _prefixes(folder: str) -> tuple[str, ...]:
    return tuple(os.path.join(base, "") for base in dict.fromkeys((os.path.abspath(folder), os.path.realpath(folder))))


def load(ref: ImageRef, root: ImageRoot, limits: ImageLimits = DEFAULT_LIMITS, fetch: Fetch | None = None) -> Image:
    """Read an image's encoded bytes and check that they are one complete picture within the limits.

    Args:
        fetch: downloads a URL, e.g. `prefgen.sources.fetch.fetch`; None where URLs are not allowed.

    Returns:
        The original bytes, or a PNG of what they show; width and height are those of the decoded, upright picture, in
        pixels.

    Raises:
        RowError: ``PATH_OUTSIDE_ROOT``, ``PATH_NOT_FILE``, ``IMG_MISSING``, ``IMG_UNREADABLE``, ``IMG_EMPTY``,
            ``IMG_SIZE``, ``IMG_FORMAT``, ``IMG_FORMAT_BLOCKED``, ``IMG_BOMB``, ``IMG_ASPECT``, ``IMG_TOO_SMALL``,
            ``IMG_ANIMATED``, ``IMG_MULTIPAGE``, ``IMG_TRUNCATED``, or a ``URL_`` code. The detail names the image and
            never shows content.
    """
    name, how = ref.path or public_url(ref.url or "") or "<embedded image>", ""
    if ref.data is not None:
        data = ref.data
    elif ref.path is not None:
        data, how = root.read(ref.path, limits.max_bytes)
    elif ref.url is not None and fetch is not None:
        data = fetch(ref.url)
    else:
        raise RowError("URL_DISABLED", f"{name}: images by URL are off; allow them with --allow-urls")
    if not data:
        raise RowError("IMG_EMPTY", f"{name} has 0 bytes")
    if len(data) > limits.max_bytes:
        raise RowError("IMG_SIZE", f"{name} has {len(data):,} bytes, more than {limits.max_bytes:,}")
    digest = hashlib.sha256(data).hexdigest()
    width, height, shown = _checked(digest, data, name, limits)
    if shown is not None:
        return Image(shown, ref.path or public_url(ref.url or ""), width, height, how, digest)
    image = Image(data, ref.path or public_url(ref.url or ""), width, height, how)
    vars(image)["sha256"] = digest  # the property's cache
    return image


def load_images(sample: Sample, root: ImageRoot, fetch: Fetch | None) -> Sample | Dropped:
    """Replace image references by checked images, or return a `Dropped` with the reason."""
    try:
        loaded = tuple(_loaded(image, root, fetch) if isinstance(image, ImageRef) else image for image in sample.images)
    except RowError as error:
        return Dropped.of(sample, error.reason, error.detail)
    return dataclasses.replace(sample, images=loaded)


@lru_cache(maxsize=8)  # the answers of a conversation are samples one after another, about the same images
def _loaded(image: ImageRef, root: ImageRoot, fetch: Fetch | None) -> Image:
    return load(image, root, fetch=fetch)


def decode(image: Image) -> PIL.Image.Image:
    """The picture as 8-bit RGB, upright, by the rules in this module's docstring.

    Returns:
        A Pillow image of mode RGB; ``np.asarray`` of it is uint8, shape (height, width, 3).
    """
    with _pillow(), PIL.Image.open(io.BytesIO(image.data), formats=FORMATS) as opened:
        opened.load()
        return _upright(_rgb(opened), _orientation(opened))


def plain(data: bytes) -> PIL.Image.Image:
    """The picture as trainers load it: opened and converted to RGB, without rotation or blending."""
    with _pillow(), PIL.Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        opened.load()
        return opened.convert("RGB")


def shown_otherwise(data: bytes, *, turned: bool) -> str:
    """The reason that a trainer's own loading gives other pixels than `decode`; empty where they are the same.

    Args:
        turned: whether the trainer applies the EXIF orientation before its ``convert("RGB")``, as `datasets` does.

    Raises:
        OSError, SyntaxError, ValueError: the bytes are no picture, or a broken one.
    """
    with _pillow(), PIL.Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        orientation = _orientation(opened)
        faults = [] if turned or orientation == 1 else [f"EXIF orientation {orientation}"]
        if opened.mode not in _PLAIN_MODES or opened.has_transparency_data:
            faults.append(f"mode {opened.mode}{' with transparency' if opened.has_transparency_data else ''}")
        if not faults:
            return ""
        opened.load()
        shown = _upright(_rgb(opened), orientation)
        other = opened.convert("RGB")
        other = _upright(other, orientation) if turned else other
        return "" if shown.size == other.size and shown.tobytes() == other.tobytes() else ", ".join(faults)


def public_url(url: str) -> str:
    """A URL without user, password and query, for messages and data sets."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as an unclosed bracket in the host
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else ""


def format_of(data: bytes) -> str | None:
    """The format of encoded bytes by their first bytes, in Pillow's terms; None if it is not supported."""
    return next((kind for magic, kind in _MAGIC if magic.match(data)), None)


def _read_file(path: Path, name: str, max_bytes: int) -> bytes:
    # O_NOFOLLOW: the last component may have become a link since `find`; O_NONBLOCK: opening a FIFO must not hang.
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise RowError("PATH_NOT_FILE", f"{name} is not a regular file")
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RowError("PATH_NOT_FILE", f"{name} is not a regular file")
            return file.read(max_bytes + 1)
    except OSError as error:
        raise RowError("IMG_UNREADABLE", f"{name}: {error.strerror}") from error


# --- checking -------------------------------------------------------------------------------------------------------

_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "TIFF"),
)
# Formats that are programs or documents: Pillow would start Ghostscript for EPS.
_BLOCKED = re.compile(
    rb"%!PS|\xc5\xd0\xd3\xc6|%PDF|8BPS|\s*(<\?xml[^>]*>)?\s*(<!--.{0,500}?-->\s*)*<(!DOCTYPE )?svg", re.DOTALL
)
_MODES = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "I", "I;16", "I;16B", "I;16L"}
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)
_BOMBS = (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning)


_SOUND: dict[tuple[str, ImageLimits], tuple[int, int]] = {}  # sizes of pictures that are kept as they are
_SOUND_MAX = 2**16  # some 20 MB


def _checked(digest: str, data: bytes, name: str, limits: ImageLimits) -> tuple[int, int, bytes | None]:
    """`_check`, unless a picture of this digest has passed it: many data sets ask about one picture again and again."""
    if (size := _SOUND.get((digest, limits))) is not None:
        return *size, None
    width, height, shown = _check(data, name, limits)
    if shown is None:
        if len(_SOUND) >= _SOUND_MAX:
            _SOUND.clear()
        _SOUND[digest, limits] = width, height
    return width, height, shown


def _check(data: bytes, name: str, limits: ImageLimits) -> tuple[int, int, bytes | None]:
    """Decode a picture.

    Returns:
        Width and height upright, and a PNG of what `decode` shows where a trainer's own loading would give other
        pixels, else None.
    """
    kind = format_of(data)
    if _BLOCKED.match(data[:1024]):
        raise RowError("IMG_FORMAT_BLOCKED", f"{name} is SVG, PostScript, PDF or PSD; convert it to PNG")
    if kind not in limits.formats:
        raise RowError(
            "IMG_FORMAT", f"{name} is {kind or 'no image'} by its content; accepted: {', '.join(limits.formats)}"
        )
    try:
        with _pillow(), PIL.Image.open(io.BytesIO(data), formats=(kind,)) as opened:
            _check_header(opened, name, limits)
            if opened.format == "JPEG" and _orientation(opened) == 1:
                size = opened.size
                opened.draft(opened.mode, (1, 1))  # an eighth of the pixels, for which every byte is still decoded
                opened.load()
                return *size, None
            opened.load()
            if opened.mode not in _MODES or (opened.mode == "I" and max(np.asarray(opened).max(), 0) > 0xFFFF):
                raise RowError(
                    "IMG_FORMAT", f"{name} has pixels of mode {opened.mode}, which has no rule for 8-bit RGB"
                )
            orientation = _orientation(opened)
            width, height = opened.size if orientation < 5 else opened.size[::-1]
            if opened.mode in _PLAIN_MODES and orientation == 1 and not opened.has_transparency_data:
                return width, height, None
            return width, height, _as_shown(opened, orientation)
    except _BOMBS as error:
        raise RowError("IMG_BOMB", f"{name}: {error}") from error
    except _DAMAGE as error:
        if "Decompressed data too large" in str(error) or "Too much memory" in str(error):  # text chunks of a PNG
            raise RowError("IMG_BOMB", f"{name}: {error}") from error
        raise RowError("IMG_TRUNCATED", f"{name} is cut short or damaged: {str(error).partition('<')[0]}") from error


def _as_shown(opened: PIL.Image.Image, orientation: int) -> bytes | None:
    """A PNG of a loaded picture as `decode` shows it; None where ``convert("RGB")`` gives the same pixels."""
    shown, other = _upright(_rgb(opened), orientation), opened.convert("RGB")
    if shown.size == other.size and shown.tobytes() == other.tobytes():
        return None
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    return buffer.getvalue()


def _check_header(opened: PIL.Image.Image, name: str, limits: ImageLimits) -> None:
    width, height = opened.size
    size = f"{name} is {width:,} x {height:,} pixels"
    if width * height > limits.max_pixels:
        raise RowError("IMG_BOMB", f"{size}, more than {limits.max_pixels:,} in all")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise RowError("IMG_ASPECT", f"{size}, an aspect ratio above {limits.max_aspect:g}")
    if min(width, height) < limits.min_side:
        raise RowError("IMG_TOO_SMALL", f"{size}, the shorter side below {limits.min_side}")
    if getattr(opened, "is_animated", False) and opened.format != "MPO":
        multipage = opened.format == "TIFF"
        raise RowError("IMG_MULTIPAGE" if multipage else "IMG_ANIMATED", f"{name} holds more than one picture")


# --- pixels ---------------------------------------------------------------------------------------------------------

_TRANSPOSE = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_LOCK = threading.RLock()


@contextmanager
def _pillow() -> Iterator[None]:
    # A bomb warning is an error; the others concern metadata that nothing here reads. Truncated files stay errors
    # though some training code asks Pillow to fill them with grey. Both settings are the process's, hence the lock.
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        fill, PIL.ImageFile.LOAD_TRUNCATED_IMAGES = PIL.ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            yield
        finally:
            PIL.ImageFile.LOAD_TRUNCATED_IMAGES = fill


def _orientation(opened: PIL.Image.Image) -> int:
    try:
        value = opened.getexif().get(0x0112)
    except _DAMAGE:  # a broken EXIF block is as good as none
        return 1
    # Pillow turns a TIFF upright itself while loading it, and drops the tag
    return value if isinstance(value, int) and value in _TRANSPOSE else 1


def _upright(image: PIL.Image.Image, orientation: int) -> PIL.Image.Image:
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _rgb(opened: PIL.Image.Image) -> PIL.Image.Image:
    if opened.mode.startswith("I"):
        grey = np.asarray(opened).clip(0, 0xFFFF).astype(np.uint32)
        return PIL.Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if opened.has_transparency_data or opened.mode in ("PA", "RGBa"):
        picture = opened.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return opened.convert("RGB")
