"""Exclusion of evaluation pictures from training data."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from prefgen.errors import UsageError
from prefgen.image_names import COCO_NAME
from prefgen.rundir.reader import PATHS, REJECTED_PATHS, Stored

REASON = "EVALUATION_IMAGE"
_NAMES = ("image", "image_id", "file_name", "img_path", "image_path")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Excluded:
    """Excluded pictures, by name and digest.

    Attributes:
        names: file names without folder and extension; COCO's numbers in one spelling.
        sha256: digests of encoded bytes.
        digest: of the whole list, for the record; empty if there is none.
    """

    names: frozenset[str] = frozenset()
    sha256: frozenset[str] = frozenset()
    digest: str = field(default="", compare=False)

    @classmethod
    def read(cls, path: Path) -> Excluded:
        """Read a folder of pictures, excluded by bytes and name, or a text file with one picture per line.

        A line holds a file name, a path, an id, or a SHA-256; or it is a JSON object with one of ``image``,
        ``image_id``, ``file_name``, ``img_path`` or ``image_path``, as in POPE's question files. One that begins with
        ``#`` is a comment.

        Raises:
            UsageError: it cannot be read, or names nothing.
        """
        try:
            named = _in_folder(path) if path.is_dir() else path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--exclude-images {path} cannot be read: {error}") from error
        entries = [entry for line in named if (entry := _entry(line, path))]
        if not entries:
            raise UsageError(f"--exclude-images {path} names no image")
        shas = frozenset(entry for entry in entries if _SHA256.fullmatch(entry))
        names = frozenset(_name(entry) for entry in entries if entry not in shas)
        whole = hashlib.sha256("\n".join(sorted(names | shas)).encode()).hexdigest()
        return cls(names, shas, whole)

    def kept(
        self, stored: Stored, columns: Sequence[str], left_out: Counter[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and values of every row without an excluded picture; the others are counted."""
        wanted = list(dict.fromkeys([*columns, PATHS, REJECTED_PATHS, "meta"] if self.digest else columns))
        for number, row in enumerate(stored.scan(wanted)):
            if self.digest and self._hit(row):
                left_out[REASON] += 1
            else:
                yield number, row

    def _hit(self, row: Mapping[str, Any]) -> bool:
        described = json.loads(row["meta"])
        return any(
            self.holds(image["path"], known["sha256"])
            for column in ("images", "rejected_images")
            for image, known in zip(row[column] or (), described[column], strict=True)
        )

    def holds(self, path: str, sha256: str) -> bool:
        """True if a picture is excluded, by its name or digest."""
        return sha256 in self.sha256 or _name(path) in self.names


NOTHING = Excluded()


def _in_folder(folder: Path) -> Iterator[str]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield path.name
        with path.open("rb") as file:
            yield hashlib.file_digest(file, "sha256").hexdigest()


def _entry(line: str, path: Path) -> str:
    text = line.strip()
    if text.startswith("#"):
        return ""
    if not text.startswith("{"):
        return text.lower() if _SHA256.fullmatch(text.lower()) else text
    try:
        row = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--exclude-images {path}: {text[:60]!r} is no JSON object: {error}") from error
    found = next((row[name] for name in _NAMES if row.get(name) not in (None, "")), None)
    if found is None:
        raise UsageError(f"--exclude-images {path}: {text[:60]!r} has none of {', '.join(_NAMES)}")
    return str(found)


def _name(path: str) -> str:
    """The compared name of a picture: COCO's number, else the file name without extension."""
    name = PurePosixPath(path.replace("\\", "/")).name
    coco = COCO_NAME.fullmatch(name if name.endswith(".jpg") else f"{name}.jpg")
    return coco[1] if coco else PurePosixPath(name).stem.lower()
