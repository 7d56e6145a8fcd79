"""HA-DPO: https://huggingface.co/datasets/juliozhao/hadpo-data, terms on its card.

Two JSON files in one folder per model (the rejected answers are that model's own), ``desc_data.json``::

    {"2370135": {"chosen": ["A dog.", "One dog.", "A dog lies."], "rejected": ["Two dogs.", "A cat.", "Dogs."]}}

and ``pope_data.json``, where the worse answer is called ``reject`` and rows with a correct answer are to be skipped::

    [{"image_id": 2370135, "question": "Is there a cat?", "chosen": "No, there is none.", "reject": "Yes, a black one.",
      "answer": "no", "correct": false}]

SRC is the folder or one of the files. Pictures are Visual Genome's: its ``image_data.json`` says in which of the two
folders ``VG_100K`` and ``VG_100K_2`` one lies, so it is needed (``--image-data``, or beside SRC), and ``--image-root``
is the folder that holds both. Visual Genome and COCO share pictures: mind evaluation sets (``--exclude-images``).

Decisions: a description's question is drawn from the four of the set's training code, and so are one chosen and one
rejected description of each three, seeded by the picture's id and not by the order of the file (`descriptions`
``all`` takes every pair). The code repeats all descriptions twice; repeated rows are left to the trainer's epochs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal

from prefgen import sources
from prefgen.errors import RowError, UsageError
from prefgen.formats.reading import PairDraft, import_rows, needed, origin, question
from prefgen.records import Dropped, Pair
from prefgen.seeds import derive
from prefgen.sources import SourceOptions
from prefgen.sources.json_rows import read_json
from prefgen.sources.row import Row

QUESTIONS = (
    "Describe this image in detail.",
    "Take a look at this image and describe what you notice.",
    "Please provide a detailed description of the picture.",
    "Could you describe the contents of this image for me?",
)
Descriptions = Literal["one", "all"]


@dataclass(frozen=True)
class HaDpo:
    """Reader of descriptions and yes/no questions.

    Attributes:
        image_data: Visual Genome's ``image_data.json``; None looks for it beside SRC.
        descriptions: ``one`` pair of each picture's descriptions, or ``all``.

    Raises:
        UsageError: `descriptions` is something else.
    """

    name: ClassVar[str] = "ha-dpo"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)
    image_data: Path | None = None
    descriptions: Descriptions = "one"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.descriptions not in ("one", "all"):
            raise UsageError(f"--descriptions is {self.descriptions!r}; give one or all")

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        path = Path(src).expanduser()
        files = [path / name for name in ("pope_data.json", "desc_data.json")] if path.is_dir() else [path]
        files = [file for file in files if file.is_file()]
        if not files:
            raise UsageError(f"INPUT_NOT_FOUND: {path} is no file and holds neither pope_data.json nor desc_data.json")
        images = _image_paths(self.image_data or files[0].parent / "image_data.json")
        found = (row for file in files for row in _rows(file))
        came_from = origin(src, self.name, self.licence, self.source, self.seed)
        rows = sources.renamed(found, self.source.columns, self.source.roles)
        return import_rows(rows, came_from, lambda columns: self._read(columns, images))

    def _read(self, columns: Mapping[str, Any], images: Mapping[str, str]) -> Iterator[PairDraft]:
        image_id = str(needed(columns, "image_id")[0])
        image = images.get(image_id)
        if image is None:
            raise RowError("IMG_MISSING", f"{image_id} is not in image_data.json")
        if "question" not in columns:
            yield from self._described(image_id, image, columns)
            return
        asked, chosen, rejected = needed(columns, "question", "chosen", "reject")
        if columns.get("correct"):
            raise RowError("REJECTED_CORRECT", "the answer that would be rejected is correct")
        used = ("image_id", "question", "chosen", "reject")
        yield PairDraft(question(asked), image, chosen, rejected, used, variant="pope", row_id=f"pope-{image_id}")

    def _described(self, image_id: str, image: str, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        chosen, rejected = needed(columns, "chosen", "rejected")
        if not (isinstance(chosen, list) and isinstance(rejected, list) and chosen and rejected):
            raise RowError("ROW_SHAPE", "chosen and rejected should be lists of descriptions")
        asked = QUESTIONS[self._draw(image_id, "question", len(QUESTIONS))]
        pairs = list(product(chosen, rejected))
        if self.descriptions == "one":
            drawn = (self._draw(image_id, "chosen", len(chosen)), self._draw(image_id, "rejected", len(rejected)))
            pairs = [(chosen[drawn[0]], rejected[drawn[1]])]
        used = ("image_id", "chosen", "rejected")
        for better, worse in pairs:
            yield PairDraft(question(asked), image, better, worse, used, variant="desc", row_id=f"desc-{image_id}")

    def _draw(self, image_id: str, purpose: str, among: int) -> int:
        return derive(self.seed, image_id, 0, purpose) % among


def _rows(file: Path) -> Iterator[Row]:
    """The rows of a list, or of an object whose keys are picture ids."""
    try:
        with file.open("rb") as opened:
            is_object = opened.read(64).lstrip().startswith(b"{")
        if not is_object:
            yield from read_json(file)
            return
        described = json.loads(file.read_bytes())  # some 2,000 pictures
    except OSError as error:
        raise UsageError(f"INPUT_UNREADABLE: {file}: {error.strerror}; check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"JSON_SYNTAX: {file}: {error}; download the file again") from error
    for key, value in described.items():
        shaped = {"image_id": key, **value} if isinstance(value, dict) else RowError("ROW_SHAPE", "not an object")
        yield Row(f"key {key}", shaped)


def _image_paths(image_data: Path) -> dict[str, str]:
    """Folder and file name of every picture of Visual Genome, by its id."""
    if not image_data.is_file():
        raise UsageError(
            f"{image_data} is not there: --image-data must be Visual Genome's image_data.json "
            "(https://homes.cs.washington.edu/~ranjay/visualgenome/api.html), which says where a picture lies"
        )
    rows = (row.columns for row in read_json(image_data) if isinstance(row.columns, dict))
    return {str(row["image_id"]): "/".join(row["url"].split("/")[-2:]) for row in rows if "image_id" in row}
