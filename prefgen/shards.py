"""The run directory: plan, atomic commits, resume and the finished data set.

    OUT/
      data/train-00000-of-000NN.parquet   one file per shard that holds a pair; appears when the run is finalised
      README.md  dataset_info.json        dataset card; how LLaMA-Factory reads data/
      .prefgen/
        lock  owner.json                  held while a process writes here, and by whom
        config.lock  plan.json            the settings; the rows planned and the fingerprint of what can change output
        tmp/                              everything is written here, fsynced, and renamed into place
        parts/NNNNNN.parquet              committed shards until they are finalised
        dropped/NNNNNN.jsonl              rows that gave no pair, with reason
        shards/NNNNNN.json                commit records: a shard counts as done when, and only when, its record exists
        manifest.json  manifest.sha256    digest of every file above; the second one marks the run as finished

A kill at any moment leaves either a file that nothing refers to, which is written again, or a completed step, which is
not repeated. Nothing that depends on time goes into data/, so a resumed run ends with the bytes of an unbroken one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from prefgen import schema
from prefgen.errors import CorruptRun, EnvironmentFault, Locked, UsageError
from prefgen.records import Dropped, Outcome, Pair

Scalar = str | int | float | bool | None

STATE = ".prefgen"
_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """What a run is to do. Two runs with equal plans make the same data.

    Attributes:
        rows: number of planned samples, those included that will turn out unreadable.
        shard_size: samples per shard.
        fingerprint: every setting that can change output, by flat name, e.g. ``method.rho`` or ``input_sha256``.
        config: the whole configuration as TOML, stored for the reader and for repeating the run; not compared.
    """

    rows: int
    shard_size: int
    fingerprint: Mapping[str, Scalar]
    config: str = ""

    @property
    def shards(self) -> tuple[range, ...]:
        """The sample positions of each shard."""
        starts = range(0, self.rows, self.shard_size)
        return tuple(range(start, min(start + self.shard_size, self.rows)) for start in starts)

    def settings(self) -> dict[str, Scalar]:
        """Everything that must be the same for a run to be resumed."""
        return {**self.fingerprint, "rows": self.rows, "shard_size": self.shard_size}


@dataclass(frozen=True)
class Digest:
    """What a file must contain."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Commit:
    """The record of a finished shard.

    Attributes:
        part: the Parquet file; None if the shard has no pair. drops: the file of dropped rows, likewise.
        tokens: tokens generated for all its rows. seconds: time spent on it.
        provenance: `prefgen.schema.Provenance` as a dict.
    """

    shard: int
    start: int
    stop: int
    pairs: int
    dropped: Mapping[str, int]
    part: Digest | None
    drops: Digest | None
    tokens: int
    seconds: float
    provenance: Mapping[str, Any]

    @staticmethod
    def from_json(text: str) -> Commit:
        """Inverse of ``json.dumps(asdict(commit))``."""
        values = json.loads(text)
        digests = {key: Digest(**values.pop(key)) if values[key] else values.pop(key) for key in ("part", "drops")}
        return Commit(**values, **digests)


class RunDirectory:
    """A run's output directory, locked for this process. A context manager; leaving it gives up the lock."""

    def __init__(self, out: Path, plan: Plan, lock: filelock.BaseFileLock) -> None:
        self.out = out
        self.plan = plan
        self._state = out / STATE
        self._lock = lock
        self._commits: dict[int, Commit] = {}

    @classmethod
    def open(cls, out: Path, plan: Plan) -> RunDirectory:
        """Start a run in `out`, or go on with the one that is there.

        Raises:
            UsageError: if `out` holds something else.
            Locked: if another process is writing to it.
            CorruptRun: if it was started with other settings, or what was committed is gone.
            EnvironmentFault: if it cannot be written to.
        """
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Whether the run is finalised; costs one look at the file system."""
        return (self._state / "manifest.sha256").exists()

    def pending(self) -> list[int]:
        """Numbers of the shards that are still to do, in order."""
        return [shard for shard in range(len(self.plan.shards)) if shard not in self._commits]

    def commit(
        self, shard: int, outcomes: Sequence[Outcome], provenance: schema.Provenance, seconds: float = 0.0
    ) -> None:
        """Store a shard for good: once this returns, no kill and no power cut undoes it.

        Args:
            outcomes: one per sample of the shard's range, in sample order.
            seconds: time spent on it, for the report.

        Raises:
            EnvironmentFault: if it cannot be written; earlier shards are untouched and the run can be resumed.
        """
        raise NotImplementedError

    def finalize(self, card: Callable[[Path], str]) -> None:
        """Turn the committed shards into the data set. Does nothing if that is done; can be repeated after a kill.

        Args:
            card: makes the text of README.md, given `out`; called when data/ is in place.

        Raises:
            CorruptRun: if the counts do not add up, or something foreign stands in data/.
            EnvironmentFault: if it cannot be written.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give up the lock."""
        raise NotImplementedError

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_plan(out: Path) -> Plan:
    """The plan of the run in `out`, without locking it.

    Raises:
        UsageError: if there is no run in `out`.
    """
    raise NotImplementedError


def read_commits(out: Path) -> list[Commit]:
    """The commit records of the run in `out`, in shard order."""
    raise NotImplementedError


def parquet_files(out: Path) -> list[Path]:
    """Every committed Parquet file of the run in `out`, finalised or not, in row order."""
    raise NotImplementedError


def read_dropped(out: Path) -> Iterator[dict[str, Any]]:
    """The dropped rows of the run in `out`: the fields of `Dropped`, and ``row``, the position in the plan."""
    raise NotImplementedError
