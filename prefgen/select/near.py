"""Near duplicates: pictures in another size or encoding, and texts with nearly the same words.

Pictures are compared by difference hash (reduced to 17 x 16 grey values, each compared with its right neighbour; fields
that are nearly equal, as in a plain sky, do not differ, or another encoding would decide which is brighter) and by the
colours of 4 x 4 fields, since a red thing can be as bright as a blue one. Texts are compared by MinHash (Broder
1997), which estimates how many of their runs of three words two texts have in common; every text of a row has to agree:
the conversation, and the answers that are compared. A row is held against those rows kept so far that share one of 17
bands of its first picture's hash. That loses none, for 16 differing bits leave a band untouched. Rows without pictures
are found by bands of their last text, 19 of 20 of those at the threshold.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image

from prefgen import images
from prefgen.records import Image
from prefgen.rundir.reader import Stored
from prefgen.select.keys import COLUMNS, By, digests, texts
from prefgen.select.leakage import NOTHING, Excluded
from prefgen.select.selection import Selection, of_one

BRIGHTER = 2.0  # of 255, more than a grey value's left neighbour, for a bit of the hash
DISTANCE = 16  # of the 256 bits of a picture's hash, at most
COLOUR = 8.0  # of 255, mean difference of the fields' colours, at most
JACCARD = 0.8  # of the runs of words of two texts, at least
NEAR_DUPLICATE = "NEAR_DUPLICATE"
_SIDE = 16
_FIELDS = 4
_BITS = _SIDE * _SIDE
_BANDS = DISTANCE + 1
_BAND_BITS = -(-_BITS // _BANDS)
_WORDS = 3
_PERMUTATIONS = 128
_TEXT_BANDS = 16
_FACTORS, _TERMS = np.random.default_rng(0).integers(0, 1 << 64, (2, _PERMUTATIONS, 1), dtype=np.uint64)

Signature = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class PictureHash:
    """Perceptual hash of a picture: 256 bits, and (4, 4, 3) mean colors, 0 to 255."""

    bits: int
    colours: npt.NDArray[np.int16]

    def near(self, other: PictureHash) -> bool:
        """True if two hashes can be of one picture in two encodings."""
        if self is other:  # the same bytes, as most pictures of a set are met again
            return True
        differing = (self.bits ^ other.bits).bit_count()
        return differing <= DISTANCE and float(np.abs(self.colours - other.colours).mean()) <= COLOUR


def dedup_near(stored: Stored, by: By = "pair", exclude: Excluded = NOTHING) -> Selection:
    """The first row of each set of near duplicates in terms of `by`; see `prefgen.select.keys.key`.

    Some 2 kB are kept of each row, and every different picture is decoded once.
    """
    left_out: Counter[str] = Counter()
    known: dict[str, PictureHash] = {}  # by SHA-256
    kept: list[tuple[tuple[PictureHash, ...], Signature]] = []
    places: dict[object, list[int]] = {}
    rows: list[int] = []
    for number, row in exclude.kept(stored, ("images", *COLUMNS), left_out):
        for image, sha256 in zip(row["images"], digests(row), strict=True):
            if sha256 not in known:
                known[sha256] = look(images.decode(Image(image["bytes"], image["path"], 0, 0)))
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


def look(picture: PIL.Image.Image) -> PictureHash:
    """The perceptual hash of a picture."""
    small = picture.convert("L").convert("F").resize((_SIDE + 1, _SIDE), PIL.Image.Resampling.LANCZOS)
    brighter = np.diff(np.asarray(small)) > BRIGHTER
    bits = int.from_bytes(np.packbits(brighter).tobytes(), "big")
    fields = picture.convert("RGB").resize((_FIELDS, _FIELDS), PIL.Image.Resampling.BOX)
    return PictureHash(bits, np.asarray(fields, dtype=np.int16))


def minhash(text: str) -> Signature:
    """(128,) minima of hash functions over the text's word trigrams, ignoring case."""
    words = re.findall(r"\w+", text.lower())
    runs = {" ".join(words[at : at + _WORDS]) for at in range(max(1, len(words) - _WORDS + 1))}
    hashed = np.array([zlib.crc32(run.encode()) for run in runs], dtype=np.uint64)
    # Multiply-shift hashing: (a x + b) mod 2^64, of which the upper half is kept; a is odd.
    values = (_FACTORS | np.uint64(1)) * hashed + _TERMS
    return np.asarray((values >> np.uint64(32)).min(axis=1), dtype=np.uint32)


def _bands(pictures: tuple[PictureHash, ...], signature: Signature) -> Iterator[object]:
    if pictures:
        for band in range(_BANDS):
            yield len(pictures), band, pictures[0].bits >> band * _BAND_BITS & (1 << _BAND_BITS) - 1
    else:
        for band, values in enumerate(np.split(signature[-1], _TEXT_BANDS)):
            yield band, values.tobytes()


def _same_pictures(one: tuple[PictureHash, ...], other: tuple[PictureHash, ...]) -> bool:
    return len(one) == len(other) and all(a.near(b) for a, b in zip(one, other, strict=True))


def _any_near(signature: Signature, others: list[Signature]) -> bool:
    """True if one of the others, (texts, 128) each, is similar enough to `signature` in every text."""
    sized = [other for other in others if len(other) == len(signature)]
    return bool(sized) and bool(((np.stack(sized) == signature).mean(axis=2) >= JACCARD).all(axis=1).any())
