"""Formats of preference data, one file each, and published sets in `prefgen.formats.published`.

A format is added by a file with its `Format` and a line in `FORMATS`; a published set by a file with its importer and a
line in `IMPORTERS`. A row that is written carries in one extra column what the format has no place for, so that
importing it again loses nothing (`prefgen.formats.roundtrip_column`); but not for Argilla, which is for looking and
judging. prefgen's own shards load in TRL, ms-swift and LLaMA-Factory without an export.
"""

from __future__ import annotations

from prefgen.formats import (
    ab,
    argilla,
    jsonl,
    llamafactory,
    llava,
    mmpr,
    ms_swift,
    openai_,
    ranked,
    run_rows,
    trl,
    unpaired,
)
from prefgen.formats.base import Exported, Exporter, Format, Importer, Loader
from prefgen.formats.published import PUBLISHED
from prefgen.formats.published.presets import PRESETS, Preset

__all__ = ["EXPORTERS", "FORMATS", "IMPORTERS", "LOADERS", "PRESETS", "Exported", "Format", "Importer", "Preset"]

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        trl,
        llamafactory,
        ms_swift,
        llava,
        mmpr,
        openai_,
        ranked,
        ab,
        unpaired,
        jsonl,
        argilla,
        run_rows,
    )
}
IMPORTERS: dict[str, type[Importer]] = {kind.name: kind for kind in PUBLISHED} | {
    name: found.reader for name, found in FORMATS.items() if found.reader is not None
}
EXPORTERS: dict[str, Exporter] = {name: found.writer for name, found in FORMATS.items() if found.writer is not None}
LOADERS: dict[str, Loader] = {name: found.loader for name, found in FORMATS.items() if found.loader is not None}
