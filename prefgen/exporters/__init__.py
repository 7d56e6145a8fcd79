"""A finished run in the formats of others, one file each. prefgen's own shards load in TRL, ms-swift and LLaMA-Factory.

An exporter writes a run's rows into a folder, and says beforehand which rows its format has no place for. Each row
carries, in one extra column, what the format has no place for, so that importing it again loses nothing
(`prefgen.carried`); but not for Argilla, which is for looking and judging.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

from prefgen.errors import EnvironmentFault, RowError, UsageError
from prefgen.exporters import argilla, jsonl, llamafactory, llava, mmpr, ms_swift, openai_, trl, unpaired
from prefgen.exporters.records import Exported, Exporter, rows
from prefgen.rundir.reader import Stored

__all__ = ["EXPORTERS", "MODULES", "Exported", "export", "plan"]

MODULES: dict[str, ModuleType] = {
    "trl": trl,
    "llamafactory": llamafactory,
    "ms-swift": ms_swift,
    "llava": llava,
    "mmpr": mmpr,
    "openai": openai_,
    "unpaired": unpaired,
    "jsonl": jsonl,
    "argilla": argilla,
}
EXPORTERS: dict[str, Exporter] = {name: module.EXPORTER for name, module in MODULES.items()}


def plan(stored: Stored, to: str) -> Exported:
    """What `export` would write, and which rows it would leave out.

    Raises:
        UsageError: `to` is unknown, or the format has a place for no row.
    """
    if to not in EXPORTERS:
        raise UsageError(f"--to is {to!r}; give one of {', '.join(EXPORTERS)}")
    exporter = EXPORTERS[to]
    left_out: Counter[str] = Counter()
    read = rows(stored, exporter.reads) if "images" in exporter.reads else stored.scan(exporter.reads)
    for row in read:
        try:
            exporter.place({"images": (), "rejected_images": (), **row})
        except RowError as error:
            left_out[error.reason] += 1
    if len(stored) == left_out.total():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise UsageError(f"{to} has a place for none of the {len(stored):,} rows ({reasons})")
    return Exported(len(stored) - left_out.total(), dict(left_out))


def export(stored: Stored, to: str, out: Path) -> Exported:
    """Write the rows of `stored` into `out`, all of them or nothing.

    Args:
        to: a key of `EXPORTERS`.

    Raises:
        UsageError: `to` is unknown, `out` is not empty, or the format has a place for no row.
        EnvironmentFault: `out` cannot be written.
    """
    plan(stored, to)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder: give a new one")
    partial = out.with_name(f".{out.name}.partial")
    try:
        if partial.exists():  # of an export that was killed
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        exported = EXPORTERS[to].write(stored, partial, out.resolve().name)
        if out.exists():
            out.rmdir()
        os.replace(partial, out)
    except OSError as error:
        raise EnvironmentFault(f"cannot write to {out}: {error}; make room or give access, and repeat it") from error
    return exported
