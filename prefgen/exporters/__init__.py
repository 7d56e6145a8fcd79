"""A finished run in the formats of others, one file each. prefgen's own shards load in TRL, ms-swift and LLaMA-Factory.

An exporter is a function of the run's rows, a folder to fill and the name of the set. Each row it writes carries, in
one extra column, what the format has no place for, so that importing it again loses nothing (`prefgen.carried`); but
not for Argilla, which is for looking and judging.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prefgen.errors import UsageError
from prefgen.exporters import argilla, llamafactory, llava, mmpr, ms_swift, openai_, staging, trl
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
        UsageError: `to` is unknown, `out` holds other files, or the format has a place for no row.
        Locked, CorruptRun, EnvironmentFault: see `prefgen.exporters.staging.written`.
    """
    if to not in EXPORTERS:
        raise UsageError(f"--to is {to!r}; give one of {', '.join(EXPORTERS)}")

    def write(folder: Path) -> Exported:
        exported = EXPORTERS[to](stored, folder, out.resolve().name)
        if not exported.rows:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in exported.left_out.items())
            raise UsageError(f"{to} has a place for none of the {len(stored):,} rows ({reasons})")
        return exported

    return staging.written(out, {"to": to, "run": stored.digest}, write)
