"""Checks of images: repetitions, sizes, and leakage of evaluation images."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator

from prefgen.linting import thresholds
from prefgen.linting.findings import Finding, RowTally
from prefgen.linting.pairs import quantiles
from prefgen.linting.rows import PairRow
from prefgen.select import Excluded


class Repeats:
    """Repeated images, prompts and pairs."""

    def __init__(self) -> None:
        self._images: Counter[bytes] = Counter()
        self._prompts: Counter[bytes] = Counter()
        self._examples: dict[bytes, RowTally] = {}
        self._pairs: set[bytes] = set()
        self._equal, self._again, self._asked_again = RowTally(), RowTally(), RowTally()

    def see(self, row: PairRow) -> None:
        """Record the digests of a row."""
        images = [bytes.fromhex(picture.sha256)[:8] for picture in row.pictures]
        if any(image in self._images for image in images):
            self._again.add(row, row.pictures[0].name)
        self._images.update(images)
        prompt = _digest(row.prompt)
        if prompt in self._prompts:
            self._asked_again.add(row, row.prompt)
        self._prompts[prompt] += 1
        pair = _digest(*(picture.sha256 for picture in row.pictures), row.prompt, row.chosen, row.rejected)
        if pair in self._pairs:
            self._equal.add(row, row.rejected)
        self._pairs.add(pair)

    def findings(self, rows: int) -> Iterator[Finding]:
        """Three findings."""
        yield self._equal.finding(
            "repeated-pairs",
            "error",
            rows,
            f"{self._equal.count:,} rows repeat an earlier row",
            "Drop the repetitions.",
        )
        most = max(self._images.values(), default=0)
        worn = most >= max(thresholds.REPEATED_IMAGE_ROWS, thresholds.REPEATED_IMAGE_SHARE * rows)
        yield self._again.finding(
            "repeated-images",
            "warning" if worn else "info",
            rows,
            f"{len(self._images):,} images for {rows:,} rows; one is in {most:,} rows",
            "Use more images; split by image, or training and validation share them." if worn else "",
        )
        frequent = max(self._prompts.values(), default=0)
        worn = frequent >= thresholds.REPEATED_PROMPT_SHARE * rows and frequent > 1
        yield self._asked_again.finding(
            "repeated-prompts",
            "warning" if worn else "info",
            rows,
            f"{len(self._prompts):,} prompts for {rows:,} rows; one is in {frequent:,} rows",
            "Vary the prompts, or the policy learns one way of being asked." if worn else "",
        )


def _digest(*texts: str) -> bytes:
    return hashlib.blake2b("\x1f".join(texts).encode(), digest_size=8).digest()


class ImageSizes:
    """Sizes of the images."""

    def __init__(self) -> None:
        self._sides = array("f")  # the shorter one
        self._small = RowTally()
        self._without = RowTally()

    def see(self, row: PairRow) -> None:
        """Record the sizes of a row's images."""
        if not row.pictures:
            self._without.add(row, row.prompt)
        sides = [min(picture.width, picture.height) for picture in row.pictures]
        self._sides.extend(sides)
        if any(side < thresholds.SMALL_SIDE for side in sides):
            self._small.add(row, f"{row.pictures[0].name}: {min(sides)} pixels")

    def findings(self, rows: int) -> Iterator[Finding]:
        """The distribution of sizes, and rows without an image, if any."""
        if self._without.count:
            yield self._without.finding(
                "no-image",
                "warning",
                rows,
                f"{self._without.count:,} rows have no image",
                "Drop them, unless text-only rows are meant to be there.",
            )
        if self._sides:
            grave = self._small.count >= thresholds.SMALL_SHARE * rows
            yield self._small.finding(
                "image-size",
                "warning" if grave else "info",
                rows,
                f"shorter side in pixels {quantiles(self._sides)}; {self._small.count:,} rows below "
                f"{thresholds.SMALL_SIDE}",
                "Check that these are photographs and not icons or thumbnails." if grave else "",
            )


class Leakage:
    """Images of the evaluation set."""

    def __init__(self, excluded: Excluded) -> None:
        self._excluded = excluded
        self._found = RowTally()

    def see(self, row: PairRow) -> None:
        """Compare digests and names."""
        for picture in (*row.pictures, *row.rejected_pictures):
            if self._excluded.holds(picture.name, picture.sha256):
                self._found.add(row, picture.name)
                return

    def findings(self, rows: int) -> Iterator[Finding]:
        """Number of rows with an evaluation image."""
        yield self._found.finding(
            "leakage",
            "error",
            rows,
            f"{self._found.count:,} rows show an excluded image",
            "Drop these rows before training: prefgen mix OUT --exclude-images does.",
        )
