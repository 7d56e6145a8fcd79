"""Writing of a selection as a run: rows are copied shard by shard."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from prefgen.errors import UsageError
from prefgen.rundir.layout import Plan, Scalar
from prefgen.rundir.schema import SCHEMA, SCHEMA_VERSION
from prefgen.rundir.shards import RunDirectory
from prefgen.select.keys import rejected
from prefgen.select.selection import Selection, renamed
from prefgen.signals import Interrupts


@dataclass(frozen=True)
class SelectJob:
    """Settings of the run of a selection.

    Attributes:
        operation: e.g. ``mix``.
        options: its settings, by flat name.
    """

    operation: str
    options: Mapping[str, Scalar]
    selection: Selection
    output: Path
    shard_size: int
    config: str = ""

    def plan(self) -> Plan:
        """The plan, with the sources of rows and the counts of those left out.

        Raises:
            UsageError: if nothing was selected.
        """
        chosen = self.selection
        if not len(chosen):
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in chosen.left_out.items()) or "no input row"
            raise UsageError(f"{self.operation} leaves no row ({reasons})")
        settings: dict[str, Scalar] = {"method": self.operation, "schema": SCHEMA_VERSION, **self.options}
        for number, stored in enumerate(chosen.inputs):
            settings |= {f"input.{number}": stored.name, f"input.{number}.manifest_sha256": stored.digest}
            settings[f"input.{number}.rows"] = len(stored)
        settings |= {f"left_out.{reason}": count for reason, count in chosen.left_out.items()}
        return Plan(len(chosen), self.shard_size, settings, self.config)


def fill(job: SelectJob, directory: RunDirectory) -> None:
    """Copy and commit the rows of every pending shard.

    Raises:
        Stopped: if a signal came; the shard that was in flight has been committed.
    """
    provenance = {"engine": job.operation, "versions": {"prefgen": importlib.metadata.version("prefgen")}}
    seen: set[int] = set()
    pending = set(directory.pending())
    with Interrupts() as interrupts:
        for shard, positions in enumerate(directory.plan.shards):
            started = time.monotonic()
            table = _rows(job.selection, positions)
            table = _with_own_ids(table, seen)  # of committed shards as well: theirs are taken
            if shard in pending:
                directory.commit_rows(shard, table, provenance, time.monotonic() - started)
                interrupts.check()


def _rows(chosen: Selection, positions: range) -> pa.Table:
    which = chosen.which[positions.start : positions.stop]
    rows = chosen.rows[positions.start : positions.stop]
    order: list[int] = []
    pieces: list[pa.Table] = []
    for number, stored in enumerate(chosen.inputs):
        places = np.flatnonzero(which == number)
        order += places.tolist()
        if len(places):
            pieces.append(stored.take(rows[places].tolist()))
    table = pa.concat_tables(pieces).take(np.argsort(order)).combine_chunks()
    if chosen.merge is not None and chosen.partners is not None:
        partners = chosen.partners[positions.start : positions.stop]
        table = chosen.merge(table, chosen.inputs[-1].take(partners.tolist()))
    if chosen.change is not None:
        table = chosen.change(table)
    return table.cast(SCHEMA)


def _with_own_ids(table: pa.Table, seen: set[int]) -> pa.Table:
    """Give a row another id if an earlier row has the same one with another rejected answer."""
    ids: list[str] = table["id"].to_pylist()
    for place, row_id in enumerate(ids):
        if int(row_id, 16) in seen:
            row = {name: table[name][place].as_py() for name in ("rejected_response", "meta")}
            ids[place] = renamed(row_id, rejected(row))
        seen.add(int(ids[place], 16))
    at = table.schema.get_field_index("id")
    return table.set_column(at, table.schema.field(at), pa.array(ids, pa.string()))
