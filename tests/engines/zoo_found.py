"""Small random models, with their real processors, of types that no table lists: what they take is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers

from prefgen.engines.hf.loading import LoadedModel, pictures_only
from tests.engines import tiny, zoo
from tests.engines.tiny import VISION
from tests.engines.zoo import MROPE, WIDTH, built, chatml

_EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
STATE = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": {**MROPE, "partial_rotary_factor": 1.0, "mrope_interleaved": True},
}
WINDOW = {"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]}
SIGLIP = {"model_type": "siglip_vision_model", **VISION, "vision_use_head": False}
_CLIP = {"model_type": "clip_vision_model", **VISION}
_PATCHY = {"depth": 2, "num_heads": 2, "patch_size": 8, "hidden_size": 32, "intermediate_size": 64}
_QWEN = {**_PATCHY, "out_hidden_size": WIDTH}
_QWEN2_5 = {**_QWEN, "window_size": 32, "fullatt_block_indexes": [1]}
_QWEN3 = {**_QWEN, "num_position_embeddings": 64}
_SAM = {
    "hidden_size": 32,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 4,
    "window_size": 4,
    "global_attn_indexes": [1],
    "mlp_dim": 64,
}
_PADS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_QWEN_IMAGE = chatml("<|vision_start|><|image_pad|><|vision_end|>")
_PINPOINTS = [[32, 64], [64, 32], [64, 64]]
ANYRES = {
    "patch_size": 8,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
    "chat_template": tiny.CHAT_TEMPLATE,
}


def tokens(*special: str, **named: str) -> Any:
    """A tokenizer with the tokens of ChatML.

    Args:
        named: special tokens that a processor asks for by name.
    """
    return tiny.tokenizer("<|im_start|>", "<|im_end|>", *special, byte_level=True, named=named)


def ids_of(tokenizer: Any, **tokens: str) -> dict[str, int]:
    """Ids of tokens under the names that a configuration has for them."""
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def patches(name: str = "Qwen2VL", **settings: Any) -> Any:
    """An image processor that makes as many patches as the image needs."""
    size = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    return getattr(transformers, f"{name}ImageProcessor")(size=size, patch_size=8, merge_size=2, **settings)


def _crop(name: str = "CLIP") -> Any:
    """An image processor that cuts out 32 x 32, or tiles of that size."""
    settings = {} if name != "LlavaNext" else {"image_grid_pinpoints": _PINPOINTS}
    made = getattr(transformers, f"{name}ImageProcessor")
    return made(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, **settings)


def _tiles() -> Any:
    """An image processor that cuts up to four tiles of 32 x 32."""
    return zoo.crop("GotOcr2ImageProcessor", crop_to_patches=True, min_patches=1, max_patches=4)


def pictures(name: str, *parts: Any, **settings: Any) -> Any:
    """A processor of pictures and videos without its part for videos, for which None is given."""
    return pictures_only(getattr(transformers, f"{name}Processor"))(*parts, **settings)


def _merging(
    kind: str,
    text: dict[str, Any],
    vision: dict[str, Any],
    *,
    processor: str = "Qwen3VL",
    images: str = "Qwen2VL",
    pads: tuple[str, ...] = _PADS,
    **config: Any,
) -> LoadedModel:
    """A relative of Qwen2-VL: patches merged two by two."""
    tokenizer = tokens(*pads)
    start, end, image, video = pads
    ids = ids_of(
        tokenizer, vision_start_token_id=start, vision_end_token_id=end, image_token_id=image, video_token_id=video
    )
    made = pictures(processor, patches(images), tokenizer, None, chat_template=chatml(f"{start}{image}{end}"))
    return built(kind, tokenizer, made, vision, text, **ids, **config)


def qwen3_vl_moe() -> LoadedModel:
    """Qwen3-VL with experts."""
    text = {"rope_parameters": MROPE, **_EXPERTS, "decoder_sparse_step": 1}
    return _merging("qwen3_vl_moe", text, {**_QWEN3, "deepstack_visual_indexes": [0]})


def qwen3_5() -> LoadedModel:
    """Linear attention in every other layer."""
    return _merging("qwen3_5", STATE, _QWEN3)


def qwen3_5_moe() -> LoadedModel:
    """The same with experts."""
    return _merging("qwen3_5_moe", {**STATE, **_EXPERTS, "shared_expert_intermediate_size": 32}, _QWEN3)


def cosmos3_omni() -> LoadedModel:
    """Qwen3-VL under another name."""
    return _merging("cosmos3_omni", {"rope_parameters": MROPE}, {**_QWEN3, "deepstack_visual_indexes": [0]})


def cohere_compass() -> LoadedModel:
    """Qwen3-VL's encoder before Cohere's decoder, every other layer of which has a window."""
    return _merging(
        "cohere_compass",
        {**WINDOW, "rope_parameters": dict.fromkeys(("sliding_attention", "full_attention"), MROPE)},
        {**_QWEN3, "deepstack_visual_indexes": [0]},
        processor="CohereCompass",
        images="CohereCompass",
        pads=("<|VISION_START|>", "<|VISION_END|>", "<|IMAGE_PAD|>", "<|VIDEO_PAD|>"),
    )


def exaone4_5() -> LoadedModel:
    """Qwen2.5-VL's kind of encoder at plain positions."""
    vision = {"model_type": "exaone4_5_vision", **_QWEN2_5, "num_key_value_heads": 1}
    text = {"model_type": "exaone4", "sliding_window": None, "layer_types": ["full_attention"] * 2}
    return _merging("exaone4_5", text, vision, processor="Exaone4_5_")


def hyperclovax_vision_v2() -> LoadedModel:
    """Qwen2.5-VL's encoder before HyperCLOVA X, at plain positions."""
    vision = {"model_type": "qwen2_5_vl_vision", **_QWEN2_5}
    return _merging("hyperclovax_vision_v2", {"model_type": "hyperclovax"}, vision, processor="HyperCLOVAXVisionV2")


def video_llama_3() -> LoadedModel:
    """As many patches as the image needs, at plain positions."""
    return _merging("video_llama_3", {"model_type": "qwen2"}, VISION, processor="VideoLlama3", images="VideoLlama3")


def vipllava() -> LoadedModel:
    """Features of several layers of CLIP behind each other."""
    tokenizer = tiny.tokenizer("<image>")
    processor = transformers.LlavaProcessor(_crop(), tokenizer, **ANYRES)
    ids = ids_of(tokenizer, image_token_index="<image>")
    return built(
        "vipllava", tokenizer, processor, _CLIP, {"model_type": "llama"}, vision_feature_layers=(-2, -1), **ids
    )


def video_llava() -> LoadedModel:
    """A tower for pictures and one for videos."""
    tokenizer = tiny.tokenizer("<image>", "<video>")
    processor = pictures("VideoLlava", _crop("VideoLlava"), None, tokenizer, **ANYRES)
    ids = ids_of(tokenizer, image_token_index="<image>", video_token_index="<video>")
    return built("video_llava", tokenizer, processor, _CLIP, {"model_type": "llama"}, **ids)


def llava_next_video() -> LoadedModel:
    """LLaVA-NeXT that also reads videos."""
    tokenizer = tiny.tokenizer("<image>", "<video>")
    processor = pictures("LlavaNextVideo", None, _crop("LlavaNext"), tokenizer, **ANYRES)
    ids = ids_of(tokenizer, image_token_index="<image>", video_token_index="<video>")
    return built(
        "llava_next_video",
        tokenizer,
        processor,
        _CLIP,
        {"model_type": "llama"},
        image_grid_pinpoints=_PINPOINTS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        **ids,
    )


def granite4_vision() -> LoadedModel:
    """Features added in several layers of the decoder, each by a query former of its own."""
    tokenizer = tiny.tokenizer("<image>")
    processor = pictures("Granite4Vision", _crop("LlavaNext"), tokenizer, downsample_rate="1/2", **ANYRES)
    # The former's width is the encoder's, with heads of 64 numbers: newer versions put in both themselves.
    former = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64}
    return built(
        "granite4_vision",
        tokenizer,
        processor,
        {**SIGLIP, "hidden_size": 64},
        {"model_type": "granite4_vision_text", "logits_scaling": 4.0},
        image_grid_pinpoints=_PINPOINTS,
        vision_feature_select_strategy="full",
        downsample_rate="1/2",
        deepstack_layer_map=[[0, 0], [1, 1]],
        spatial_target_layers=[0, 1, 0, 1],
        qformer_config={"model_type": "blip_2_qformer", "encoder_hidden_size": 64, **former},
        **ids_of(tokenizer, image_token_index="<image>"),
    )


_GLM = ("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")
_GLM_IDS = (
    "image_token",
    "video_token",
    "image_start_token",
    "image_end_token",
    "video_start_token",
    "video_end_token",
)


def _glm(kind: str, processor: str, text: dict[str, Any] | None = None, images: str = "") -> LoadedModel:
    tokenizer = tokens(*_GLM)
    template = chatml("<|begin_of_image|><|image|><|end_of_image|>")
    made = pictures(processor, patches(images or processor), tokenizer, None, chat_template=template)
    text = {"rope_parameters": {**MROPE, "partial_rotary_factor": 1.0}, **(text or {})}
    ids = ids_of(tokenizer, **{f"{name}_id": token for name, token in zip(_GLM_IDS, _GLM, strict=True)})
    return built(kind, tokenizer, made, {**_QWEN, "image_size": 64}, text, **ids)


def glm4v() -> LoadedModel:
    """GLM-4.1V."""
    return _glm("glm4v", "Glm4v")


def glm4v_moe() -> LoadedModel:
    """GLM-4.5V."""
    text = {"moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "attention_bias": True}
    loaded = _glm("glm4v_moe", "Glm4v", text)
    for weight in loaded.model.model.visual.merger.parameters():
        weight.data *= 8  # else a picture is hardly seen
    return loaded


def glm46v() -> LoadedModel:
    """GLM-4.6V."""
    return _glm("glm46v", "Glm46V")


def glmga() -> LoadedModel:
    """GLM-GA, whose code is GLM-4.6V's."""
    return _glm("glmga", "Glm46V", images="Glmga")


def glm_ocr() -> LoadedModel:
    """GLM-OCR, whose processor is GLM-4.6V's."""
    return _glm("glm_ocr", "Glm46V")


def deepseek_vl() -> LoadedModel:
    """SigLIP and an aligner of two layers."""
    return _deepseek("deepseek_vl", "DeepseekVL", SIGLIP)


def deepseek_vl_hybrid() -> LoadedModel:
    """The same with SAM's encoder beside it, at another resolution."""
    sam = {"high_res_vision_config": {"model_type": "sam_vision_model", **_SAM}}
    high = {"high_res_size": {"height": 64, "width": 64}}
    return _deepseek("deepseek_vl_hybrid", "DeepseekVLHybrid", SIGLIP, high, **sam)


def janus() -> LoadedModel:
    """An encoder to see with, and a codebook to draw with, which is not used."""
    drawing = {"embed_dim": 4, "num_embeddings": 16, "latent_channels": 8, "channel_multiplier": [1, 1]}
    sizes = {"num_res_blocks": 1, "projection_dim": WIDTH, "image_token_embed_dim": WIDTH, "num_hidden_layers": 1}
    vision = {**VISION, "projection_dim": WIDTH, "num_image_tokens": 16}
    return _deepseek("janus", "Janus", vision, {"min_size": 8}, vq_config={"base_channels": 32, **drawing, **sizes})


def _deepseek(
    kind: str, name: str, vision: dict[str, Any], images: dict[str, Any] | None = None, **config: Any
) -> LoadedModel:
    named = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"}
    tokenizer = tiny.tokenizer(byte_level=True, named=named)
    processor = getattr(transformers, f"{name}Processor")(
        zoo.crop(f"{name}ImageProcessor", **(images or {})),
        tokenizer,
        num_image_tokens=16,
        chat_template=tiny.CHAT_TEMPLATE.replace("<image>", "<image_placeholder>"),
    )
    ids = {"image_token_id": tokenizer.image_token_id, "tie_word_embeddings": False}
    return built(kind, tokenizer, processor, vision, {"model_type": "llama"}, **ids, **config)


def aria() -> LoadedModel:
    """Experts, and a projector with queries."""
    tokenizer = tiny.tokenizer(named={"image_token": "<|img|>"})
    template = tiny.CHAT_TEMPLATE.replace("<image>", "<|img|>")
    images = transformers.AriaImageProcessor()
    processor = transformers.AriaProcessor(images, tokenizer, size_conversion={980: 8}, chat_template=template)
    return built(
        "aria",
        tokenizer,
        processor,
        {"model_type": "idefics3_vision", **VISION, "image_size": 980, "patch_size": 140},
        {"model_type": "aria_text", "moe_num_experts": 4},
        image_token_index=tokenizer.image_token_id,
        projector_patch_to_query_dict={49: 8},
    )


def ernie4_5_vl_moe() -> LoadedModel:
    """Experts for text and for images, by the type of each token."""
    tokenizer = tokens(
        image_token="<|IMAGE_PLACEHOLDER|>",
        image_start_token="<|IMAGE_START|>",
        image_end_token="<|IMAGE_END|>",
        video_token="<|VIDEO|>",
        video_start_token="<|VIDEO_START|>",
        video_end_token="<|VIDEO_END|>",
    )
    experts = {"moe_intermediate_size": [32, 16], "moe_num_experts": 4, "moe_k": 2}
    template = chatml("<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>")
    return built(
        "ernie4_5_vl_moe",
        tokenizer,
        pictures("Ernie4_5_VLMoe", patches("Ernie4_5_VLMoe"), tokenizer, None, chat_template=template),
        _QWEN,
        {"rope_parameters": {**MROPE, "mrope_section": [6, 6, 4]}, **experts, "mlp_layer_types": ["dense", "sparse"]},
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in _GLM_IDS},
    )


def lighton_ocr() -> LoadedModel:
    """Pixtral's encoder before Qwen3, without break tokens."""
    tokenizer = tokens(
        image_token="<|image_pad|>", image_break_token="<|vision_pad|>", image_end_token="<|vision_end|>"
    )
    images = transformers.PixtralImageProcessor(size={"longest_edge": 64}, patch_size={"height": 16, "width": 16})
    processor = transformers.LightOnOcrProcessor(
        images, tokenizer, patch_size=8, spatial_merge_size=2, chat_template=chatml("<|image_pad|>")
    )
    ids = {"image_token_id": tokenizer.image_token_id, "tie_word_embeddings": False}
    vision = {"model_type": "pixtral", **VISION, "image_size": 64}
    return built("lighton_ocr", tokenizer, processor, vision, {"model_type": "qwen3"}, **ids)


def paddleocr_vl() -> LoadedModel:
    """Three-dimensional positions, and patches merged by a projector."""
    tokenizer = tokens("<|IMAGE_START|>", "<|IMAGE_END|>", image_token="<|IMAGE_PLACEHOLDER|>")
    template = chatml("<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>")
    processor = transformers.PaddleOCRVLProcessor(patches("PaddleOCRVL"), tokenizer, chat_template=template)
    ids = ids_of(tokenizer, vision_start_token_id="<|IMAGE_START|>", vision_end_token_id="<|IMAGE_END|>")
    vision, text = {**VISION, "image_size": 64}, {"rope_parameters": MROPE}
    return built("paddleocr_vl", tokenizer, processor, vision, text, image_token_id=tokenizer.image_token_id, **ids)


def qianfan_ocr() -> LoadedModel:
    """InternVL's tiles before Qwen3."""
    tokenizer = tokens(
        "<image>", start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>"
    )
    template = chatml("<image>\n")
    processor = transformers.QianfanOCRProcessor(_tiles(), tokenizer, image_seq_length=4, chat_template=template)
    vision = {**VISION, "drop_path_rate": 0.0}
    ids = ids_of(tokenizer, image_token_id="<IMG_CONTEXT>")
    return built("qianfan_ocr", tokenizer, processor, vision, {"model_type": "qwen3"}, **ids)


def idefics2() -> LoadedModel:
    """Queries before Mistral; its processor does not say what it puts in the place of an image."""
    special = ("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<|im_start|>")
    tokenizer = tiny.tokenizer(*special, byte_level=True)
    images = transformers.Idefics2ImageProcessor(
        size={"shortest_edge": 32, "longest_edge": 64}, do_image_splitting=False
    )
    processor = transformers.Idefics2Processor(images, tokenizer, image_seq_len=4, chat_template=zoo.IDEFICS)
    queries = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 16}
    return built(
        "idefics2",
        tokenizer,
        processor,
        {**VISION, "image_size": 64},
        {"model_type": "mistral", "sliding_window": None},
        perceiver_config={"hidden_size": WIDTH, "num_key_value_heads": 1, **queries},
        **ids_of(tokenizer, image_token_id="<image>"),
    )


def minicpmv4_6() -> LoadedModel:
    """Slices beside the whole picture, packed into one strip; Qwen3.5's decoder at plain positions."""
    tokenizer = tokens(
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        **{f"{part}_start_token": f"<{part}>" for part in ("image", "slice", "image_id")},
        **{f"{part}_end_token": f"</{part}>" for part in ("image", "slice", "image_id")},
    )
    images = transformers.MiniCPMV4_6ImageProcessor(scale_resolution=64, patch_size=8, max_slice_nums=4)
    return built(
        "minicpmv4_6",
        tokenizer,
        pictures("MiniCPMV4_6", images, None, tokenizer, chat_template=chatml("<|image_pad|>\n")),
        {**VISION, "image_size": 64},
        {"model_type": "qwen3_5_text", **STATE},
        insert_layer_id=0,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
    )


_BUILT: tuple[Callable[[], LoadedModel], ...] = (
    qwen3_vl_moe,
    qwen3_5,
    qwen3_5_moe,
    vipllava,
    llava_next_video,
    glm4v,
    glm4v_moe,
    glm46v,
    deepseek_vl,
    aria,
    ernie4_5_vl_moe,
    granite4_vision,
    lighton_ocr,
    paddleocr_vl,
    exaone4_5,
    video_llama_3,
    qianfan_ocr,
    glm_ocr,
    hyperclovax_vision_v2,
    idefics2,
    minicpmv4_6,
    video_llava,
    deepseek_vl_hybrid,
    janus,
    cosmos3_omni,
    cohere_compass,
    glmga,
)
FOUND: dict[str, Callable[[], LoadedModel]] = {build.__name__: build for build in _BUILT}
"""Functions by `config.model_type`."""
