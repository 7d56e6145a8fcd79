"""Which architectures the transformers engine knows, and what was measured of each.

One generic path serves all: the model's own processor expands an image into its tokens, its own `get_image_features`
makes what stands in their places. An entry here is a measured fact, shown by
tests/engines/test_architectures.py; README's table is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A model type, and how it departs from the generic path.

    Attributes:
        title: its name in tables.
        refused: why it cannot be used at all; said before any weight is read.
        mrope: its image tokens stand at coordinates (time, row, column) instead of a number. They keep them, so both
            kinds of positions are the same; stock `generate` fails here when it gets a mask with holes.
        image_blocks: the tokens of an image attend to each other in both directions.
        deepstack: features of several layers of its encoder are added in as many layers of its decoder.
        indicators: tokens around an image have embeddings of their own, kept by the vision side.
        note: what else a user should know.
    """

    title: str
    refused: str = ""
    mrope: bool = False
    image_blocks: bool = False
    deepstack: bool = False
    indicators: bool = False
    note: str = ""


_WINDOW = "sliding window: rows that are longer are masked instead"
_MROPE = "image tokens keep their row and column under both kinds of positions"

FAMILIES: dict[str, Family] = {
    "llava": Family("LLaVA 1.5, Pixtral-12B"),
    "llava_next": Family("LLaVA-NeXT (1.6)"),
    "llava_onevision": Family("LLaVA-OneVision", note="one image is tiled, several are not, as its processor does"),
    "qwen2_vl": Family("Qwen2-VL", mrope=True, note=_MROPE),
    "qwen2_5_vl": Family("Qwen2.5-VL", mrope=True, note=_MROPE),
    "qwen3_vl": Family(
        "Qwen3-VL", mrope=True, deepstack=True, note=f"{_MROPE}; deepstack features are dropped in every layer"
    ),
    "internvl": Family("InternVL (-hf)"),
    "idefics3": Family("Idefics3", note="row and column tags stay visible"),
    "smolvlm": Family("SmolVLM", note="row and column tags stay visible"),
    "gemma3": Family("Gemma 3", image_blocks=True, note=_WINDOW),
    "mistral3": Family("Mistral 3", note=f"break and end tokens stay visible; {_WINDOW}"),
    "ovis2": Family("Ovis2", indicators=True, note="indicator tokens stay visible"),
    "aya_vision": Family("Aya Vision", note=f"tile tags stay visible; {_WINDOW}"),
    "paligemma": Family(
        "PaliGemma",
        refused="it reads its prompt in both directions and has no chat template, so that the beginning of an answer "
        "would be read as part of the question",
    ),
    "mllama": Family(
        "Mllama (Llama 3.2 Vision)",
        refused="it sees images by cross-attention: there are no image tokens in its language model to hide",
    ),
}
"""`config.model_type` to family."""


def supported() -> list[str]:
    """Model types that can be used."""
    return [model_type for model_type, family in FAMILIES.items() if not family.refused]


def table() -> list[tuple[str, ...]]:
    """The table of architectures: one row each, its head first."""
    rows: list[tuple[str, ...]] = [("architecture", "`model_type`", "drop = mask", "preserve", "images", "note")]
    for model_type, family in FAMILIES.items():
        if family.refused:
            rows.append((family.title, f"`{model_type}`", "–", "–", "–", f"refused: {family.refused}"))
        else:
            preserve = "the only kind" if family.mrope else "yes"
            rows.append((family.title, f"`{model_type}`", "yes", preserve, "several", family.note))
    return rows
