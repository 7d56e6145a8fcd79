"""SFT data for online training: prompts with reference answers, without rejected answers.

It stands in the place of a finished run. Samples are kept in memory without their pictures, which are read again for
every step; those that stand in the input itself are kept in a temporary file meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from prefgen import sources
from prefgen.addresses import redact
from prefgen.errors import EnvironmentFault, UsageError
from prefgen.images import load_images
from prefgen.records import Dropped, Image, ImageRef, Pair, Sample
from prefgen.rundir.layout import Layout
from prefgen.rundir.reader import Stored
from prefgen.rundir.schema import Provenance, to_table
from prefgen.sources import SourceOptions
from prefgen.sources.fetch import fetch

METHOD = "reference"
"""In the column `method` of a row that has no rejected answer."""


@dataclass(frozen=True)
class _Kept:
    """Location of a picture's bytes in the temporary file."""

    start: int
    size: int
    path: str | None


class References:
    """The samples of an SFT input as rows without rejected answers.

    Attributes:
        name: of the input.
        digest: of the input and of what is read of it.
        dropped: rows that give no sample.

    Raises:
        UsageError: the input cannot be used.
    """

    def __init__(self, input: str, options: SourceOptions) -> None:
        path = Path(input).expanduser()
        self.name = path.resolve().name if path.exists() else redact(input)
        read = {name: str(value) for name, value in asdict(options).items() if name not in ("image_root", "seed")}
        read["seed"] = str(options.seed) if options.sample else ""
        identity = json.dumps([sources.fingerprint(input, options), read])
        self.digest = f"sha256:{hashlib.sha256(identity.encode()).hexdigest()}"
        self.dropped: list[Dropped] = []
        self._root, self._fetch = options.root(input), fetch if options.allow_urls else None
        self._bytes = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the rows are read
        weakref.finalize(self, self._bytes.close)
        self._samples: list[Sample] = []
        self._kept: list[tuple[_Kept | ImageRef | Image, ...]] = []
        for row in sources.read(input, options):
            if isinstance(row, Dropped):
                self.dropped.append(row)
            else:
                self._samples.append(replace(row, images=()))
                self._kept.append(tuple(self._keep(image) for image in row.images))
        self._bytes.flush()

    def __len__(self) -> int:
        return len(self._samples)

    def read(self) -> Iterator[dict[str, object] | Dropped]:
        """Every row in order, or a `Dropped` with the reason."""
        for number in range(len(self)):
            found = self._loaded(number)
            yield found if isinstance(found, Dropped) else dict(_table([found]).to_pylist()[0])

    def take(self, rows: Sequence[int]) -> pa.Table:
        """Rows by number, as `Stored.take` gives them.

        Raises:
            EnvironmentFault: a picture is gone that was there before.
        """
        found = []
        for number in rows:
            sample = self._loaded(number)
            if isinstance(sample, Dropped):
                raise EnvironmentFault(f"{sample.reason}: {sample.detail}; it could be read when the run began")
            found.append(sample)
        return _table(found)

    def _keep(self, image: ImageRef | Image) -> _Kept | ImageRef | Image:
        if not isinstance(image, ImageRef) or image.data is None:
            return image
        start = self._bytes.seek(0, os.SEEK_END)
        self._bytes.write(image.data)
        return _Kept(start, len(image.data), image.path)

    def _loaded(self, number: int) -> Sample | Dropped:
        images: list[ImageRef | Image] = []
        for kept in self._kept[number]:
            if isinstance(kept, _Kept):
                data = os.pread(self._bytes.fileno(), kept.size, kept.start)
                images.append(ImageRef(path=kept.path, data=data))
            else:
                images.append(kept)
        return load_images(replace(self._samples[number], images=tuple(images)), self._root, self._fetch)


def opened(inputs: Sequence[Path | str], options: SourceOptions | None) -> list[Stored | References]:
    """Open the runs or the SFT input to train on.

    Args:
        inputs: folders of runs; SFT data as a path, or as text if it is an address or a Hub id.
        options: how SFT data is read; None where rows must have rejected answers.

    Raises:
        UsageError: one is neither a finished run nor, where that is of use, SFT data.
    """
    found: list[Stored | References] = []
    for given in inputs:
        if isinstance(given, Path) and (options is None or Layout(given).plan.exists()):
            found.append(Stored(given))
        elif options is None:
            raise UsageError(f"{redact(str(given))} is no folder of a run")
        else:
            found.append(References(str(given), options))
    if options is not None and not any(isinstance(run, References) for run in found):
        told = [name for name, value in asdict(options).items() if value != asdict(SourceOptions())[name]]
        if told := [name for name in told if name != "seed"]:
            raise UsageError(f"--{told[0].replace('_', '-')} is for SFT data; all of these are finished runs")
    return found


def _table(samples: Sequence[Sample]) -> pa.Table:
    pairs = [
        Pair(sample, METHOD, "", sample.answer or "", "", iteration=0, similarity=None, seed=0) for sample in samples
    ]
    return to_table(pairs, Provenance("", "", ""))
