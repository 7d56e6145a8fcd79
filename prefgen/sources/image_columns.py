"""Values of image columns: a path, a URL, bytes, base64, or a list of these."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from prefgen.errors import RowError
from prefgen.images import DEFAULT_LIMITS
from prefgen.records import ImageRef

IMAGE_COLUMNS = (
    *("images", "image", "image_bytes", "image_path", "img_path", "image_url"),
    *("image_file", "file_name", "filename", "img", "media", "image_id"),
)

# Never handed to a generic opener: `pipe:` runs a shell in webdataset, `zip::http://` opens sockets in fsspec.
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://|(pipe|file):|[a-z0-9+.-]+::", re.IGNORECASE)
# The base64 of how JPEG, PNG, GIF and WebP files begin: tables hold pictures so, and no path is like it.
_BASE64_PICTURE = re.compile(r"(/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/=\s]*\Z")
_NUMBERED = re.compile(r"(?:image|img|picture)s?_?(\d{1,2})", re.IGNORECASE)
_HTTP = re.compile(r"https?://", re.IGNORECASE)


def has_image(value: object) -> bool:
    """True if an image column has a value; null, "", [] and an object of nulls mean that the row has no image."""
    if isinstance(value, float) and math.isnan(value):  # a table's missing value
        return False
    return any(value.values()) if isinstance(value, dict) else value not in (None, "", b"", [])


def held_images(columns: Mapping[str, Any], mapped: Mapping[str, str]) -> tuple[tuple[str, ...], list[object]]:
    """The columns with a row's images and their values: one column, or ``image_1``, ``image_2`` ….

    Args:
        mapped: columns that the user named, by prefgen's name; they go before others.

    Raises:
        RowError: ``ROW_UNREAD``: numbers are left out.
    """
    names = [name for name in IMAGE_COLUMNS if mapped.get(name)] or IMAGE_COLUMNS
    held = next((name for name in names if has_image(columns.get(name))), None)
    if held == "image_id" and not isinstance(columns[held], (str, list)):  # COCO's number
        held = None
    values = _listed(held, columns[held]) if held else []
    numbered = {
        int(match[1]): str(name)
        for name, value in columns.items()
        if isinstance(value, (str, bytes, dict)) and has_image(value) and (match := _NUMBERED.fullmatch(str(name)))
    }
    if not numbered:
        return ((held,) if held else ()), values
    start = len(values) + 1 if min(numbered) > 1 else min(numbered)
    if sorted(numbered) != list(range(start, start + len(numbered))) or (values and start == min(numbered) < 2):
        raise RowError(
            "ROW_UNREAD",
            f"{', '.join(numbered.values())} beside {held or 'no image'}: which pictures are meant, and in "
            f"which order? Name them by --columns image=…, or leave one out by --columns {numbered[max(numbered)]}=",
        )
    found = [numbered[number] for number in sorted(numbered)]
    return (*((held,) if held else ()), *found), [*values, *(columns[name] for name in found)]


def _listed(name: str, value: Any) -> list[object]:
    """The entries of an image column, which a table may store as JSON text."""
    if name == "image_bytes":
        return [{"bytes": value}]
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        with contextlib.suppress(ValueError):  # a path that begins so
            value = json.loads(value)
    return value if isinstance(value, list) else [value]


def image_refs(value: object, allow_urls: bool) -> tuple[ImageRef, ...]:
    """The images that an image column names, in order.

    Raises:
        RowError: ``URL_DISABLED``, ``URL_SCHEME``, ``IMG_BASE64``, ``IMG_SIZE``, ``IMG_COUNT``, ``ROW_SHAPE``.
    """
    values = value if isinstance(value, list) else [value]
    return tuple(_ref(item, allow_urls) for item in values)


def image_names(images: tuple[ImageRef, ...]) -> tuple[str, ...]:
    """The name of each image in a sample's id: the digest of its bytes if the row has them, else its path."""
    return tuple(ref.name if ref.data is None else hashlib.sha256(ref.data).hexdigest() for ref in images)


def _ref(value: object, allow_urls: bool) -> ImageRef:
    if isinstance(value, bytes):
        return ImageRef(data=value)
    if isinstance(value, str) and value:
        return _named(value, allow_urls)
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
        if isinstance(data, str):
            data = _from_base64(data)
        if isinstance(data, bytes):
            return ImageRef(data=data, path=path if isinstance(path, str) else None)
        if data is None and (path or value.get("url")):
            return _ref(path or value["url"], allow_urls)
        raise RowError("IMG_BASE64", "an image object without bytes, base64 text, path or URL")
    if value in (None, ""):
        raise RowError("IMG_COUNT", "an empty entry among the images")
    raise RowError("ROW_SHAPE", f"an image should be a path, URL or bytes, found {type(value).__name__}")


def _named(name: str, allow_urls: bool) -> ImageRef:
    if name[:5].lower() == "data:":
        head, comma, body = name.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise RowError("IMG_BASE64", "a data: URI that is not base64")
        return ImageRef(data=_from_base64(body))
    if len(name) > 100 and _BASE64_PICTURE.match(name):
        return ImageRef(data=_from_base64(name))
    if _HTTP.match(name):
        if not allow_urls:
            raise RowError("URL_DISABLED", "an image by URL; download the images, or allow them with --allow-urls")
        return ImageRef(url=name)
    if name[:5].lower() == "file:":  # a path under the image root like any other
        name = unquote(re.sub(r"^file:(//(localhost)?(?=/)|//)?", "", name, flags=re.IGNORECASE))
    if _OTHER_SCHEME.match(name):
        raise RowError("URL_SCHEME", f"{name[:40]!r} is neither a path nor http(s)")
    return ImageRef(path=name)


def _from_base64(text: str) -> bytes:
    if len(text) // 4 * 3 > DEFAULT_LIMITS.max_bytes + 3:  # before decoding
        raise RowError("IMG_SIZE", f"an image of {len(text):,} base64 characters")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError("IMG_BASE64", f"image bytes that are not base64: {error}") from error
