"""The scenes as files of benchmarks, whose truth is known exactly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prefgen.evaluate.scenes.text import absent_partner, absent_popular, caption
from prefgen.evaluate.scenes.world import SHAPES, TEXT_STREAM

from prefgen.evaluate.scenes.heldout import Heldout, heldout
from prefgen.evaluate.scenes.render import jpeg

KINDS = ("random", "popular", "adversarial")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def name_of(item: Heldout) -> str:
    return f"COCO_val2014_{item.scene.index + 1:012d}.jpg"


def pope(folder: Path, count: int) -> list[Path]:
    """POPE's three files: as many present as absent shapes of every scene."""
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for item in heldout(count):
        shapes = item.scene.shapes
        absent = {
            "random": next(shape for shape in SHAPES[item.scene.index % 8 :] + SHAPES if shape not in shapes),
            "popular": absent_popular(item.scene),
            "adversarial": absent_partner(item.scene),
        }
        for kind, other in absent.items():
            for label, shape in (("yes", sorted(shapes)[0]), ("no", other)):
                if other is not None:
                    text = f"Is there a {shape} in the image?"
                    number = len(rows[kind]) + 1
                    rows[kind].append({"question_id": number, "image": name_of(item), "text": text, "label": label})
    return [write_lines(folder / f"scenes_pope_{kind}.json", rows[kind]) for kind in KINDS]


def coco(folder: Path, count: int) -> tuple[Path, Path, Path]:
    """COCO's instances and captions, and a list of words."""
    images, objects, captions = [], [], []
    for item in heldout(count):
        number = item.scene.index + 1
        images.append({"id": number, "file_name": name_of(item), "width": 64, "height": 64})
        objects += [{"image_id": number, "category_id": SHAPES.index(s) + 1} for s, _, _ in item.scene.objects]
        captions.append({"image_id": number, "caption": caption(item.scene, item.scene.rng(TEXT_STREAM))})
    categories = [{"id": place + 1, "name": shape} for place, shape in enumerate(SHAPES)]
    instances = {"images": images, "annotations": objects, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(instances))
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))
    (folder / "words.txt").write_text("".join(f"{shape}\n" for shape in SHAPES))
    return folder / "instances.json", folder / "captions.json", folder / "words.txt"


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for item in heldout(count):
        (folder / name_of(item)).write_bytes(jpeg(item.scene))
    return folder
