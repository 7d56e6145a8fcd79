"""The scenes as files of benchmarks, whose truth is known exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prefgen.evaluate.scenes import export
from prefgen.evaluate.scenes.heldout import heldout
from prefgen.evaluate.scenes.truth import Scene


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def scenes(count: int) -> list[Scene]:
    return [item.scene for item in heldout(count)]


def write(folder: Path, count: int) -> Path:
    """Pictures, POPE's three files, COCO's instances and captions, and a list of words."""
    export.write(folder, scenes(count), export.Frequencies.of(scenes(count)))
    return folder
