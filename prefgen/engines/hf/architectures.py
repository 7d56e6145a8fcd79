"""Table of model types: those proven by tests, measured exceptions, and types that are refused.

One generic path serves all: the model's own processor expands an image into its tokens, its own `get_image_features`
makes what stands in their places. An entry of `FAMILIES` is a measured exception or a reason to refuse; of any other
type, those of `TITLES` included, `prefgen.engines.hf.probing` finds out what it takes. tests/engines/test_types.py
measures what each can do and makes the guide's page `architectures` of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A model type and its exceptions from the generic path.

    Attributes:
        title: its name in tables.
        refused: why it cannot be used at all; said before any weight is read.
        mrope: its image tokens stand at coordinates (time, row, column) instead of a number. They keep them, so both
            kinds of positions are the same; stock `generate` fails here when it gets a mask with holes.
        image_blocks: the tokens of an image attend to each other in both directions.
        deepstack: features of several layers of its encoder are added in as many layers of its decoder.
        indicators: tokens around an image have embeddings of their own, kept by the vision side.
        note: what a user should know besides, see `remarks`.
        is_listed: whether all this stands in the table below; else it was found out, see `prefgen.engines.hf.probing`.
        token_types: names of model inputs that say which tokens are an image's.
        encoder_outputs: its forward pass is handed what the encoder made, and puts it in place itself.
        features: where the encoder's output has the image features, empty where those of deepstack are all;
            features_listed: one tensor an image, in a list; features_stacked: one of all, (images, tokens, hidden).
            deepstack_layers: layers that it names beside them.
        joins: images of several prompts can be encoded together, behind each other.
        state: kinds of layers with a running state, where hiding a token is removing it.
    """

    title: str
    refused: str = ""
    mrope: bool = False
    image_blocks: bool = False
    deepstack: bool = False
    indicators: bool = False
    note: str = ""
    is_listed: bool = True
    token_types: tuple[str, ...] = ()
    encoder_outputs: bool = False
    features: str = "pooler_output"
    features_listed: bool = True
    features_stacked: bool = False
    joins: bool = True
    deepstack_layers: tuple[int, ...] = ()
    state: tuple[str, ...] = ()


FAMILIES: dict[str, Family] = {
    "llava": Family("LLaVA 1.5, Pixtral-12B"),
    "llava_next": Family("LLaVA-NeXT (1.6)"),
    "llava_onevision": Family("LLaVA-OneVision", note="one image is tiled, several are not, as its processor does"),
    "qwen2_vl": Family("Qwen2-VL", mrope=True),
    "qwen2_5_vl": Family("Qwen2.5-VL", mrope=True),
    "qwen3_vl": Family("Qwen3-VL", mrope=True, deepstack=True, encoder_outputs=True),
    "internvl": Family("InternVL (-hf)"),
    "idefics3": Family("Idefics3", note="row and column tags stay visible"),
    "smolvlm": Family("SmolVLM", note="row and column tags stay visible"),
    "gemma3": Family("Gemma 3", image_blocks=True, token_types=("token_type_ids",)),
    "mistral3": Family("Mistral 3", note="break and end tokens stay visible"),
    "ovis2": Family("Ovis2", indicators=True, note="indicator tokens stay visible"),
    "aya_vision": Family("Aya Vision", note="tile tags stay visible"),
    "molmo2": Family(
        "Molmo 2", image_blocks=True, token_types=("mm_token_type_ids",), encoder_outputs=True, joins=False
    ),
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

TITLES: dict[str, str] = {
    "apertus1p5": "Apertus 1.5",
    "aria": "Aria",
    "cohere2_vision": "Command A Vision",
    "cohere_compass": "Cohere Compass",
    "cosmos3_omni": "Cosmos 3 Omni",
    "deepseek_vl": "DeepSeek-VL",
    "deepseek_vl_hybrid": "DeepSeek-VL (hybrid)",
    "ernie4_5_vl_moe": "ERNIE 4.5 VL",
    "exaone4_5": "EXAONE 4.5",
    "fast_vlm": "FastVLM",
    "gemma3n": "Gemma 3n",
    "gemma4": "Gemma 4",
    "gemma4_unified": "Gemma 4 Unified",
    "glm46v": "GLM-4.6V",
    "glm4v": "GLM-4.1V",
    "glm4v_moe": "GLM-4.5V",
    "glm_ocr": "GLM-OCR",
    "glmga": "GLM-GA",
    "granite4_vision": "Granite 4 Vision",
    "granite_docling": "Granite Docling",
    "hyperclovax_vision_v2": "HyperCLOVA X Vision 2",
    "idefics2": "Idefics2",
    "janus": "Janus",
    "kimi_k25": "Kimi K2.5",
    "lfm2_vl": "LFM2-VL",
    "lfm3_vl": "LFM3-VL",
    "lighton_ocr": "LightOnOCR",
    "llama4": "Llama 4",
    "llava_next_video": "LLaVA-NeXT-Video",
    "minicpm_ocr": "MiniCPM-OCR",
    "minicpmv4_6": "MiniCPM-V 4.6",
    "muse_glimmer": "Muse Glimmer",
    "muse_spark": "Muse Spark",
    "nemotron_h_omni": "Nemotron-H Omni",
    "paddleocr_vl": "PaddleOCR-VL",
    "perception_lm": "PerceptionLM",
    "qianfan_ocr": "Qianfan-OCR",
    "qwen3_5": "Qwen3.5",
    "qwen3_5_moe": "Qwen3.5 MoE",
    "qwen3_vl_moe": "Qwen3-VL MoE",
    "step3p7": "Step 3.7",
    "video_llama_3": "VideoLLaMA 3",
    "video_llava": "Video-LLaVA",
    "vipllava": "ViP-LLaVA",
}
"""Names of the types that were tried without an exception being needed."""


def remarks(family: Family) -> str:
    """Remarks on a family for the guide's table, in one line; empty if there are none."""
    found = [family.note] if family.note else []
    if family.mrope:
        found.append("image tokens keep their row and column under both kinds of positions")
    if family.image_blocks:
        found.append("the tokens of an image attend to each other in both directions")
    if family.deepstack:
        found.append("features are dropped in every layer that they enter")
    if family.state:
        kinds = ", ".join(kind.replace("_", " ") for kind in family.state)
        found.append(f"layers with a running state ({kinds}): a hidden token is removed, `--attention mask` is refused")
    return "; ".join(found)
