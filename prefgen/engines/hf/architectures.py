"""Table of model types: those proven by tests, measured exceptions, and types that are refused.

One generic path serves all: the model's own processor expands an image into its tokens, its own `get_image_features`
makes what stands in their places. An entry of `FAMILIES` is a measured exception or a reason to refuse; what the types
of `PROVEN` take is found out by `prefgen.engines.hf.probing`, and so is that of any other. All are shown to be right by
tests/engines/test_architectures.py, and the table of the guide's page on engines is made from them.
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
        note: what else a user should know.
        is_listed: whether all this stands in the table below; else it was found out, see `prefgen.engines.hf.probing`.
        token_types: names of model inputs that say which tokens are an image's.
        encoder_outputs: its forward pass is handed what the encoder made, and puts it in place itself.
        features: where the encoder's output has the image features, empty where those of deepstack are all;
        features_listed: one tensor an image, in a list.
        deepstack_layers: layers that it names beside them.
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
    deepstack_layers: tuple[int, ...] = ()
    state: tuple[str, ...] = ()


_WINDOW = "sliding window: rows that are longer are masked instead"
_MROPE = "image tokens keep their row and column under both kinds of positions"

FAMILIES: dict[str, Family] = {
    "llava": Family("LLaVA 1.5, Pixtral-12B"),
    "llava_next": Family("LLaVA-NeXT (1.6)"),
    "llava_onevision": Family("LLaVA-OneVision", note="one image is tiled, several are not, as its processor does"),
    "qwen2_vl": Family("Qwen2-VL", mrope=True, note=_MROPE),
    "qwen2_5_vl": Family("Qwen2.5-VL", mrope=True, note=_MROPE),
    "qwen3_vl": Family(
        "Qwen3-VL",
        mrope=True,
        deepstack=True,
        encoder_outputs=True,
        note=f"{_MROPE}; deepstack features are dropped in every layer",
    ),
    "internvl": Family("InternVL (-hf)"),
    "idefics3": Family("Idefics3", note="row and column tags stay visible"),
    "smolvlm": Family("SmolVLM", note="row and column tags stay visible"),
    "gemma3": Family("Gemma 3", image_blocks=True, token_types=("token_type_ids",), note=_WINDOW),
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

_STATE = "linear attention: a hidden token is removed, `--attention mask` is refused"
_LINEAR = ("linear_attention",)

PROVEN: dict[str, Family] = {
    "qwen3_vl_moe": Family("Qwen3-VL MoE", mrope=True, deepstack=True, note=_MROPE),
    "qwen3_5": Family("Qwen3.5", mrope=True, state=_LINEAR, note=_STATE),
    "qwen3_5_moe": Family("Qwen3.5 MoE", mrope=True, state=_LINEAR, note=_STATE),
    "vipllava": Family("ViP-LLaVA"),
    "llava_next_video": Family("LLaVA-NeXT-Video", note="pictures only"),
    "glm4v": Family("GLM-4.1V", mrope=True, note=_MROPE),
    "glm4v_moe": Family("GLM-4.5V", mrope=True, note=_MROPE),
    "glm46v": Family("GLM-4.6V", mrope=True, note=_MROPE),
    "deepseek_vl": Family("DeepSeek-VL"),
    "aria": Family("Aria"),
    "ernie4_5_vl_moe": Family("ERNIE 4.5 VL", mrope=True, note=f"{_MROPE}; experts by the type of each token"),
    "granite4_vision": Family(
        "Granite 4 Vision", deepstack=True, note="features are dropped in every layer they enter"
    ),
    "lighton_ocr": Family("LightOnOCR"),
    "paddleocr_vl": Family("PaddleOCR-VL", mrope=True, note=_MROPE),
    "exaone4_5": Family("EXAONE 4.5"),
    "video_llama_3": Family("VideoLLaMA 3", note="pictures only"),
    "qianfan_ocr": Family("Qianfan-OCR"),
    "glm_ocr": Family("GLM-OCR", mrope=True, note=_MROPE),
    "hyperclovax_vision_v2": Family("HyperCLOVA X Vision 2"),
    "lfm2_vl": Family("LFM2-VL", state=("conv",), note=_STATE.replace("linear attention", "convolutions")),
    "gemma4": Family("Gemma 4", note=_WINDOW),
}
"""Types of which nothing needs to be told: what was found out of each, by `config.model_type`."""


_NOT_BUILT = "no small model was built here"
_TORCHVISION = "its processor needs torchvision, which the tests are without"

UNTRIED: dict[str, str] = {
    **dict.fromkeys(("cohere2_vision", "gemma4_unified", "inkling_mm_model", "kimi_k25"), _TORCHVISION),
    **dict.fromkeys(("minimax_m3_vl", "muse_glimmer", "nemotron_h_omni", "pi0", "step3p7"), _TORCHVISION),
    **dict.fromkeys(("fast_vlm", "gemma3n", "perception_lm"), "its vision tower is one of timm's"),
    **dict.fromkeys(("got_ocr2", "pp_chart2table"), "its processor writes a prompt of its own"),
    **dict.fromkeys(
        ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"), "it is a part of a model that hears and speaks"
    ),
    "idefics2": "its processor does not say what it puts in the place of an image",
    "llama4": "it has no inner model with an encoder, so that it is refused when it is loaded",
    "diffusion_gemma": "it does not generate from left to right",
    "shieldgemma2": "it judges pictures and writes no answers",
    "mistral4": "it is a language model alone",
    **dict.fromkeys(("cohere_compass", "cosmos3_edge", "cosmos3_omni", "deepseek_ocr2"), _NOT_BUILT),
    **dict.fromkeys(("deepseek_vl_hybrid", "fuyu", "glm5_next", "glmga", "hunyuan_vl", "janus"), _NOT_BUILT),
    **dict.fromkeys(("minicpmv4_6", "minicpmv4_7", "qwen4_exp", "video_llava", "vision-encoder-decoder"), _NOT_BUILT),
}
"""Further types of transformers 5.19, and why the tests have none of them; where one is loaded, its proof decides."""


def untried() -> list[str]:
    """`UNTRIED` as list items, types with one reason together."""
    reasons = dict.fromkeys(UNTRIED.values())
    return [
        f"- {', '.join(f'`{name}`' for name, own in UNTRIED.items() if own == reason)}: {reason}" for reason in reasons
    ]


def supported() -> list[str]:
    """Usable model types of the table of exceptions."""
    return [model_type for model_type, family in FAMILIES.items() if not family.refused]


def table() -> list[tuple[str, ...]]:
    """The table of architectures, one row each, header first."""
    rows: list[tuple[str, ...]] = [
        ("architecture", "`model_type`", "drop = mask", "preserve", "images", "training", "note")
    ]
    for model_type, family in {**FAMILIES, **PROVEN}.items():
        if family.refused:
            rows.append((family.title, f"`{model_type}`", "–", "–", "–", "–", f"refused: {family.refused}"))
        else:
            preserve = "the only kind" if family.mrope else "yes"
            drops = "removed" if family.state else "yes"
            rows.append((family.title, f"`{model_type}`", drops, preserve, "several", training(family), family.note))
    return rows


def training(family: Family) -> str:
    """How answers are read in training: packed behind one prompt, or in separate sequences."""
    if family.mrope or family.image_blocks or family.state:
        return "separate"
    return "packed, separate with a window" if _WINDOW in family.note else "packed"
