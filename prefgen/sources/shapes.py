"""Shapes of SFT rows that prefgen reads, with an example of each, and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RowShape:
    """A shape of rows.

    Attributes:
        title: who writes it, and in which columns.
    """

    title: str
    example: Mapping[str, Any]


FILES = (
    "a JSON list, JSON Lines, Parquet, CSV or TSV, also compressed with gzip or Zstandard; a JSON object with one list "
    "of rows; InternVL's meta file; a tar shard of WebDataset; a folder that `datasets` opens; a Hub id"
)
_ASKED = {"from": "human", "value": "<image>\nWhat is this?"}
_TEXT = {"type": "text", "text": "What is this?"}
SHAPES = {
    "llava": RowShape(
        "LLaVA, ShareGPT: conversations of from and value",
        {"id": "7", "image": "a.jpg", "conversations": [_ASKED, {"from": "gpt", "value": "A cat."}]},
    ),
    "messages": RowShape(
        "OpenAI, transformers, ms-swift, LLaMA-Factory: messages of role and content, texts or parts",
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.jpg"}}, _TEXT]},
                {"role": "assistant", "content": "A cat."},
            ]
        },
    ),
    "finevision": RowShape(
        "FineVision, The Cauldron: texts of user and assistant, with ratings",
        {"images": ["a.jpg"], "texts": [{"user": "What is this?", "assistant": "A cat."}], "relevance_ratings": [5]},
    ),
    "flat": RowShape(
        "question, prompt, query, problem … with answer, response, solution, completion …",
        {"image": "a.jpg", "question": "What is this?", "answer": "A cat."},
    ),
    "alpaca": RowShape(
        "LLaMA-Factory's Alpaca rows: instruction, input, output, system, history",
        {"images": ["a.jpg"], "instruction": "What is this?", "input": "", "output": "A cat.", "system": "Be brief."},
    ),
    "gemini": RowShape(
        "Gemini: contents of role and parts",
        {
            "contents": [
                {"role": "user", "parts": [{"file_data": {"file_uri": "a.jpg"}}, {"text": "What is this?"}]},
                {"role": "model", "parts": [{"text": "A cat."}]},
            ]
        },
    ),
    "grounding": RowShape(
        "ms-swift's grounding rows: placeholders and objects",
        {
            "messages": [
                {"role": "user", "content": "<image>Where is the <ref-object>?"},
                {"role": "assistant", "content": "At <bbox>."},
            ],
            "images": ["a.jpg"],
            "objects": {"ref": ["cat"], "bbox": [[1, 2, 30, 40]]},
        },
    ),
}
