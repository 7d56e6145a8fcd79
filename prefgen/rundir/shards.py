"""Writing a run directory: plan, atomic commits, resume, and the finished data set.

`prefgen.rundir.layout` lists the files. A kill at any moment leaves either a file without a reference, which is written
again, or a completed step, which is not repeated. No content of data/ depends on time, so a resumed run ends with the
bytes of an uninterrupted one.

Several processes may fill one directory. What they share changes only under the run's lock: the first process
writes the plan, a shard is committed by the rename of its record unless it has one already, and the process that finds
none missing writes the data set. So a shard that two processes made counts once.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefgen import durable
from prefgen.durable import Content
from prefgen.errors import CorruptRun, EnvironmentFault
from prefgen.records import Dropped, Outcome, Pair
from prefgen.rundir import schema, writers
from prefgen.rundir.layout import Commit, Digest, Layout, Plan, Scalar, json_bytes, read_commit
from prefgen.rundir.writers import Part, Writer

__all__ = ["Plan", "RunDirectory", "Scalar"]

_MANIFEST_VERSION = 1


class RunDirectory:
    """A run's output directory. A context manager; leaving it releases the writer's lock."""

    def __init__(self, out: Path, plan: Plan, part: Part) -> None:
        self.out = out
        self.plan = plan
        self.part = part
        self._at = Layout(out)
        self._gate = writers.gate(self._at)
        self._writer: Writer | None = None
        self._name = uuid.uuid4().hex[:8]  # of what is ours in tmp/
        self._commits: dict[int, Commit] = {}

    @classmethod
    def open(cls, out: Path, plan: Plan, part: Part | None = None) -> RunDirectory:
        """Start a run in `out`, or resume the one that is there.

        Args:
            part: the shards that are ours, beside writers of the other parts; None for all.

        Raises:
            UsageError: if `out` holds something else. Locked: if another process is writing to it.
            CorruptRun: if it was started with other settings, or what was committed is gone.
            EnvironmentFault: if it cannot be written to.
        """
        run = cls(out, plan, part or Part())
        with durable.environment(out):
            writers.refuse_foreign(run._at)
            for folder in run._at.folders():
                os.makedirs(folder, exist_ok=True)
            with writers.patiently(run._gate, run._at):
                run._writer = Writer(run._at, run.part)
                try:
                    run._start_or_resume()
                except BaseException:
                    run._writer.leave()
                    raise
        return run

    @classmethod
    def join(cls, out: Path, plan: Plan | None = None) -> RunDirectory:
        """Work in a run that another process has opened, or that no process works on.

        Args:
            plan: what is believed to be the run's; None to take it as it is.

        Raises:
            UsageError: if there is no run. CorruptRun: if it was started with other settings.
        """
        run = cls(out, plan or Layout(out).read_plan(), Part())
        run._refuse_drift()
        return run

    @property
    def finished(self) -> bool:
        """True if the run is finalised; costs one look at the file system."""
        return self._at.manifest_digest.exists()

    def pending(self) -> list[int]:
        """Numbers of the shards that this process still has to fill, in order."""
        return [shard for shard in self._missing() if self.part.holds(shard)]

    def remaining(self) -> int:
        """Number of uncommitted shards of the whole run."""
        return len(self.plan.shards) - self._at.recorded()

    def committed(self, shard: int) -> bool:
        """True if a shard is committed, by any process."""
        return self._at.record(shard).exists()

    def _missing(self) -> list[int]:
        return [shard for shard in range(len(self.plan.shards)) if shard not in self._commits]

    def commit(
        self, shard: int, outcomes: Sequence[Outcome], provenance: schema.Provenance, seconds: float = 0.0
    ) -> None:
        """Commit a shard: after this returns, no kill or power cut can lose it.

        If another process has committed it meanwhile, it stays as it is.

        Args:
            outcomes: one per sample of the shard's range, in sample order.
            seconds: time spent on it, for the report.

        Raises:
            EnvironmentFault: if it cannot be written; earlier shards are untouched and the run can be resumed.
            ValueError: if the outcomes are not those of this shard.
        """
        rows = self.plan.shards[shard]
        if len(outcomes) != len(rows):
            raise ValueError(f"shard {shard}: {len(outcomes)} outcomes for {len(rows)} planned rows")
        pairs = [outcome for outcome in outcomes if isinstance(outcome, Pair)]
        drops = [(row, outcome) for row, outcome in zip(rows, outcomes, strict=True) if isinstance(outcome, Dropped)]
        if len({pair.sample.row_id for pair in pairs}) != len(pairs):
            raise ValueError(f"shard {shard}: two pairs have the same id")
        tokens = sum(outcome.tokens for outcome in outcomes)
        self._commit(shard, schema.to_table(pairs, provenance), drops, tokens, seconds, provenance.plain())

    def commit_rows(
        self,
        shard: int,
        table: pa.Table,
        provenance: Mapping[str, Any],
        seconds: float = 0.0,
        drops: Sequence[tuple[int, Dropped]] = (),
    ) -> None:
        """As `commit`, for finished rows of other runs, which are stored as they are given.

        Args:
            table: a row for each planned row of the shard's range that is not dropped, of
                `prefgen.rundir.schema.SCHEMA`.
            provenance: what the selection records of itself; what made each row stands in the row.
            drops: planned rows that are dropped, each with its number, in order.

        Raises:
            EnvironmentFault, ValueError: as `commit`.
        """
        if table.num_rows + len(drops) != len(self.plan.shards[shard]):
            given = f"{table.num_rows} rows and {len(drops)} dropped ones"
            raise ValueError(f"shard {shard}: {given} for {len(self.plan.shards[shard])} planned")
        tokens = sum(dropped.tokens for _, dropped in drops)
        self._commit(shard, table, drops, tokens, seconds, provenance)

    def _commit(
        self,
        shard: int,
        table: pa.Table,
        drops: Sequence[tuple[int, Dropped]],
        tokens: int,
        seconds: float,
        provenance: Mapping[str, Any],
    ) -> None:
        if shard in self._commits:
            raise ValueError(f"shard {shard} is committed already")
        rows = self.plan.shards[shard]
        encoded = schema.encode(table)
        lines = "".join(json.dumps({"row": row, **asdict(drop)}) + "\n" for row, drop in drops).encode()
        with durable.environment(self.out):
            staged = self._stage(self._at.part(shard), encoded) if table.num_rows else None
            if staged:
                _check_written(staged, encoded, table.num_rows)
            with self._gate:
                if self.committed(shard):
                    self._commits[shard] = read_commit(self._at.record(shard))
                    if staged:
                        os.unlink(staged)
                    return
                if staged:
                    durable.publish(staged, self._at.part(shard))
                commit = Commit(
                    shard=shard,
                    start=rows.start,
                    stop=rows.stop,
                    pairs=table.num_rows,
                    dropped=dict(Counter(drop.reason for _, drop in drops)),
                    part=_digest(encoded) if staged else None,
                    drops=self._put(self._at.drops(shard), lines) if drops else None,
                    tokens=tokens,
                    seconds=seconds,
                    provenance=provenance,
                )
                self._put(self._at.record(shard), commit.to_json())
        self._commits[shard] = commit

    def finalize(
        self,
        card: Callable[[Path], str],
        preview: Callable[[Path], str] | None = None,
        samples: Callable[[Path], Mapping[str, bytes]] | None = None,
    ) -> None:
        """Make the data set of the committed shards. Does nothing if that is done; can be repeated after a kill.

        Args:
            card: makes the text of README.md, given `out`; called when data/ is in place.
            preview: likewise that of preview.html; not called for a run without a pair, which has nothing to show.
            samples: likewise the pictures that the card shows, by file name; called before `card`.

        Raises:
            CorruptRun: if the counts do not add up, or something foreign stands in data/.
            EnvironmentFault: if it cannot be written. ValueError: if shards are still pending.
        """
        with durable.environment(self.out), self._gate:
            if self.finished:
                return
            self._read_commits()
            if self._missing():
                raise ValueError(f"{len(self._missing())} shards are still pending")
            self._clear()
            self._move_parts()
            self._complete(card, preview, samples)

    def _complete(
        self,
        card: Callable[[Path], str],
        preview: Callable[[Path], str] | None,
        samples: Callable[[Path], Mapping[str, bytes]] | None,
    ) -> None:
        """Write the files beside data/, the manifest last."""
        if samples:
            os.makedirs(self._at.samples, exist_ok=True)
            for name, content in samples(self.out).items():
                self._put(self._at.samples / name, content)
        self._put(self._at.card, card(self.out).encode())
        if preview and any(commit.pairs for commit in self._commits.values()):
            self._put(self._at.preview, preview(self.out).encode())
        self._put(self._at.dataset_info, json_bytes(schema.llama_factory_info(self.out.resolve().name)))
        digest = self._put(self._at.manifest, json_bytes(self._manifest()))
        self._put(self._at.manifest_digest, f"{digest.sha256}  {self._at.manifest.name}\n".encode())

    def replace_card(self, text: str) -> None:
        """Replace a finished run's dataset card. If it is killed meanwhile, `finalize` completes it.

        Raises:
            CorruptRun, EnvironmentFault: as `finalize`. ValueError: if the run is not finished.
        """
        if not self.finished:
            raise ValueError(f"{self.out} is not finished")
        with durable.environment(self.out), self._gate:
            self._read_commits()
            self._at.manifest_digest.unlink()
            self._complete(lambda _: text, None, None)

    def close(self) -> None:
        """Release the writer's lock."""
        if self._writer:
            with durable.environment(self.out), self._gate:
                self._writer.leave()
            self._writer = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except EnvironmentFault:
            if error is None:  # else that is what went wrong; the system gives up the lock
                raise

    def _start_or_resume(self) -> None:
        if self._writer and self._writer.alone:
            self._clear()
        if not self._at.plan.exists():
            if self._at.data.exists() or any(self._at.record(0).parent.iterdir()):
                raise CorruptRun(
                    f"{self._at.plan} is missing: restore it from a copy, or give another output directory"
                )
            self._put(self._at.config, self.plan.config.encode())
            self._put(self._at.plan, self.plan.to_json())  # last: from here on the directory is a run
        self._refuse_drift()
        self._read_commits()

    def _clear(self) -> None:
        """Delete temporary files of killed processes."""
        for leftover in self._at.temporary.iterdir():
            os.unlink(leftover)

    def _read_commits(self) -> None:
        self._commits = {commit.shard: commit for commit in self._at.read_commits()}
        if not self.finished:
            self._check_commits()

    def _refuse_drift(self) -> None:
        changes = self._at.read_plan().changes_to(self.plan)
        if changes:
            raise CorruptRun(
                "\n".join([f"{self.out} was started with other settings:", *changes])
                + f"\nSet them back to resume it (they are all in {self._at.config}), or give another output directory."
            )

    def _check_commits(self) -> None:
        """Raise for a record that does not fit the plan, or whose pairs are missing."""
        sizes = {path: path.stat().st_size for path in self._at.parquet_files()}
        targets = {} if self._missing() else self._targets()
        for shard, commit in self._commits.items():
            part = self._at.part(shard)
            planned = shard < len(self.plan.shards) and self.plan.shards[shard] == range(commit.start, commit.stop)
            kept = not commit.part or commit.part.bytes == sizes.get(part, sizes.get(targets.get(shard, part)))
            counted = commit.pairs + sum(commit.dropped.values()) == commit.stop - commit.start
            if not (planned and kept and counted):
                raise CorruptRun(
                    f"shard {shard} of {self.out} was committed with {commit.pairs} pairs of rows {commit.start} to "
                    f"{commit.stop}, but that is not what is planned, or {part} is missing or damaged: restore it, or "
                    f"delete {self._at.record(shard)} to have the shard made again"
                )

    def _targets(self) -> dict[int, Path]:
        """The final path of each shard with a pair; known once every shard is committed."""
        shards = sorted(shard for shard, commit in self._commits.items() if commit.pairs)
        names = (f"train-{place:05d}-of-{len(shards):05d}.parquet" for place in range(len(shards)))
        return {shard: self._at.data / name for shard, name in zip(shards, names, strict=True)}

    def _move_parts(self) -> None:
        os.makedirs(self._at.data, exist_ok=True)
        durable.sync(self.out)
        targets = self._targets()
        for shard, target in targets.items():
            if not target.exists():  # otherwise it was moved before a kill
                os.replace(self._at.part(shard), target)
        durable.sync(self._at.data)
        foreign = {*self._at.data.iterdir()} - {*targets.values()}
        if foreign:
            raise CorruptRun(f"{min(foreign)} is no file of this run: move it away and repeat the command")

    def _manifest(self) -> dict[str, object]:
        commits = [self._commits[shard] for shard in sorted(self._commits)]
        dropped = sum((Counter(commit.dropped) for commit in commits), Counter[str]())
        pairs = sum(commit.pairs for commit in commits)
        if pairs + dropped.total() != self.plan.rows:
            raise CorruptRun(
                f"{self.out}: {self.plan.rows} rows planned, but {pairs} pairs and {dropped.total()} dropped"
            )
        # What was checked at its commit is not hashed again: damage since then must not become the record.
        digests = {target: self._commits[shard].part for shard, target in self._targets().items()}
        digests |= {self._at.drops(commit.shard): commit.drops for commit in commits if commit.drops}
        pages = [path for path in (self._at.preview, *sorted(self._at.samples.glob("*"))) if path.exists()]
        for path in (self._at.card, *pages, self._at.dataset_info, self._at.plan, self._at.config):
            digests[path] = _digest(path.read_bytes())
        digests |= {self._at.record(commit.shard): _digest(commit.to_json()) for commit in commits}
        files = {path.relative_to(self.out).as_posix(): asdict(digest) for path, digest in digests.items() if digest}
        return {
            "version": _MANIFEST_VERSION,
            "rows": {"planned": self.plan.rows, "pairs": pairs, "dropped": dropped},
            "settings": self.plan.settings(),
            "provenance": _distinct(commit.provenance for commit in commits),
            "tokens": sum(commit.tokens for commit in commits),
            "seconds": sum(commit.seconds for commit in commits),
            "files": files,
        }

    def _put(self, path: Path, content: Content) -> Digest:
        """Write `content` to `path` atomically."""
        durable.publish(self._stage(path, content), path)
        return _digest(content)

    def _stage(self, path: Path, content: Content) -> Path:
        """Write the future content of `path` to a temporary file; returns its path."""
        temporary = self._at.temporary / f"{self._name}-{path.name}"
        durable.write(temporary, content)
        return temporary


def _check_written(path: Path, content: Content, rows: int) -> None:
    """Read a Parquet file back and compare it before it is committed."""
    written = path.read_bytes()
    if _digest(written) != _digest(content):
        raise EnvironmentFault(f"{path} does not read back as it was written: check the disk")
    with pq.ParquetFile(pa.BufferReader(written)) as file:
        table = file.read()
    if table.num_rows != rows or not table.schema.equals(schema.SCHEMA, check_metadata=True):
        raise RuntimeError(f"{path} holds {table.num_rows} rows instead of {rows}, or another schema")


def _distinct(values: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def _digest(content: Content) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest(), len(memoryview(content)))
