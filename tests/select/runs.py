"""Finished runs of given pairs, and what stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefgen.records import Image, Pair
from prefgen.rundir.reader import Stored
from prefgen.rundir.shards import Plan, RunDirectory
from prefgen.rundir.verify import verify
from prefgen.select import Selection, SelectJob, fill
from tests import handmade
from tests.handmade import PROVENANCE, ask, card, sample


def picture(shade: int, name: str = "") -> Image:
    return handmade.picture(shade, path=name or f"{shade}.png", width=16, height=12)


def pair(number: int, shade: int | None = None, question: str = "What is it?", **changes: Any) -> Pair:
    """A pair about a picture of its own, or of the shade given."""
    images = changes.pop("images", None) or (picture(number if shade is None else shade),)
    licence = changes.pop("licence", "")
    told = {"chosen": f"A cat {number}.", "rejected": f"A dog {number}.", "spans": (), "cuts": (), "finish": ()}
    of = sample(number, prompt=(ask(question, images=len(images)),), images=images, licence=licence)
    return handmade.pair(number, sample=of, **{**told, **changes})


def stored(out: Path, pairs: Sequence[Pair], shard_size: int = 3) -> Stored:
    """A finished run of these pairs."""
    with RunDirectory.open(out, Plan(len(pairs), shard_size, {"method": "bdhs"})) as run:
        for shard, rows in enumerate(run.plan.shards):
            run.commit(shard, pairs[rows.start : rows.stop], PROVENANCE)
        run.finalize(card)
    return Stored(out)


def table(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted((out / "data").iterdir())])


def write(job: SelectJob) -> None:
    """Make the run of a selection."""
    with RunDirectory.open(job.output, job.plan()) as run:
        fill(job, run)
        run.finalize(card)


def written(selection: Selection, out: Path, shard_size: int = 4) -> list[dict[str, Any]]:
    """The rows of the run that a selection makes, which must be in order."""
    write(SelectJob("test", {}, selection, out, shard_size))
    found = verify(out)
    assert not found.problems, found.problems
    rows: list[dict[str, Any]] = table(out).to_pylist()
    return rows


def chosen_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["chosen_response"] for row in rows]
