"""Paths of a run directory, and readers for its metadata files.

OUT/
  data/train-00000-of-000NN.parquet   one file per shard that holds a pair; appears when the run is finalised
  README.md  dataset_info.json        dataset card; how LLaMA-Factory reads data/
  preview.html                        a sample of the pairs to look at
  samples/N-N.webp                    the pictures that the dataset card shows
  .prefgen/
    lock                              held while a writer comes or goes, a shard is recorded, or data/ is made
    writers/I-of-N.lock  .json        held while a process writes this part of the run (0-of-1: all), and by whom
    config.lock  plan.json            the settings; the rows planned and the fingerprint of what can change output
    tmp/                              everything is written here, fsynced, and renamed into place
    parts/NNNNNN.parquet              committed shards until they are finalised
    dropped/NNNNNN.jsonl              rows that gave no pair, with reason
    shards/NNNNNN.json                commit records: a shard is done if, and only if, its record exists
    manifest.json  manifest.sha256    digest of every file above; the second one marks the run as finished
    ledger.sqlite  batches/           what a judge behind an API was asked, answered and charged; not in the manifest
    judgements.sqlite                 the same of `prefgen judge`, when the run is finished
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prefgen.errors import CorruptRun, UsageError

Scalar = str | int | float | bool | None

_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """The rows, shards and settings of a run. Runs with equal plans make the same data.

    Attributes:
        rows: number of planned samples, those included that will turn out unreadable.
        shard_size: samples per shard.
        fingerprint: every setting that can change output, by flat name, e.g. ``method.rho`` or ``input_sha256``.
        config: the whole configuration as TOML, stored for the reader and for repeating the run; not compared.
        starts: for each shard the rows of the input before its first sample's, and the outcomes of that row before it;
            not compared, and empty where a resumed run has to read the input from the start.
        repeats: with `starts`, numbers of the rows that are dropped since they repeat an earlier one.
    """

    rows: int
    shard_size: int
    fingerprint: Mapping[str, Scalar]
    config: str = ""
    starts: Sequence[tuple[int, int]] = ()
    repeats: Sequence[int] = ()

    @cached_property
    def shards(self) -> tuple[range, ...]:
        """The sample positions of each shard."""
        starts = range(0, self.rows, self.shard_size)
        return tuple(range(start, min(start + self.shard_size, self.rows)) for start in starts)

    def settings(self) -> dict[str, Scalar]:
        """Every setting that must be the same to resume a run."""
        return {**self.fingerprint, "rows": self.rows, "shard_size": self.shard_size}

    def changes_to(self, other: Plan) -> list[str]:
        """The settings in which another plan differs, with both values."""
        # As JSON, in which 1, 1.0 and true differ, as they may in what they do.
        before, now = ({name: json.dumps(value) for name, value in plan.settings().items()} for plan in (self, other))
        names = sorted({*before, *now} - {_ADDRESS})
        differing = [name for name in names if before.get(name) != now.get(name)]
        return [f"  {name}: {before.get(name, 'not set')} -> {now.get(name, 'not set')}" for name in differing]

    def to_json(self) -> bytes:
        """All fields but `config`, which has its own file."""
        values = {"rows": self.rows, "shard_size": self.shard_size, "fingerprint": dict(self.fingerprint)}
        values |= {"starts": self.starts, "repeats": self.repeats} if self.starts else {}
        return json_bytes({"version": _VERSION, **values})


_ADDRESS = "judge_url"  # recorded by earlier versions; a judge may move


@dataclass(frozen=True)
class Digest:
    """Size and SHA-256 of a file."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Commit:
    """The record of a committed shard.

    Attributes:
        dropped: number of rows dropped, by reason.
        part: the Parquet file; None if the shard has no pair.
        drops: the file of dropped rows, likewise.
        tokens: tokens generated for all its rows.
        seconds: time spent on it.
        provenance: `prefgen.rundir.schema.Provenance` as a dict.
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

    def to_json(self) -> bytes:
        """Inverse of `from_json`."""
        return json_bytes(asdict(self))

    @staticmethod
    def from_json(text: bytes) -> Commit:
        """Inverse of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        for name in ("part", "drops"):
            values[name] = Digest(**values[name]) if values[name] else None
        return Commit(**values)


@dataclass(frozen=True)
class Layout:
    """The paths of a run directory."""

    out: Path

    @property
    def data(self) -> Path:
        """Folder of the finished Parquet files, and nothing else."""
        return self.out / "data"

    @property
    def card(self) -> Path:
        """The dataset card."""
        return self.out / "README.md"

    @property
    def preview(self) -> Path:
        """A page with a sample of the pairs."""
        return self.out / "preview.html"

    @property
    def samples(self) -> Path:
        """Folder of the pictures of the dataset card."""
        return self.out / "samples"

    @property
    def dataset_info(self) -> Path:
        """The description of `data` for LLaMA-Factory."""
        return self.out / "dataset_info.json"

    @property
    def state(self) -> Path:
        """Folder of everything that is not the data set itself, where `datasets` does not look."""
        return self.out / ".prefgen"

    @property
    def lock(self) -> Path:
        """The run's lock, held for moments, see `prefgen.rundir.writers`."""
        return self.state / "lock"

    @property
    def writers(self) -> Path:
        """Locks of the writing processes."""
        return self.state / "writers"

    @property
    def config(self) -> Path:
        """All settings, as TOML."""
        return self.state / "config.lock"

    @property
    def plan(self) -> Path:
        """The `Plan` without its `config`."""
        return self.state / "plan.json"

    @property
    def temporary(self) -> Path:
        """Folder of files that are being written."""
        return self.state / "tmp"

    @property
    def manifest(self) -> Path:
        """Digests of all files of a finished run."""
        return self.state / "manifest.json"

    @property
    def manifest_digest(self) -> Path:
        """Digest of the manifest, in the format of ``sha256sum``; exists only in a finished run."""
        return self.state / "manifest.sha256"

    @property
    def ledger(self) -> Path:
        """Paid calls and their replies."""
        return self.state / "ledger.sqlite"

    @property
    def judgements(self) -> Path:
        """Paid calls about a finished run's pairs, see `prefgen.evaluate.judge`."""
        return self.state / "judgements.sqlite"

    @property
    def batches(self) -> Path:
        """Request files of a batch API."""
        return self.state / "batches"

    def part(self, shard: int) -> Path:
        """A committed shard's pairs, until the run is finalised."""
        return self.state / "parts" / f"{shard:06d}.parquet"

    def drops(self, shard: int) -> Path:
        """A committed shard's dropped rows."""
        return self.state / "dropped" / f"{shard:06d}.jsonl"

    def record(self, shard: int) -> Path:
        """A committed shard's `Commit`."""
        return self.state / "shards" / f"{shard:06d}.json"

    def folders(self) -> tuple[Path, ...]:
        """Folders that must exist before anything is written."""
        return (self.temporary, self.writers, self.part(0).parent, self.drops(0).parent, self.record(0).parent)

    def read_plan(self) -> Plan:
        """The plan of the run.

        Raises:
            UsageError: if there is no run.
            CorruptRun: if its plan is damaged.
        """
        if not self.plan.exists():
            raise UsageError(f"{self.out} holds no prefgen run: {self.plan} is missing")
        try:
            stored = json.loads(self.plan.read_bytes())
            config = self.config.read_text(encoding="utf-8")
            repeats = stored.get("repeats")
            starts = [(row, given) for row, given in stored.get("starts", ())] if repeats is not None else ()
            return Plan(stored["rows"], stored["shard_size"], stored["fingerprint"], config, starts, repeats or ())
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise CorruptRun(f"{self.plan} or {self.config} is damaged ({error!r}): restore it from a copy") from error

    def recorded(self) -> int:
        """Number of committed shards, from one directory listing."""
        return sum(1 for _ in self.record(0).parent.glob("*.json"))

    def read_commits(self) -> list[Commit]:
        """The commit records, in shard order.

        Raises:
            CorruptRun: if one is damaged.
        """
        return [read_commit(path) for path in sorted(self.record(0).parent.glob("*.json"))]

    def parquet_files(self) -> list[Path]:
        """Every committed Parquet file, in row order; in both folders if a run was killed while it was finalized."""
        committed = {path.stem for path in self.record(0).parent.glob("*.json")}
        parts = [path for path in sorted(self.part(0).parent.glob("*.parquet")) if path.stem in committed]
        return [*sorted(self.data.glob("train-*.parquet")), *parts]  # moved in row order, so what is left comes after

    def no_pairs(self) -> UsageError:
        """The error of a reader that found no row, which says whether a run is on its way."""
        if self.plan.exists() and not self.manifest.exists():
            return UsageError(f"{self.out} holds no pairs yet: its run is unfinished, and no committed shard has one")
        return UsageError(f"{self.out} holds no pairs: give the folder of a data set, with its data/train-*.parquet")

    def read_dropped(self) -> Iterator[dict[str, Any]]:
        """The dropped rows: the fields of `prefgen.records.Dropped`, and ``row``, the position in the plan."""
        for commit in self.read_commits():
            if commit.drops:
                for line in self.drops(commit.shard).read_text(encoding="utf-8").splitlines():
                    yield json.loads(line)


def read_commit(path: Path) -> Commit:
    """A commit record.

    Raises:
        CorruptRun: if it is damaged.
    """
    try:
        return Commit.from_json(path.read_bytes())
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRun(f"{path} is damaged ({error!r}): delete it to have the shard made again") from error


def json_bytes(value: object) -> bytes:
    """Indented JSON, the same bytes for the same value."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"
