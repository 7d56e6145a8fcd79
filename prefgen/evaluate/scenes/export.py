"""Files of scenes in the formats of the field: pictures, LLaVA-Instruct rows, exact truth, POPE questions, COCO files.

- ``images/``: a JPEG for each scene, named by its number.
- ``llava_instruct.json``: conversations, with ``<image>`` before or behind the first question.
- ``truth.json``: everything that is in the pictures.
- ``pope_random.json``, ``pope_popular.json``, ``pope_adversarial.json``: yes/no questions as JSON lines.
- ``instances.json``, ``captions.json``: in COCO's form. ``words.txt``: for ``prefgen eval chair --synonyms``.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefgen.evaluate.scenes.language import PRESENCE_QUESTIONS, Mix, conversation, detail
from prefgen.evaluate.scenes.render import jpeg
from prefgen.evaluate.scenes.truth import IMAGE_SIZE, KINDS, TEXT_STREAM, Scene

SPLITS = ("random", "popular", "adversarial")
"""POPE's ways to choose an absent kind."""
PROBES = 3  # POPE asks for as many present and as many absent objects of a picture
INSTRUCT = Mix(detail=0.7, brief=0.15, more=(1, 3))


@dataclass(frozen=True)
class Frequencies:
    """Number of scenes with each kind, and with each two kinds: what POPE chooses absent objects by."""

    kinds: Counter[str]
    pairs: Counter[tuple[str, str]]

    @classmethod
    def of(cls, scenes: Iterable[Scene]) -> "Frequencies":
        """Counts over scenes."""
        kinds: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for scene in scenes:
            kinds.update(scene.kinds)
            pairs.update((a, b) for a in scene.kinds for b in scene.kinds if a != b)
        return cls(kinds, pairs)

    def absent(self, scene: Scene, split: str, count: int, rng: np.random.Generator) -> list[str]:
        """Kinds that a scene lacks.

        Args:
            split: ``random`` kinds, the most ``popular`` ones, or ``adversarial``: those that most often occur together
                with what is there.
        """
        lacking = [kind for kind in KINDS if kind not in scene.kinds]
        rank = {
            "random": lambda kind: 0,
            "popular": lambda kind: -self.kinds[kind],
            "adversarial": lambda kind: -sum(self.pairs[present, kind] for present in scene.kinds),
        }[split]
        shuffled = [lacking[int(i)] for i in rng.permutation(len(lacking))]
        return sorted(shuffled, key=rank)[:count]


def write(
    folder: Path, scenes: Sequence[Scene], frequencies: Frequencies, rows: Sequence[dict[str, Any]] | None = None
) -> None:
    """Write all files.

    Args:
        scenes: With numbers of their own.
        frequencies: What the absent kinds of POPE's questions are chosen by.
        rows: Of ``llava_instruct.json``; None for a conversation about each scene.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        (folder / "images" / file_name(scene)).write_bytes(jpeg(scene))
    write_rows(folder / "llava_instruct.json", rows or [instruct_row(scene) for scene in scenes])
    write_rows(folder / "truth.json", [truth_row(scene) for scene in scenes])
    for split in SPLITS:
        rows = pope_rows(scenes, split, frequencies)
        (folder / f"pope_{split}.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    for name, content in (("instances", instances(scenes)), ("captions", captions(scenes))):
        (folder / f"{name}.json").write_text(f"{json.dumps(content)}\n", encoding="utf-8")
    (folder / "words.txt").write_text("".join(f"{name}, {kind.plural}\n" for name, kind in KINDS.items()))


def file_name(scene: Scene) -> str:
    """File name of a scene's picture, in COCO's manner."""
    return f"{scene.index:012d}.jpg"


def instruct_row(scene: Scene, mix: Mix = INSTRUCT) -> dict[str, Any]:
    """A row in LLaVA-Instruct's form."""
    rng = scene.rng(TEXT_STREAM)
    values = [text for turn in conversation(scene, rng, mix) for text in (turn.question, turn.answer)]
    values[0] = f"<image>\n{values[0]}" if rng.random() < 0.5 else f"{values[0]}\n<image>"
    return {
        "id": f"{scene.index:012d}",
        "image": file_name(scene),
        "conversations": [{"from": ("human", "gpt")[n % 2], "value": value} for n, value in enumerate(values)],
    }


def truth_row(scene: Scene) -> dict[str, Any]:
    """Everything that is in a picture, of JSON's types."""
    return {
        "id": f"{scene.index:012d}",
        "image": file_name(scene),
        "seed": scene.seed,
        "index": scene.index,
        "place": scene.place,
        "light": scene.light,
        "weather": scene.weather,
        "things": [
            {
                "kind": thing.kind,
                "colour": thing.colour,
                "count": thing.count,
                "action": thing.action,
                "surface": thing.surface,
                "relation": [thing.relation.word, thing.relation.other] if thing.relation else None,
                "boxes": [[round(edge, 2) for edge in instance.box] for instance in thing.instances],
                "visibility": round(thing.visibility, 3),
            }
            for thing in scene.things
        ],
    }


def pope_rows(scenes: Iterable[Scene], split: str, frequencies: Frequencies) -> list[dict[str, Any]]:
    """Questions of POPE: up to ``PROBES`` present kinds of each scene, and as many absent ones of a split."""
    rows: list[dict[str, Any]] = []
    for scene in scenes:
        rng = np.random.default_rng([scene.seed, scene.index, TEXT_STREAM, 1])  # the same present kinds in each split
        present = sorted(scene.kinds)
        asked = [(present[int(n)], "yes") for n in rng.permutation(len(present))[:PROBES]]
        asked += [(kind, "no") for kind in frequencies.absent(scene, split, len(asked), rng)]
        for kind, label in asked:
            text = PRESENCE_QUESTIONS[0].format(a=f"{KINDS[kind].article} {kind}")
            rows.append({"question_id": len(rows) + 1, "image": file_name(scene), "text": text, "label": label})
    return rows


def instances(scenes: Iterable[Scene]) -> dict[str, Any]:
    """Objects with their boxes, in the form of COCO's instances."""
    scenes = list(scenes)
    numbers = {kind: number for number, kind in enumerate(KINDS, 1)}
    annotations: list[dict[str, Any]] = []
    for scene in scenes:
        for thing in scene.things:
            for instance in thing.instances:
                left, top, right, bottom = instance.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": scene.index,
                        "category_id": numbers[thing.kind],
                        "bbox": [round(edge, 2) for edge in (left, top, right - left, bottom - top)],
                        "area": round((right - left) * (bottom - top), 2),
                        "iscrowd": 0,
                    }
                )
    categories = [
        {"id": numbers[kind.name], "name": kind.name, "supercategory": kind.category} for kind in KINDS.values()
    ]
    return {"images": _images(scenes), "annotations": annotations, "categories": categories}


def captions(scenes: Iterable[Scene], wordings: int = 2) -> dict[str, Any]:
    """Captions in several wordings, in the form of COCO's captions."""
    scenes = list(scenes)
    written = [
        (scene.index, detail(scene, np.random.default_rng([scene.seed, scene.index, TEXT_STREAM, 2 + wording])))
        for scene in scenes
        for wording in range(wordings)
    ]
    return {
        "images": _images(scenes),
        "annotations": [{"id": n, "image_id": index, "caption": text} for n, (index, text) in enumerate(written, 1)],
    }


def _images(scenes: Iterable[Scene]) -> list[dict[str, Any]]:
    return [
        {"id": scene.index, "file_name": file_name(scene), "width": IMAGE_SIZE, "height": IMAGE_SIZE}
        for scene in scenes
    ]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One row a line: valid JSON, and a readable diff."""
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
