"""A finished run in the formats of others, one file each. prefgen's own shards load in TRL, ms-swift and LLaMA-Factory.

An exporter is a function of the run's rows, a folder to fill and the name of the set. Each row it writes carries, in
one extra column, what the format has no place for, so that importing it again loses nothing (`prefgen.carried`); but
not for Argilla, which is for looking and judging.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from prefgen.errors import EnvironmentFault, UsageError
from prefgen.exporters import argilla, llamafactory, llava, mmpr, ms_swift, openai_, trl
from prefgen.exporters.records import Exported
from prefgen.rundir.reader import Stored

__all__ = ["EXPORTERS", "Exported", "export"]

EXPORTERS: dict[str, Callable[[Stored, Path, str], Exported]] = {
    "trl": trl.write,
    "llamafactory": llamafactory.write,
    "ms-swift": ms_swift.write,
    "llava": llava.write,
    "mmpr": mmpr.write,
    "openai": openai_.write,
    "argilla": argilla.write,
}


def export(stored: Stored, to: str, out: Path) -> Exported:
    """Write the rows of `stored` into `out`, all of them or nothing.

    Args:
        to: a key of `EXPORTERS`.

    Raises:
        UsageError: `to` is unknown, `out` is not empty, or the format has a place for no row.
        EnvironmentFault: `out` cannot be written.
    """
    if to not in EXPORTERS:
        raise UsageError(f"--to is {to!r}; give one of {', '.join(EXPORTERS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder: give a new one")
    partial = out.with_name(f".{out.name}.partial")
    try:
        if partial.exists():  # of an export that was killed
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        exported = EXPORTERS[to](stored, partial, out.resolve().name)
        if not exported.rows:
            shutil.rmtree(partial)
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in exported.left_out.items())
            raise UsageError(f"{to} has a place for none of the {len(stored):,} rows ({reasons})")
        if out.exists():
            out.rmdir()
        os.replace(partial, out)
    except OSError as error:
        raise EnvironmentFault(f"cannot write to {out}: {error}; make room or give access, and repeat it") from error
    return exported
