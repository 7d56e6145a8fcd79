"""Writing a run directory: lock, plan, atomic commits, resume, and the finished data set.

`prefgen.layout` says what stands where. A kill at any moment leaves either a file that nothing refers to, which is
written again, or a completed step, which is not repeated. Nothing that depends on time goes into data/, so a resumed
run ends with the bytes of an unbroken one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from prefgen import schema
from prefgen.errors import CorruptRun, EnvironmentFault, Locked, UsageError
from prefgen.layout import Commit, Digest, Layout, Plan, Scalar, json_bytes
from prefgen.records import Dropped, Outcome, Pair

__all__ = ["Plan", "RunDirectory", "Scalar"]

_Content: TypeAlias = "bytes | pa.Buffer"
_MANIFEST_VERSION = 1


class RunDirectory:
    """A run's output directory, locked for this process. A context manager; leaving it gives up the lock."""

    def __init__(self, out: Path, plan: Plan, lock: filelock.BaseFileLock) -> None:
        self.out = out
        self.plan = plan
        self._at = Layout(out)
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
        at = Layout(out)
        with _environment(out):
            _refuse_foreign(at)
            for folder in at.folders():
                os.makedirs(folder, exist_ok=True)
            lock = _take_lock(at)
            run = cls(out, plan, lock)
            try:
                run._start_or_resume()
            except BaseException:
                lock.release()
                raise
        return run

    @property
    def finished(self) -> bool:
        """Whether the run is finalised; costs one look at the file system."""
        return self._at.manifest_digest.exists()

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
            ValueError: if the outcomes are not those of this shard.
        """
        rows = self.plan.shards[shard]
        if shard in self._commits:
            raise ValueError(f"shard {shard} is committed already")
        if len(outcomes) != len(rows):
            raise ValueError(f"shard {shard}: {len(outcomes)} outcomes for {len(rows)} planned rows")
        pairs = [outcome for outcome in outcomes if isinstance(outcome, Pair)]
        drops = [(row, outcome) for row, outcome in zip(rows, outcomes, strict=True) if isinstance(outcome, Dropped)]
        if len({pair.sample.row_id for pair in pairs}) != len(pairs):
            raise ValueError(f"shard {shard}: two pairs have the same id")
        tokens = sum(outcome.tokens for outcome in outcomes)
        self._commit(shard, schema.to_table(pairs, provenance), drops, tokens, seconds, _plain(provenance))

    def commit_rows(self, shard: int, table: pa.Table, provenance: Mapping[str, Any], seconds: float = 0.0) -> None:
        """Like `commit`, for rows that are finished rows of other runs and pass through as they are.

        Args:
            table: one row per planned row of the shard's range, of `prefgen.schema.SCHEMA`.
            provenance: what the selection records of itself; what made each row stands in the row.

        Raises:
            EnvironmentFault, ValueError: as `commit`.
        """
        if shard in self._commits:
            raise ValueError(f"shard {shard} is committed already")
        if table.num_rows != len(self.plan.shards[shard]):
            raise ValueError(f"shard {shard}: {table.num_rows} rows for {len(self.plan.shards[shard])} planned")
        self._commit(shard, table, [], 0, seconds, provenance)

    def _commit(
        self,
        shard: int,
        table: pa.Table,
        drops: Sequence[tuple[int, Dropped]],
        tokens: int,
        seconds: float,
        provenance: Mapping[str, Any],
    ) -> None:
        rows = self.plan.shards[shard]
        encoded = schema.encode(table)
        lines = "".join(json.dumps({"row": row, **asdict(drop)}) + "\n" for row, drop in drops).encode()
        with _environment(self.out):
            commit = Commit(
                shard=shard,
                start=rows.start,
                stop=rows.stop,
                pairs=table.num_rows,
                dropped=dict(Counter(drop.reason for _, drop in drops)),
                part=self._put_checked(self._at.part(shard), encoded, table.num_rows) if table.num_rows else None,
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
        """Turn the committed shards into the data set. Does nothing if that is done; can be repeated after a kill.

        Args:
            card: makes the text of README.md, given `out`; called when data/ is in place.
            preview: likewise that of preview.html; not called for a run without a pair, which has nothing to show.
            samples: likewise the pictures that the card shows, by file name; called before `card`.

        Raises:
            CorruptRun: if the counts do not add up, or something foreign stands in data/.
            EnvironmentFault: if it cannot be written.
            ValueError: if shards are still pending.
        """
        if self.finished:
            return
        if self.pending():
            raise ValueError(f"{len(self.pending())} shards are still pending")
        with _environment(self.out):
            self._move_parts()
            if samples:
                os.makedirs(self._at.samples, exist_ok=True)
                for name, content in samples(self.out).items():
                    self._put(self._at.samples / name, content)
            self._put(self._at.card, card(self.out).encode())
            if preview and any(commit.pairs for commit in self._commits.values()):
                self._put(self._at.preview, preview(self.out).encode())
            self._put(self._at.dataset_info, json_bytes(_llama_factory_info(self.out.resolve().name)))
            digest = self._put(self._at.manifest, json_bytes(self._manifest()))
            self._put(self._at.manifest_digest, f"{digest.sha256}  {self._at.manifest.name}\n".encode())

    def close(self) -> None:
        """Give up the lock."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._at.owner)
        finally:
            self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_or_resume(self) -> None:
        for leftover in self._at.temporary.iterdir():
            os.unlink(leftover)
        self._put(self._at.owner, json_bytes(_this_process()))
        if not self._at.plan.exists():
            if self._at.data.exists() or any(self._at.record(0).parent.iterdir()):
                raise CorruptRun(
                    f"{self._at.plan} is missing: restore it from a copy, or give another output directory"
                )
            self._put(self._at.config, self.plan.config.encode())
            self._put(self._at.plan, self.plan.to_json())  # last: from here on the directory is a run
        self._refuse_drift()
        self._commits = {commit.shard: commit for commit in self._at.read_commits()}
        if not self.finished:
            self._check_commits()

    def _refuse_drift(self) -> None:
        # As JSON, in which 1, 1.0 and true differ, as they may in what they do.
        before, now = (
            {name: json.dumps(value) for name, value in plan.settings().items()}
            for plan in (self._at.read_plan(), self.plan)
        )
        differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
        if differing:
            changes = (f"  {name}: {before.get(name, 'not set')} -> {now.get(name, 'not set')}" for name in differing)
            raise CorruptRun(
                "\n".join([f"{self.out} was started with other settings:", *changes])
                + f"\nSet them back to resume it (they are all in {self._at.config}), or give another output directory."
            )

    def _check_commits(self) -> None:
        """A record that does not fit the plan, or whose pairs are gone, would make a data set that lacks rows."""
        sizes = {path: path.stat().st_size for path in self._at.parquet_files()}
        targets = {} if self.pending() else self._targets()
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
        """Where each shard that has a pair ends up; known once every shard is committed."""
        shards = sorted(shard for shard, commit in self._commits.items() if commit.pairs)
        names = (f"train-{place:05d}-of-{len(shards):05d}.parquet" for place in range(len(shards)))
        return {shard: self._at.data / name for shard, name in zip(shards, names, strict=True)}

    def _move_parts(self) -> None:
        os.makedirs(self._at.data, exist_ok=True)
        _sync_directory(self.out)
        targets = self._targets()
        for shard, target in targets.items():
            if not target.exists():  # otherwise it was moved before a kill
                os.replace(self._at.part(shard), target)
        _sync_directory(self._at.data)
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

    def _put(self, path: Path, content: _Content) -> Digest:
        """Make `path` hold `content`, all of it or not at all, whatever dies meanwhile."""
        temporary = self._at.temporary / path.name
        _write(temporary, content)
        os.replace(temporary, path)
        _sync_directory(path.parent)
        return _digest(content)

    def _put_checked(self, path: Path, content: _Content, rows: int) -> Digest:
        """Like `_put`, for a Parquet file that is read back before it counts."""
        temporary = self._at.temporary / path.name
        _write(temporary, content)
        written = temporary.read_bytes()
        if _digest(written) != _digest(content):
            raise EnvironmentFault(f"{temporary} does not read back as it was written: check the disk")
        table = pq.read_table(pa.BufferReader(written))
        if table.num_rows != rows or not table.schema.equals(schema.SCHEMA, check_metadata=True):
            raise RuntimeError(f"{temporary} holds {table.num_rows} rows instead of {rows}, or another schema")
        os.replace(temporary, path)
        _sync_directory(path.parent)
        return _digest(content)


def _refuse_foreign(at: Layout) -> None:
    if at.out.exists() and not at.out.is_dir():
        raise UsageError(f"output {at.out} is a file: give a directory")
    if at.out.is_dir() and not at.state.is_dir() and any(at.out.iterdir()):
        raise UsageError(f"output {at.out} is not empty and holds no prefgen run: give an empty or a new directory")


def _take_lock(at: Layout) -> filelock.BaseFileLock:
    """The lock dies with its process, so a stale one is no obstacle."""
    lock = filelock.FileLock(at.lock, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise Locked(
            f"{at.out} is being written by {_owner(at)}: wait for it, or give another output directory"
        ) from None
    return lock


def _owner(at: Layout) -> str:
    try:
        owner = json.loads(at.owner.read_bytes())
    except FileNotFoundError:  # it has just started, or is just ending
        return "another process"
    return f"process {owner['pid']} on {owner['host']}, started {owner['started']}"


def _this_process() -> dict[str, object]:
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": started}


def _llama_factory_info(name: str) -> dict[str, object]:
    """How LLaMA-Factory is told to read data/, for its ``dataset_dir=OUT dataset=NAME``."""
    columns = {
        "prompt": "instruction",
        "history": "history",
        "chosen": "chosen_response",
        "rejected": "rejected_response",
        "images": "images",
    }
    return {name: {"file_name": "data", "formatting": "alpaca", "ranking": True, "columns": columns}}


def _plain(provenance: schema.Provenance) -> dict[str, Any]:
    return {**vars(provenance), "versions": dict(provenance.versions)}


def _distinct(values: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def _digest(content: _Content) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest(), len(memoryview(content)))


def _write(path: Path, content: _Content) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    """Make what was renamed into a directory stay there after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _environment(out: Path) -> Iterator[None]:
    """Say what the machine did, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write to {out}: {error}. What was committed is safe; make room or give access, and repeat the "
            "command to go on"
        ) from error
