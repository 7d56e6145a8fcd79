"""Made-up rows of published sets in their true shape."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefgen.formats import Importer
from prefgen.records import Dropped, Image, ImageRef, Pair, Turn
from tests import handmade


def picture(shade: int = 0) -> Image:
    """A picture of a size that is let in."""
    return handmade.picture(shade, width=16, height=12)


DESCRIBE = [{"from": "human", "value": "<image>\nDescribe this image."}]


def povid_row(number: int = 0, **changes: object) -> dict[str, Any]:
    return {
        "id": f"COCO_train2014_{number:012d}",
        "image": f"./data/coco/COCO_train2014_{number:012d}.jpg",
        "conversations": [*DESCRIBE, {"from": "gpt", "value": f"{number} people sit on a wall."}],
        "rejected_conversations": [*DESCRIBE, {"from": "gpt", "value": f"{number + 7} people sit on a wall."}],
        **changes,
    }


def rlhf_v_row(number: int = 0, **changes: object) -> dict[str, Any]:
    text = {"question": "What is he doing?", "chosen": f"He reads {number}.", "rejected": f"He runs {number}."}
    return {
        "ds_name": "RLHF-V",
        "image": {"bytes": picture(number).data, "path": None},
        "text": json.dumps(text),
        "origin_dataset": "LCS-558K",
        "origin_split": json.dumps({"model": "Muffin", "type": "detailed_description"}),
        "idx": number,
        "image_path": f"llava1.5_split/{number:04d}.png",
        **changes,
    }


def rlaif_v_row(number: int = 0, **changes: object) -> dict[str, Any]:
    return {
        "ds_name": "RLAIF-V",
        "image": {"bytes": picture(number).data, "path": f"{number}.png"},
        "question": "What is in the sky?",
        "chosen": f"{number} kites.",
        "rejected": f"{number} birds.",
        "origin_dataset": "COCO",
        "origin_split": json.dumps({"models": "LLaVA-1.5", "type": "question_answering"}),
        "idx": str(number),
        "image_path": f"train2017/{number:012d}.jpg",
        **changes,
    }


def completion(model: str, response: str, *ratings: str | None) -> dict[str, Any]:
    aspects = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
    rated = {aspect: {"Rating": rating, "Rationale": "…"} for aspect, rating in zip(aspects, ratings, strict=True)}
    return {"model": model, "response": response, "annotations": rated}


def vlfeedback_row(**changes: object) -> dict[str, Any]:
    return {
        "id": "svit-detail-1234",
        "prompt": "Describe the scene.",
        "models": ["llava-v1.5-7b", "qwen-vl-chat", "gpt-4-vision-preview", "instructblip-vicuna-7b"],
        "img_path": "merged_images/svit-detail-1234.jpg",
        "completions": [
            completion("llava-v1.5-7b", "A dog sleeps.", "5", "5", "4"),
            completion("qwen-vl-chat", "A cat sleeps.", "2", "5", "1"),
            completion("gpt-4-vision-preview", "A dog sleeps on a mat.", "4", "5", "5"),
            completion("instructblip-vicuna-7b", "Dog.", "3", "5", "3"),
        ],
        **changes,
    }


def llava_rlhf_row(number: int = 0, **changes: object) -> dict[str, Any]:
    return {
        "id": f"{number:012d}",
        "image": f"{number:012d}.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is this?"},
            {"from": "gpt", "value": "A market."},
            {"from": "human", "value": "What is for sale?"},
        ],
        "output_1": {"from": "llava", "value": "Fruit."},
        "output_2": {"from": "llava", "value": "Fruit and fish."},
        "preference": 2,
        "hallucination": True,
        **changes,
    }


def write_json(path: Path, rows: object) -> str:
    path.write_text(json.dumps(rows))
    return str(path)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def pairs(importer: Importer, src: str) -> list[Pair]:
    """The pairs of `src`, of which nothing may be dropped."""
    outcomes = list(importer(src))
    assert not [outcome for outcome in outcomes if isinstance(outcome, Dropped)], outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Pair)]


def reasons(importer: Importer, src: str) -> list[str]:
    """Reasons of the dropped rows."""
    return [outcome.reason for outcome in importer(src) if isinstance(outcome, Dropped)]


def told(pair: Pair) -> tuple[tuple[Turn, ...], str, str]:
    return pair.sample.prompt, pair.chosen, pair.rejected


def image_of(pair: Pair) -> ImageRef:
    (image,) = pair.sample.images
    assert not isinstance(image, Image)
    return image
