"""Which images are not there, and which --image-root would find most of them: asked before a run, not during it.

Folders are listed once instead of asking the file system about every row, and no image is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from prefgen.images import ImageRoot
from prefgen.records import Dropped, ImageRef, Sample

EXAMPLES = 3
TRIED_PATHS = 100
TRIED_FOLDERS = 300


@dataclass(frozen=True)
class MissingReport:
    """What `missing_report` found.

    Attributes:
        images: different image paths that the samples name. missing: those that were not found.
        samples: samples with at least one missing image.
        examples: the first few missing paths.
        root: the folder nearby under which most of the missing images lie, or None if it would find none.
        tried: missing paths that were looked for under it. found: those that are there.
    """

    images: int
    missing: int
    samples: int
    examples: tuple[str, ...] = ()
    root: Path | None = None
    tried: int = 0
    found: int = 0

    def describe(self) -> str:
        """The report as a sentence or two for a person."""
        if not self.missing:
            return f"All {self.images:,} images were found."
        text = (
            f"{self.missing:,} of {self.images:,} images were not found ({self.samples:,} samples), "
            f"e.g. {', '.join(path[:200] for path in self.examples)}."
        )
        if self.root is None:
            return f"{text} No folder nearby holds them: set --image-root to the folder that does."
        which = "all" if self.tried == self.missing else "the first"
        return f"{text} Of {which} {self.tried:,}, --image-root {self.root} would find {self.found:,}."


def missing_report(samples: Iterable[Sample | Dropped], root: ImageRoot) -> MissingReport:
    """Look for every image path of `samples` under `root`, and if some are missing, for a root that has them.

    Candidates are the root's folders and the working directory, three levels below them, and two levels above with two
    levels below those.
    """
    exists = _listing()
    known: dict[str, bool] = {}
    affected = 0
    for sample in samples:
        if isinstance(sample, Dropped):
            continue
        lacks = False
        for image in sample.images:
            if isinstance(image, ImageRef) and image.path and image.data is None:
                if image.path not in known:
                    known[image.path] = root.locate(image.path, exists) is not None
                lacks = lacks or not known[image.path]
        affected += lacks
    missing = [path for path, found in known.items() if not found]
    if not missing:
        return MissingReport(len(known), 0, 0)
    tried = missing[:TRIED_PATHS]
    best: Path | None = None
    most = 0
    for folder in islice(_nearby(root), TRIED_FOLDERS):
        candidate = ImageRoot((folder,))
        found = sum(candidate.locate(path, exists) is not None for path in tried)
        if found > most:
            best, most = folder, found
    return MissingReport(len(known), len(missing), affected, tuple(missing[:EXAMPLES]), best, len(tried), most)


def _listing() -> Callable[[str], bool]:
    """Whether a path exists, from one listing of each folder that is asked about."""
    listed: dict[str, frozenset[str]] = {}

    def exists(path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in listed:
            try:
                listed[folder] = frozenset(os.listdir(folder))
            except OSError:  # no such folder, or not ours to read: nothing in it can be used
                listed[folder] = frozenset()
        return name in listed[folder]

    return exists


def _nearby(root: ImageRoot) -> Iterator[Path]:
    bases = [Path(os.path.abspath(folder)) for folder in (*root.folders, Path.cwd())]
    seen: set[Path] = set()
    for base in bases:
        for start, depth in ((base, 3), *((parent, 2) for parent in base.parents[:2])):
            level = [start]
            for _ in range(depth + 1):
                for folder in level:
                    if folder not in seen:
                        seen.add(folder)
                        yield folder
                level = [child for folder in level for child in _children(folder)][:TRIED_FOLDERS]


def _children(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:  # not there or not ours to read
        return []
    return [folder / name for name in names]
