"""Rows that are nearly the same: their pictures in another size or encoding, and texts with nearly the same words.

Pictures are compared by difference hash: reduced to 17 x 16 grey values, each compared with its right neighbour. Texts
are compared by MinHash (Broder 1997), which estimates how many of their runs of three words two texts have in common;
every text of a row has to agree: the conversation, and the answers that are compared. A row is held against those rows
kept so far that share one of 17 bands of its first picture's hash. That loses none, for 16 differing bits leave a band
untouched. Rows without pictures are found by bands of their last text, 19 of 20 of those at the threshold.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import PIL.Image

from prefgen import images
from prefgen.records import Image
from prefgen.select.keys import COLUMNS, By, digests, texts
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection, of_one
from prefgen.stored import Stored

DISTANCE = 16  # of the 256 bits of a picture's hash, at most
JACCARD = 0.8  # of the runs of words of two texts, at least
NEAR_DUPLICATE = "NEAR_DUPLICATE"
_SIDE = 16
_BITS = _SIDE * _SIDE
_BANDS = DISTANCE + 1
_BAND_BITS = -(-_BITS // _BANDS)
_WORDS = 3
_PERMUTATIONS = 128
_TEXT_BANDS = 16
_FACTORS, _TERMS = np.random.default_rng(0).integers(0, 1 << 64, (2, _PERMUTATIONS, 1), dtype=np.uint64)

Signature = npt.NDArray[np.uint32]


def dedup_near(stored: Stored, by: By = "pair", exclude: Excluded = NOTHING) -> Selection:
    """The first of all rows that are nearly the same in what `by` names; see `prefgen.select.keys.key`.

    Some 2 kB are kept of each row, and every different picture is decoded once.
    """
    left_out: Counter[str] = Counter()
    known: dict[str, int] = {}  # hash by SHA-256
    kept: list[tuple[tuple[int, ...], Signature]] = []
    places: dict[object, list[int]] = {}
    rows: list[int] = []
    for number, row in exclude.kept(stored, ("images", *COLUMNS), left_out):
        for image, sha256 in zip(row["images"], digests(row), strict=True):
            if sha256 not in known:
                known[sha256] = dhash(images.decode(Image(image["bytes"], image["path"], 0, 0)))
        pictures = tuple(known[sha256] for sha256 in digests(row))
        signature = np.stack([minhash(text) for text in texts(row, by)] or [minhash("")])
        bands = list(_bands(pictures, signature))
        candidates = dict.fromkeys(place for band in bands for place in places.get(band, ()))
        alike = [kept[place][1] for place in candidates if _same_pictures(pictures, kept[place][0])]
        if _any_near(signature, alike):
            left_out[NEAR_DUPLICATE] += 1
            continue
        for band in bands:
            places.setdefault(band, []).append(len(kept))
        kept.append((pictures, signature))
        rows.append(number)
    return of_one(stored, rows, left_out)


def dhash(picture: PIL.Image.Image) -> int:
    """Which of 17 x 16 grey values are darker than their right neighbour, as 256 bits."""
    small = picture.convert("L").resize((_SIDE + 1, _SIDE), PIL.Image.Resampling.LANCZOS)
    grey = np.asarray(small, dtype=np.int16)
    return int.from_bytes(np.packbits(grey[:, :-1] < grey[:, 1:]).tobytes(), "big")


def minhash(text: str) -> Signature:
    """(128,) minima of as many hash functions over the text's runs of three words; case does not count."""
    words = re.findall(r"\w+", text.lower())
    runs = {" ".join(words[at : at + _WORDS]) for at in range(max(1, len(words) - _WORDS + 1))}
    hashed = np.array([zlib.crc32(run.encode()) for run in runs], dtype=np.uint64)
    # Multiply-shift hashing: (a x + b) mod 2^64, of which the upper half is kept; a is odd.
    values = (_FACTORS | np.uint64(1)) * hashed + _TERMS
    return np.asarray((values >> np.uint64(32)).min(axis=1), dtype=np.uint32)


def _bands(pictures: tuple[int, ...], signature: Signature) -> Iterator[object]:
    if pictures:
        for band in range(_BANDS):
            yield len(pictures), band, pictures[0] >> band * _BAND_BITS & (1 << _BAND_BITS) - 1
    else:
        for band, values in enumerate(np.split(signature[-1], _TEXT_BANDS)):
            yield band, values.tobytes()


def _same_pictures(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all((a ^ b).bit_count() <= DISTANCE for a, b in pairs)


def _any_near(signature: Signature, others: list[Signature]) -> bool:
    """Whether one of the others, (texts, 128) each, has as much in common with `signature` in every text."""
    sized = [other for other in others if len(other) == len(signature)]
    return bool(sized) and bool(((np.stack(sized) == signature).mean(axis=2) >= JACCARD).all(axis=1).any())
