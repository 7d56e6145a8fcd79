"""Missing images, counted before a run, and the --image-root under which most of them would be found.

Folders are listed once instead of asking the file system about every row, and no image is opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from prefgen.errors import RowError
from prefgen.images import ImageRoot
from prefgen.records import Dropped, ImageRef, Sample

EXAMPLES = 3
TRIED_PATHS = 100
TRIED_FOLDERS = 300


@dataclass(frozen=True)
class MissingReport:
    """Result of `missing_report`.

    Attributes:
        images: different image paths that the samples name.
        missing: those that were not found.
        samples: samples with at least one missing image.
        examples: the first few missing paths.
        root: the folder nearby under which most of the missing images lie, or None if it would find none.
        tried: missing paths that were looked for under it.
        found: those that are there.
        guessed: images that were found by a rule of `prefgen.image_names`, by rule.
        ambiguous: of the missing, those that several files fit.
        linked: those that are links out of the root.
        hint: what the first missing path may mean, and the option that would take it.
    """

    images: int
    missing: int
    samples: int
    examples: tuple[str, ...] = ()
    root: Path | None = None
    tried: int = 0
    found: int = 0
    guessed: Mapping[str, int] = field(default_factory=dict)
    ambiguous: int = 0
    linked: int = 0
    hint: str = ""

    def describe(self) -> str:
        """The report in a sentence or two."""
        guesses = "".join(
            f" {count:,} of them only by {_RULES[how]}: flag image-{how} in the rows."
            for how, count in self.guessed.items()
        )
        if not self.missing:
            return f"All {self.images:,} images were found.{guesses}"
        text = (
            f"{self.missing:,} of {self.images:,} images were not found ({self.samples:,} samples), "
            f"e.g. {', '.join(path[:200] for path in self.examples)}."
        )
        if self.ambiguous:
            text += f" {self.ambiguous:,} of them may be any of several files: set --image-root to the folder meant."
        if self.linked:
            text += f" {self.linked:,} of them are links out of the folder of the images: --follow-links allows that."
        if guesses:
            text += f" Of those found,{guesses.replace(' of them', '')}"
        if self.hint and (self.root is None or self.hint.startswith("is it")):
            return f"{text} For {self.examples[0][:200]}: {self.hint}."
        if self.ambiguous + self.linked == self.missing:
            return text
        if self.root is not None:
            which = "all" if self.tried == self.missing else "the first"
            option = "--image-root" if self.missing == self.images else "a further --image-root"
            return f"{text} Of {which} {self.tried:,}, {option} {self.root} would find {self.found:,}."
        if self.missing < self.images:
            return f"{text} No folder nearby holds them; their rows are dropped."
        return (
            f"{text} No folder nearby holds them: set --image-root to the folder that does, "
            "or see --image-match where folders have other names."
        )


_RULES = {
    "spelling": "another spelling of the name",
    "tail": "leaving leading folders off",
    "name": "the file name alone",
}


def missing_report(samples: Iterable[Sample | Dropped], root: ImageRoot) -> MissingReport:
    """Look up every image path of `samples` under `root`; if some are missing, look for a root that has them.

    Candidates are the root's folders and the working directory, three levels below them, and two levels above with two
    levels below those.
    """
    exists = _listing()
    known: dict[str, str | None] = {}  # by path: how it was found, or None
    counts: Counter[str] = Counter()
    affected = 0

    def look(path: str) -> str | None:
        try:
            place = root.look(path, exists)
        except RowError:
            counts["ambiguous"] += 1
            return None
        if (
            place is not None
            and not place.archived
            and os.path.islink(place.path)
            and root.leads_out(place.path, Path(place.path).resolve())
        ):
            counts["linked"] += 1
            return None
        return place.how if place is not None else None

    for sample in samples:
        if isinstance(sample, Dropped):
            continue
        lacks = False
        for image in sample.images:
            if isinstance(image, ImageRef) and image.path and image.data is None:
                if image.path not in known:
                    known[image.path] = look(image.path)
                lacks = lacks or known[image.path] is None
        affected += lacks
    missing = [path for path, how in known.items() if how is None]
    guessed = dict(Counter(how for how in known.values() if how))
    if not missing:
        return MissingReport(len(known), 0, 0, guessed=guessed)
    tried = missing[:TRIED_PATHS]
    best: Path | None = None
    most = 0
    for folder in islice(_nearby(root), TRIED_FOLDERS):
        candidate = ImageRoot((folder,))
        found = sum(candidate.locate(path, exists) is not None for path in tried)
        if found > most:
            best, most = folder, found
    return MissingReport(
        len(known),
        len(missing),
        affected,
        tuple(missing[:EXAMPLES]),
        best,
        len(tried),
        most,
        guessed,
        counts["ambiguous"],
        counts["linked"],
        root.hint(missing[0]),
    )


def _listing() -> Callable[[str], bool]:
    """A test for the existence of paths that lists each folder once."""
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
