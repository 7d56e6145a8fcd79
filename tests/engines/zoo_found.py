"""Small random models, with their real processors, of types that no table lists: what they take is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers

from prefgen.engines.hf.loading import LoadedModel, pictures_only
from tests.engines import tiny, zoo
from tests.engines.tiny import TEXT, VISION
from tests.engines.zoo import chatml

_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}
_EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
_STATE = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
_QWEN3_VISION = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 48, "num_position_embeddings": 64}
_PADS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_QWEN_IMAGE = chatml("<|vision_start|><|image_pad|><|vision_end|>")


def _patches(name: str = "Qwen2VLImageProcessor", **settings: Any) -> Any:
    """An image processor that makes as many patches as the image needs."""
    size = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    return getattr(transformers, name)(size=size, patch_size=8, merge_size=2, **settings)


def _merging(
    name: str,
    text: dict[str, Any],
    vision: dict[str, Any],
    *,
    processor: str = "Qwen3VL",
    images: str = "Qwen2VLImageProcessor",
) -> LoadedModel:
    """A relative of Qwen2-VL: patches merged two by two, at three-dimensional positions."""
    tokenizer = tiny.tokenizer(*_PADS, "<|im_start|>", "<|im_end|>", byte_level=True)
    start, end, image, video = zoo._ids(tokenizer, *_PADS)
    config = getattr(transformers, f"{name}Config")(
        vision_config={"depth": 2, "num_heads": 2, "patch_size": 8, **vision},
        text_config={"vocab_size": len(tokenizer), "head_dim": 12, **TEXT, **zoo._ends(tokenizer), **text},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    made = pictures_only(getattr(transformers, f"{processor}Processor"))(
        _patches(images), tokenizer, None, chat_template=_QWEN_IMAGE
    )
    return zoo._built(name, config, made)


def qwen3_vl_moe() -> LoadedModel:
    """Qwen3-VL with experts."""
    text = {"rope_parameters": _MROPE, **_EXPERTS, "decoder_sparse_step": 1}
    return _merging("Qwen3VLMoe", text, {**_QWEN3_VISION, "deepstack_visual_indexes": [0]})


def qwen3_5() -> LoadedModel:
    """Linear attention in every other layer."""
    rope = {**_MROPE, "partial_rotary_factor": 1.0, "mrope_interleaved": True}
    return _merging("Qwen3_5", {"rope_parameters": rope, **_STATE}, _QWEN3_VISION)


def qwen3_5_moe() -> LoadedModel:
    """The same with experts."""
    rope = {**_MROPE, "partial_rotary_factor": 1.0, "mrope_interleaved": True}
    text = {"rope_parameters": rope, **_STATE, **_EXPERTS, "shared_expert_intermediate_size": 32}
    return _merging("Qwen3_5Moe", text, _QWEN3_VISION)


def vipllava() -> LoadedModel:
    """Features of several layers of CLIP behind each other."""
    tokenizer = tiny.tokenizer("<image>")
    config = transformers.VipLlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**VISION),
        text_config=transformers.LlamaConfig(vocab_size=len(tokenizer), **TEXT),
        image_token_index=zoo._ids(tokenizer, "<image>")[0],
        vision_feature_layers=(-2, -1),
    )
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tiny.CHAT_TEMPLATE,
    )
    return zoo._built("VipLlava", config, processor)


def _anyres(name: str, config: Any, tokenizer: Any, **settings: Any) -> Any:
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        image_grid_pinpoints=config.image_grid_pinpoints,
    )
    parts = [None, images, tokenizer] if name == "LlavaNextVideo" else [images, tokenizer]
    return pictures_only(getattr(transformers, f"{name}Processor"))(
        *parts,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tiny.CHAT_TEMPLATE,
        **settings,
    )


def llava_next_video() -> LoadedModel:
    """LLaVA-NeXT that also reads videos."""
    tokenizer = tiny.tokenizer("<image>", "<video>")
    image, video = zoo._ids(tokenizer, "<image>", "<video>")
    config = transformers.LlavaNextVideoConfig(
        vision_config=transformers.CLIPVisionConfig(**VISION),
        text_config=transformers.LlamaConfig(vocab_size=len(tokenizer), **TEXT),
        image_token_index=image,
        video_token_index=video,
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return zoo._built("LlavaNextVideo", config, _anyres("LlavaNextVideo", config, tokenizer))


_GLM = ("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")


def _glm(name: str, config_name: str, text: dict[str, Any], processor: str, text_class: str = "") -> LoadedModel:
    tokenizer = tiny.tokenizer(*_GLM, "<|im_start|>", "<|im_end|>", byte_level=True)
    image, video, *around = zoo._ids(tokenizer, *_GLM)
    names = ("image_start_token_id", "image_end_token_id", "video_start_token_id", "video_end_token_id")
    vision = {"depth": 2, "num_heads": 2, "patch_size": 8, "image_size": 64, "hidden_size": 32, "out_hidden_size": 48}
    rope = {**_MROPE, "partial_rotary_factor": 1.0}
    config = getattr(transformers, f"{config_name}Config")(
        vision_config={**vision, "intermediate_size": 64},
        text_config={"vocab_size": len(tokenizer), "rope_parameters": rope, **TEXT, **zoo._ends(tokenizer), **text},
        image_token_id=image,
        video_token_id=video,
        **dict(zip(names, around, strict=True)),
    )
    made = pictures_only(getattr(transformers, f"{processor}Processor"))(
        _patches(f"{processor}ImageProcessor"),
        tokenizer,
        None,
        chat_template=chatml("<|begin_of_image|><|image|><|end_of_image|>"),
    )
    return zoo._built(name, config, made)


def glm4v() -> LoadedModel:
    """GLM-4.1V."""
    return _glm("Glm4v", "Glm4v", {}, "Glm4v")


def glm4v_moe() -> LoadedModel:
    """GLM-4.5V."""
    text = {
        "moe_intermediate_size": 32,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 12,
        "attention_bias": True,
    }
    loaded = _glm("Glm4vMoe", "Glm4vMoe", text, "Glm4v")
    for weight in loaded.model.model.visual.merger.parameters():
        weight.data *= 8  # else a picture is hardly seen
    return loaded


def glm46v() -> LoadedModel:
    """GLM-4.6V."""
    return _glm("Glm46V", "Glm46V", {}, "Glm46V")


def deepseek_vl() -> LoadedModel:
    """SigLIP and an aligner of two layers."""
    tokenizer = tiny.tokenizer(byte_level=True, named={"image_token": "<image_placeholder>"})
    config = transformers.DeepseekVLConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION, "vision_use_head": False},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **TEXT, **zoo._ends(tokenizer)},
        image_token_id=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )
    images = transformers.DeepseekVLImageProcessor(size={"height": 32, "width": 32})
    processor = transformers.DeepseekVLProcessor(
        images,
        tokenizer,
        num_image_tokens=16,
        chat_template=tiny.CHAT_TEMPLATE.replace("<image>", "<image_placeholder>"),
    )
    return zoo._built("DeepseekVL", config, processor)


def aria() -> LoadedModel:
    """Experts, and a projector with queries."""
    tokenizer = tiny.tokenizer(named={"image_token": "<|img|>"})
    config = transformers.AriaConfig(
        vision_config={"model_type": "idefics3_vision", **VISION, "image_size": 980, "patch_size": 140},
        text_config={
            "model_type": "aria_text",
            "vocab_size": len(tokenizer),
            **TEXT,
            **zoo._ends(tokenizer),
            "moe_num_experts": 4,
        },
        image_token_index=tokenizer.image_token_id,
        projector_patch_to_query_dict={49: 8},
    )
    images = transformers.AriaImageProcessor()
    processor = transformers.AriaProcessor(
        images, tokenizer, size_conversion={980: 8}, chat_template=tiny.CHAT_TEMPLATE.replace("<image>", "<|img|>")
    )
    return zoo._built("Aria", config, processor)


def ernie4_5_vl_moe() -> LoadedModel:
    """Experts for text and for images, by the type of each token."""
    named = {
        "image_token": "<|IMAGE_PLACEHOLDER|>",
        "image_start_token": "<|IMAGE_START|>",
        "image_end_token": "<|IMAGE_END|>",
        "video_token": "<|VIDEO|>",
        "video_start_token": "<|VIDEO_START|>",
        "video_end_token": "<|VIDEO_END|>",
    }
    tokenizer = tiny.tokenizer("<|im_start|>", "<|im_end|>", byte_level=True, named=named)
    config = transformers.Ernie4_5_VLMoeConfig(
        vision_config={
            "depth": 2,
            "num_heads": 2,
            "patch_size": 8,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 48,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "rope_parameters": _MROPE,
            **TEXT,
            **zoo._ends(tokenizer),
            "moe_intermediate_size": [32, 16],
            "moe_num_experts": 4,
            "moe_k": 2,
            "mlp_layer_types": ["dense", "sparse"],
        },
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in named},
    )
    processor = pictures_only(transformers.Ernie4_5_VLMoeProcessor)(
        _patches("Ernie4_5_VLMoeImageProcessor"),
        tokenizer,
        None,
        chat_template=chatml("<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"),
    )
    return zoo._built("Ernie4_5_VLMoe", config, processor)


def granite4_vision() -> LoadedModel:
    """Features added in several layers of the decoder, each by a query former of its own."""
    tokenizer = tiny.tokenizer("<image>")
    config = transformers.Granite4VisionConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION, "hidden_size": 64, "vision_use_head": False},
        text_config={
            "model_type": "granite4_vision_text",
            "vocab_size": len(tokenizer),
            **TEXT,
            **zoo._ends(tokenizer),
        },
        image_token_index=zoo._ids(tokenizer, "<image>")[0],
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
        vision_feature_select_strategy="full",
        downsample_rate="1/2",
        deepstack_layer_map=[[0, 0], [1, 1]],
        spatial_target_layers=[0, 1, 0, 1],
        qformer_config={
            "model_type": "blip_2_qformer",
            "hidden_size": 64,  # the encoder's, with heads of 64 numbers: newer versions put in both themselves
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "intermediate_size": 64,
            "encoder_hidden_size": 64,
        },
    )
    return zoo._built("Granite4Vision", config, _anyres("Granite4Vision", config, tokenizer, downsample_rate="1/2"))


def lighton_ocr() -> LoadedModel:
    """Pixtral's encoder before Qwen3, without break tokens."""
    named = {"image_token": "<|image_pad|>", "image_break_token": "<|vision_pad|>", "image_end_token": "<|vision_end|>"}
    tokenizer = tiny.tokenizer("<|im_start|>", "<|im_end|>", byte_level=True, named=named)
    config = transformers.LightOnOcrConfig(
        vision_config={"model_type": "pixtral", **VISION, "image_size": 64},
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "head_dim": 12,
            **TEXT,
            **zoo._ends(tokenizer),
        },
        image_token_id=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )
    images = transformers.PixtralImageProcessor(size={"longest_edge": 64}, patch_size={"height": 16, "width": 16})
    processor = transformers.LightOnOcrProcessor(
        images, tokenizer, patch_size=8, spatial_merge_size=2, chat_template=chatml("<|image_pad|>")
    )
    return zoo._built("LightOnOcr", config, processor)


def paddleocr_vl() -> LoadedModel:
    """Three-dimensional positions, and patches merged by a projector."""
    named = {"image_token": "<|IMAGE_PLACEHOLDER|>"}
    tokenizer = tiny.tokenizer(
        "<|im_start|>", "<|im_end|>", "<|IMAGE_START|>", "<|IMAGE_END|>", byte_level=True, named=named
    )
    start, end = zoo._ids(tokenizer, "<|IMAGE_START|>", "<|IMAGE_END|>")
    config = transformers.PaddleOCRVLConfig(
        vision_config={**VISION, "image_size": 64},
        text_config={
            "vocab_size": len(tokenizer),
            "head_dim": 12,
            "rope_parameters": _MROPE,
            **TEXT,
            **zoo._ends(tokenizer),
        },
        image_token_id=tokenizer.image_token_id,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    processor = transformers.PaddleOCRVLProcessor(
        _patches("PaddleOCRVLImageProcessor"),
        tokenizer,
        chat_template=chatml("<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"),
    )
    return zoo._built("PaddleOCRVL", config, processor)


def exaone4_5() -> LoadedModel:
    """Qwen2.5-VL's kind of encoder at plain positions."""
    tokenizer = tiny.tokenizer(*_PADS, "<|im_start|>", "<|im_end|>", byte_level=True)
    config = transformers.Exaone4_5_Config(
        vision_config={
            "model_type": "exaone4_5_vision",
            "depth": 2,
            "num_heads": 2,
            "num_key_value_heads": 1,
            "patch_size": 8,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 48,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "model_type": "exaone4",
            "vocab_size": len(tokenizer),
            "head_dim": 12,
            "sliding_window": None,
            "layer_types": ["full_attention"] * 2,
            **TEXT,
            **zoo._ends(tokenizer),
        },
        image_token_id=zoo._ids(tokenizer, "<|image_pad|>")[0],
        video_token_id=zoo._ids(tokenizer, "<|video_pad|>")[0],
    )
    made = pictures_only(transformers.Exaone4_5_Processor)(_patches(), tokenizer, None, chat_template=_QWEN_IMAGE)
    return zoo._built("Exaone4_5_", config, made)


def video_llama_3() -> LoadedModel:
    """As many patches as the image needs, at plain positions."""
    tokenizer = tiny.tokenizer(*_PADS, "<|im_start|>", "<|im_end|>", byte_level=True)
    config = transformers.VideoLlama3Config(
        vision_config={**VISION},
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT, **zoo._ends(tokenizer)},
        image_token_id=zoo._ids(tokenizer, "<|image_pad|>")[0],
        video_token_id=zoo._ids(tokenizer, "<|video_pad|>")[0],
    )
    images = _patches("VideoLlama3ImageProcessor")
    made = pictures_only(transformers.VideoLlama3Processor)(
        images, tokenizer, None, chat_template=chatml("<|image_pad|>\n")
    )
    return zoo._built("VideoLlama3", config, made)


def qianfan_ocr() -> LoadedModel:
    """InternVL's tiles before Qwen3."""
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = tiny.tokenizer("<|im_start|>", "<|im_end|>", "<image>", byte_level=True, named=named)
    config = transformers.QianfanOCRConfig(
        vision_config={**VISION, "image_size": (32, 32), "patch_size": (8, 8), "drop_path_rate": 0.0},
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "head_dim": 12,
            **TEXT,
            **zoo._ends(tokenizer),
        },
        image_token_id=zoo._ids(tokenizer, "<IMG_CONTEXT>")[0],
    )
    images = zoo._crop("GotOcr2ImageProcessor", crop_to_patches=True, min_patches=1, max_patches=4)
    processor = transformers.QianfanOCRProcessor(
        images, tokenizer, image_seq_length=4, chat_template=chatml("<image>\n")
    )
    return zoo._built("QianfanOCR", config, processor)


def glm_ocr() -> LoadedModel:
    """GLM-OCR, whose processor is GLM-4.6V's."""
    return _glm("GlmOcr", "GlmOcr", {"head_dim": 12}, "Glm46V")


def hyperclovax_vision_v2() -> LoadedModel:
    """Qwen2.5-VL's encoder before HyperCLOVA X, at plain positions."""
    tokenizer = tiny.tokenizer(*_PADS, "<|im_start|>", "<|im_end|>", byte_level=True)
    config = transformers.HyperCLOVAXVisionV2Config(
        vision_config={
            "model_type": "qwen2_5_vl_vision",
            "depth": 2,
            "num_heads": 2,
            "patch_size": 8,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 48,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "model_type": "hyperclovax",
            "vocab_size": len(tokenizer),
            "head_dim": 12,
            **TEXT,
            **zoo._ends(tokenizer),
        },
        image_token_id=zoo._ids(tokenizer, "<|image_pad|>")[0],
        video_token_id=zoo._ids(tokenizer, "<|video_pad|>")[0],
    )
    made = pictures_only(transformers.HyperCLOVAXVisionV2Processor)(
        _patches(), tokenizer, None, chat_template=_QWEN_IMAGE
    )
    return zoo._built("HyperCLOVAXVisionV2", config, made)


def lfm2_vl() -> LoadedModel:
    """Short convolutions in every other layer."""
    named = {
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail_token": "<|img_thumbnail|>",
    }
    tags = [f"<|img_row_{row}_col_{column}|>" for row in (1, 2) for column in (1, 2)]
    tokenizer = tiny.tokenizer("<|im_start|>", "<|im_end|>", *tags, byte_level=True, named=named)
    config = transformers.Lfm2VlConfig(
        vision_config={
            "model_type": "siglip2_vision_model",
            **{k: v for k, v in VISION.items() if k != "image_size"},
            "num_patches": 64,
            "vision_use_head": False,
        },
        text_config={
            "model_type": "lfm2",
            "vocab_size": len(tokenizer),
            "layer_types": ["conv", "full_attention"],
            "block_auto_adjust_ff_dim": False,
            **TEXT,
            **zoo._ends(tokenizer),
        },
        image_token_id=tokenizer.image_token_id,
        projector_hidden_size=32,
        tie_word_embeddings=False,
    )
    images = transformers.Lfm2VlImageProcessor(
        encoder_patch_size=8,
        tile_size=32,
        min_image_tokens=2,
        max_image_tokens=8,
        max_num_patches=64,
        max_tiles=4,
        min_tiles=2,
    )
    processor = transformers.Lfm2VlProcessor(images, tokenizer, chat_template="{{ bos_token }}" + chatml("<image>"))
    return zoo._built("Lfm2Vl", config, processor)


def gemma4(**text: Any) -> LoadedModel:
    """Patches pooled three by three, embeddings of its own in every layer, layers that share keys and values."""
    named = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
        "video_token": "<|video|>",
    }
    tokenizer = tiny.tokenizer("<start_of_turn>", "<end_of_turn>", named=named)
    config = transformers.Gemma4Config(
        vision_config={
            **{
                key: VISION[key]
                for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
            },
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 8,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "head_dim": 12,
            "global_head_dim": 12,
            "sliding_window": 512,
            "layer_types": ["sliding_attention", "full_attention"],
            "vocab_size_per_layer_input": len(tokenizer),
            "hidden_size_per_layer_input": 8,
            **TEXT,
            **zoo._ends(tokenizer),
            **text,
        },
        audio_config=None,
        tie_word_embeddings=False,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
        audio_token_id=tokenizer.audio_token_id,
    )
    images = transformers.Gemma4ImageProcessor(patch_size=8, pooling_kernel_size=2, max_soft_tokens=70)
    made = pictures_only(transformers.Gemma4Processor)(
        transformers.Gemma4AudioFeatureExtractor(),
        images,
        tokenizer,
        None,
        image_seq_length=70,
        chat_template=zoo.GEMMA.replace("<start_of_image>", "<|image|>"),
    )
    return zoo._built("Gemma4", config, made)


FOUND: dict[str, Callable[[], LoadedModel]] = {
    "qwen3_vl_moe": qwen3_vl_moe,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_5_moe,
    "vipllava": vipllava,
    "llava_next_video": llava_next_video,
    "glm4v": glm4v,
    "glm4v_moe": glm4v_moe,
    "glm46v": glm46v,
    "deepseek_vl": deepseek_vl,
    "aria": aria,
    "ernie4_5_vl_moe": ernie4_5_vl_moe,
    "granite4_vision": granite4_vision,
    "lighton_ocr": lighton_ocr,
    "paddleocr_vl": paddleocr_vl,
    "exaone4_5": exaone4_5,
    "video_llama_3": video_llama_3,
    "qianfan_ocr": qianfan_ocr,
    "glm_ocr": glm_ocr,
    "hyperclovax_vision_v2": hyperclovax_vision_v2,
    "lfm2_vl": lfm2_vl,
    "gemma4": gemma4,
}
