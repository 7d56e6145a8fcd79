"""Jobs that check the pairs of finished runs: a pair that stays is copied with its verdict, another is dropped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from prefgen.images import ImageRoot
from prefgen.records import Dropped, ImageRef, Outcome, Pair, Sample, StoredSample
from prefgen.rundir.layout import Scalar
from prefgen.rundir.reader import PATHS, REJECTED_PATHS, Stored, asked, loaded_images, rejected_images
from prefgen.rundir.schema import SCHEMA, Provenance
from prefgen.rundir.shards import RunDirectory
from prefgen.runner.launch import Job
from prefgen.select.selection import renamed
from prefgen.sources import Position

_COLUMNS = ["id", "prompt", "chosen_response", "rejected_response", "source", "source_id", "turn", "licence", "meta"]
VERIFIED = "verified"
"""Key of `meta` that holds who verified a pair, and the verdicts."""


@dataclass(frozen=True)
class VerifyJob(Job):
    """A job whose input is finished runs, read one after the other."""

    def read(self, position: Position | None = None) -> Iterator[Sample | Dropped]:
        """The pairs as samples, images not loaded. An id that an earlier pair has is changed, as by `prefgen mix`."""
        seen: set[int] = set()
        for run, stored in enumerate(self._opened()):
            rows = stored.scan([*_COLUMNS, PATHS, REJECTED_PATHS])
            for row, values in enumerate(islice(rows, self.source.limit)):
                sample = _sample(values, run, row)
                if int(sample.id, 16) in seen:
                    sample = dataclasses.replace(sample, id=renamed(sample.id, sample.rejected))
                seen.add(int(sample.id, 16))
                yield sample

    def load(self, row: Sample | Dropped) -> Sample | Dropped:
        """The sample with its images and rejected images."""
        assert isinstance(row, StoredSample)
        [stored] = self._loading[row.run].take([row.row]).select(["images", "rejected_images", "meta"]).to_pylist()
        rejected = rejected_images(stored) if stored["rejected_images"] else ()
        return dataclasses.replace(row, images=loaded_images(stored), rejected_images=rejected)

    def commit(
        self, directory: RunDirectory, shard: int, outcomes: Sequence[Outcome], constants: Provenance, seconds: float
    ) -> None:
        """Commit the rows that stay, each with its verdict, and the others as dropped."""
        drops = [
            (number, outcome)
            for number, outcome in zip(directory.plan.shards[shard], outcomes, strict=True)
            if isinstance(outcome, Dropped)
        ]
        by = {"model": constants.model, "revision": constants.model_revision, "method": self.method.name}
        rows = [self._row(outcome, by) for outcome in outcomes if isinstance(outcome, Pair)]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        directory.commit_rows(shard, table, constants.plain(), seconds, drops)

    def recorded(self) -> dict[str, Scalar]:
        """Names, digests and sizes of the runs."""
        found: dict[str, Scalar] = {"limit": self.source.limit}
        for number, stored in enumerate(self._opened()):
            found |= {f"input.{number}": stored.name, f"input.{number}.manifest_sha256": stored.digest}
            found[f"input.{number}.rows"] = len(stored)
        return found

    @property
    def root(self) -> ImageRoot:
        """No folder: the images are in the rows."""
        return ImageRoot(())

    def _row(self, kept: Pair, by: Mapping[str, str]) -> dict[str, Any]:
        assert isinstance(kept.sample, StoredSample)
        row: dict[str, Any]
        [row] = self._committing[kept.sample.run].take([kept.sample.row]).to_pylist()
        meta = json.loads(row["meta"]) | {VERIFIED: {**by, **kept.record}}
        return row | {"id": kept.sample.id, "meta": json.dumps(meta, sort_keys=True)}

    def _opened(self) -> list[Stored]:
        return [Stored(Path(run)) for run in self.input]

    @cached_property
    def _loading(self) -> list[Stored]:
        """The runs for `load`, which is called in a thread of its own."""
        return self._opened()

    @cached_property
    def _committing(self) -> list[Stored]:
        """The runs for `commit`."""
        return self._opened()

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: another process opens the runs itself."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def _sample(row: Mapping[str, Any], run: int, place: int) -> StoredSample:
    return StoredSample(
        id=row["id"],
        prompt=asked(row),
        images=tuple(ImageRef() for _ in row["images"]),
        answer=row["chosen_response"],
        source=row["source"],
        source_id=row["source_id"],
        turn=row["turn"],
        licence=row["licence"],
        rejected=row["rejected_response"],
        rejected_images=tuple(ImageRef() for _ in row["rejected_images"] or ()),
        run=run,
        row=place,
    )
