"""CHAIR: objects that a caption names and the picture does not contain. Rohrbach et al., EMNLP 2018, arXiv:1809.02156.

The truth of a picture are the categories of its instances and those that its ground-truth captions name. Then

- ``chair_i``: share of the mentions that are of no true object; a mention counts each time. ``chair_s``: share of the
  captions with such a mention.
- ``recall_coco``: true objects named, of all true objects, summed over pictures (as RLHF-V and LLaVA-NeXT's tools do).
- ``f1`` of that recall and the share of named objects, each once per caption, that are true.
- ``words``: of a caption, on average.

CHAIR alone rewards saying less: all are always given together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks.coco_objects import LEMMATISER, ObjectWords
from prefgen.evaluate.benchmarks.files import rows_of
from prefgen.evaluate.benchmarks.intervals import Figures, Sums, by_picture, drawn, intervals, rounded, share

FIGURES = ("chair_i", "chair_s", "recall_coco", "f1", "words")
_DIGITS = re.compile(r"(\d+)(?=\.[A-Za-z]+$|$)")


@dataclass
class Truth:
    """Objects of the pictures.

    Attributes:
        names: file name of each picture, by its id.
        objects: its categories.
    """

    names: dict[int, str] = field(default_factory=dict)
    objects: dict[int, set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Caption:
    """A caption and its counts.

    Attributes:
        mentioned: categories, one for each mention.
        invented: of them, those that the picture does not hold.
    """

    picture: int
    text: str
    mentioned: tuple[str, ...]
    invented: tuple[str, ...]
    counts: tuple[float, ...]


def truth(instances: Sequence[Path], captions: Sequence[Path], words: ObjectWords) -> Truth:
    """The truth of the pictures in COCO's annotation files.

    Raises:
        UsageError: a file is of another kind, or a category has no word.
    """
    found = Truth()
    for path in instances:
        content = _coco(path, ("images", "annotations", "categories"), "category_id")
        categories = {}
        for category in content["categories"]:
            named = words.mentions(str(category["name"]))
            if str(category["name"]) in words.categories:
                categories[category["id"]] = str(category["name"])
            elif len(set(named)) == 1:
                categories[category["id"]] = named[0]
            else:
                raise UsageError(
                    f"{path}: category {category['name']!r} is none of the {len(words.categories)} of {words.name}; "
                    "give a list that has it with --synonyms"
                )
        for image in content["images"]:
            found.names[int(image["id"])] = str(image["file_name"])
            found.objects.setdefault(int(image["id"]), set())
        for annotation in content["annotations"]:
            found.objects.setdefault(int(annotation["image_id"]), set()).add(categories[annotation["category_id"]])
    for path in captions:
        content = _coco(path, ("images", "annotations"), "caption")
        for annotation in content["annotations"]:
            if int(annotation["image_id"]) in found.objects:
                found.objects[int(annotation["image_id"])].update(words.mentions(str(annotation["caption"])))
    return found


def _coco(path: Path, keys: Sequence[str], inside: str) -> dict[str, Any]:
    """Read a file of COCO's annotations.

    Args:
        inside: key of every annotation.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise UsageError(f"{path} has no {', '.join(keys)}: it is no annotation file of COCO")
    if content["annotations"] and inside not in content["annotations"][0]:
        kind = "instances" if inside == "category_id" else "captions"
        raise UsageError(f"{path}: its annotations have no {inside}; it is no file of {kind}")
    return content


def captions_of(path: Path, known: Truth) -> tuple[dict[int, str], int]:
    """Captions by picture, and the number of captions of unknown pictures.

    A picture is named by ``image_id`` (a number, or a file name with it), ``image`` or ``question_id``.

    Raises:
        UsageError: the file holds no captions, or two of one picture.
    """
    by_name = {name: number for number, name in known.names.items()}
    found: dict[int, str] = {}
    foreign = 0
    for number, row in enumerate(rows_of(path), 1):
        text = next((row[key] for key in ("caption", "text", "answer") if isinstance(row.get(key), str)), None)
        if text is None:
            raise UsageError(f"{path} row {number} has no caption, text or answer")
        named = next((row[key] for key in ("image_id", "image", "question_id") if row.get(key) not in (None, "")), None)
        if named is None:
            raise UsageError(f"{path} row {number} names no picture: image_id, image or question_id")
        picture = by_name.get(str(named).rsplit("/", 1)[-1])
        if picture is None:
            digits = _DIGITS.search(str(named))
            picture = int(digits[1]) if digits else None
        if picture is None or picture not in known.objects:
            foreign += 1
        elif picture in found:
            raise UsageError(f"{path} row {number}: picture {named} has a caption already")
        else:
            found[picture] = text
    if not found:
        raise UsageError(f"{path}: none of its {foreign:,} captions is of a picture in the annotations")
    return found, foreign


def judge(picture: int, text: str, true: set[str], words: ObjectWords) -> Caption:
    """The counts of a caption."""
    mentioned = tuple(words.mentions(text))
    invented = tuple(name for name in mentioned if name not in true)
    named = {*mentioned}
    counts = (
        *(len(invented), len(mentioned), bool(invented), 1, len(named & true), len(true), len(named)),
        len(text.split()),
    )
    return Caption(picture, text, mentioned, invented, tuple(map(float, counts)))


def figures(sums: Sums) -> Figures:
    """Fractions and words per caption, from sums of counts."""
    invented, mentions, hallucinated, captions, right, true, named, words = (float(value) for value in sums)
    return {
        "chair_i": share(invented, mentions),
        "chair_s": share(hallucinated, captions),
        "recall_coco": share(right, true),
        "f1": share(2 * right, true + named),
        "words": share(words, captions),
    }


def score(captions: Sequence[Caption], words: ObjectWords, seed: int = 0) -> dict[str, Any]:
    """All figures, with intervals."""
    pictures, counts = by_picture([(str(one.picture), one.counts) for one in captions])
    found = figures(counts.sum(axis=0))
    return {
        "benchmark": "chair",
        **rounded(found),
        "intervals": intervals(counts, figures, drawn(len(pictures), seed)),
        "count": len(captions),
        "mentions": int(counts[:, 1].sum()),
        "true_objects": int(counts[:, 5].sum()),
        "synonyms": words.name,
        "lemmatiser": LEMMATISER,
    }


def items(captions: Sequence[Caption]) -> list[Mapping[str, Any]]:
    """A record for each caption."""
    return [
        {
            "id": str(one.picture),
            "picture": str(one.picture),
            "counts": one.counts,
            "right": not one.invented,
            "mentioned": one.mentioned,
            "invented": one.invented,
        }
        for one in captions
    ]
