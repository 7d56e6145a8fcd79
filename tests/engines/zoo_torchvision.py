"""The same of types whose processors need torchvision, and of those whose towers are timm's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers

from prefgen.engines.hf.loading import LoadedModel
from tests.engines import tiny, zoo
from tests.engines.tiny import TEXT, VISION
from tests.engines.zoo import built, chatml
from tests.engines.zoo_found import ANYRES, SIGLIP, WINDOW, ids_of, pictures, tokens


def fast_vlm() -> LoadedModel:
    """A convolutional tower of timm's; the published one is larger."""
    tokenizer = tiny.tokenizer("<image>")
    images = transformers.CLIPImageProcessor(size={"height": 128, "width": 128}, do_center_crop=False)
    whole = {"patch_size": 32, "vision_feature_select_strategy": "full", "num_additional_image_tokens": 0}
    processor = transformers.LlavaProcessor(images, tokenizer, **{**ANYRES, **whole})
    vision = {"architecture": "test_convnext", "do_pooling": True, "hidden_size": 64, "num_classes": 0}
    ids = ids_of(tokenizer, image_token_index="<image>")
    return built("fast_vlm", tokenizer, processor, vision, {"model_type": "qwen2"}, **ids)


def cohere2_vision() -> LoadedModel:
    """Tiles with a line break behind each, and a decoder of which some layers have a window."""
    tokenizer = tokens(
        image_token="<|IMG_PATCH|>",
        boi_token="<|START_OF_IMG|>",
        eoi_token="<|END_OF_IMG|>",
        img_line_break_token="<|IMG_LINE_BREAK|>",
    )
    images = zoo.crop("Cohere2VisionImageProcessor", patch_size=2, min_patches=1, max_patches=4, crop_to_patches=True)
    processor = transformers.Cohere2VisionProcessor(images, tokenizer, chat_template=chatml("<|IMG_PATCH|>"))
    ids = {"image_token_id": tokenizer.image_token_id, "alignment_intermediate_size": 64}
    return built("cohere2_vision", tokenizer, processor, SIGLIP, WINDOW, **ids)


def perception_lm() -> LoadedModel:
    """A tower of timm's, tiles and a thumbnail."""
    tokenizer = tokens(image_token="<|image|>", video_token="<|video|>")
    images = transformers.PerceptionLMImageProcessor(tile_size=32, max_num_tiles=4)
    processor = pictures(
        "PerceptionLM", None, images, tokenizer, patch_size=8, pooling_ratio=2, chat_template=chatml("<|image|>")
    )
    sizes = {
        "embed_dim": 32,
        "img_size": [32, 32],
        "depth": 2,
        "patch_size": 8,
        "num_heads": 2,
        "ref_feat_shape": [4, 4],
    }
    tower = {"global_pool": "", "use_post_transformer_norm": False, "init_values": 0.1, **sizes}
    return built(
        "perception_lm",
        tokenizer,
        processor,
        {"architecture": "vit_pe_core_large_patch14_336", "model_args": tower},
        {"model_type": "llama"},
        projector_pooling_ratio=2,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
    )


def llama4() -> LoadedModel:
    """Tiles with separators; its output layer is a part of its language model."""
    special = ("image", "image_start", "image_end", "patch", "tile_x_separator", "tile_y_separator")
    tokenizer = tokens(*(f"<|{name}|>" for name in special))
    images = zoo.crop("Llama4ImageProcessor", max_patches=4)
    processor = transformers.Llama4Processor(images, tokenizer, patch_size=8, chat_template=chatml("<|image|>"))
    widths = dict.fromkeys(("vision_output_dim", "projector_input_dim", "projector_output_dim"), 32)
    layers = {"layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0]}
    return built(
        "llama4",
        tokenizer,
        processor,
        {**VISION, "intermediate_size": 128, **widths},
        {"intermediate_size_mlp": 96, "num_local_experts": 4, "attention_chunk_size": 512, **layers},
        **ids_of(tokenizer, image_token_index="<|patch|>"),
    )


def lfm2_vl() -> LoadedModel:
    """Short convolutions in every other layer."""
    tags = [f"<|img_row_{row}_col_{column}|>" for row in (1, 2) for column in (1, 2)]
    tokenizer = tokens(
        *tags,
        image_token="<image>",
        image_start_token="<|image_start|>",
        image_end_token="<|image_end|>",
        image_thumbnail_token="<|img_thumbnail|>",
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
    vision = {name: value for name, value in VISION.items() if name != "image_size"}
    return built(
        "lfm2_vl",
        tokenizer,
        transformers.Lfm2VlProcessor(images, tokenizer, chat_template="{{ bos_token }}" + chatml("<image>")),
        {"model_type": "siglip2_vision_model", **vision, "num_patches": 64, "vision_use_head": False},
        {"model_type": "lfm2", "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
        image_token_id=tokenizer.image_token_id,
        projector_hidden_size=32,
        tie_word_embeddings=False,
    )


_GEMMA = {"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
_GEMMA_IMAGE = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "video_token": "<|video|>",
}


def _gemma(
    kind: str, name: str, vision: dict[str, Any], text: dict[str, Any], ids: tuple[str, ...], **config: Any
) -> LoadedModel:
    """A Gemma of the fourth generation."""
    tokenizer = tiny.tokenizer("<start_of_turn>", "<end_of_turn>", named={**_GEMMA_IMAGE, **_GEMMA})
    images = getattr(transformers, f"{name}ImageProcessor")(patch_size=8, pooling_kernel_size=2, max_soft_tokens=70)
    made = pictures(
        name,
        getattr(transformers, f"{name}AudioFeatureExtractor")(),
        images,
        tokenizer,
        None,
        image_seq_length=70,
        chat_template=zoo.GEMMA.replace("<start_of_image>", "<|image|>"),
    )
    return built(
        kind,
        tokenizer,
        made,
        {"patch_size": 8, "pooling_kernel_size": 2, **vision},
        {
            "global_head_dim": TEXT["head_dim"],
            **WINDOW,
            **text,
            **{k: len(tokenizer) for k in config.pop("vocab", ())},
        },
        audio_config=None,
        tie_word_embeddings=False,
        **{f"{token}_id": getattr(tokenizer, f"{token}_id") for token in ids},
        **config,
    )


def gemma4(**text: Any) -> LoadedModel:
    """Patches pooled two by two, embeddings of its own in every layer, layers that share keys and values."""
    widths = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    vision = {"num_key_value_heads": 2, "head_dim": 16, "position_embedding_size": 64, **{k: VISION[k] for k in widths}}
    ids = ("image_token", "video_token", "boi_token", "eoi_token", "audio_token")
    own = {"hidden_size_per_layer_input": 8, **text}
    return _gemma("gemma4", "Gemma4", vision, own, ids, vocab=("vocab_size_per_layer_input",))


def gemma4_unified() -> LoadedModel:
    """Patches embedded without an encoder, attending to each other in both directions."""
    vision = {"mm_embed_dim": 32, "mm_posemb_size": 64, "output_proj_dims": 32}
    ids = ("image_token", "video_token", "boi_token", "eoi_token", "audio_token")
    return _gemma("gemma4_unified", "Gemma4Unified", vision, {}, ids)


def gemma3n() -> LoadedModel:
    """A convolutional tower of timm's (the published one is larger), embeddings of its own in every layer."""
    image = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    tokenizer = tiny.tokenizer("<start_of_turn>", "<end_of_turn>", named={**image, **_GEMMA})
    size = len(tokenizer)
    processor = transformers.Gemma3nProcessor(
        transformers.Gemma3nAudioFeatureExtractor(),
        transformers.SiglipImageProcessor(size={"height": 128, "width": 128}),
        tokenizer,
        image_seq_length=16,
        chat_template=zoo.GEMMA.replace("<start_of_image>", "<image_soft_token>"),
    )
    layers = {"num_kv_shared_layers": 0, "laurel_rank": 4, "activation_sparsity_pattern": [0.0, 0.0]}
    sound = {"hidden_size": 32, "conf_num_attention_heads": 2, "conf_num_hidden_layers": 1}
    vocabularies = {"vocab_size": size + 8, "vocab_size_per_layer_input": size, "hidden_size_per_layer_input": 8}
    return built(
        "gemma3n",
        tokenizer,
        processor,
        {"architecture": "test_resnet", "hidden_size": 96, "num_classes": 0, "vocab_offset": size, "vocab_size": 4},
        {**WINDOW, **layers, **vocabularies, "intermediate_size": [96, 96]},
        audio_config={**sound, "vocab_offset": size + 4, "vocab_size": 4, "sscp_conv_channel_size": (8, 4)},
        image_token_id=tokenizer.image_token_id,
        audio_token_id=tokenizer.audio_token_id,
        vision_soft_tokens_per_image=16,
    )


def kimi_k25() -> LoadedModel:
    """Keys and values in a latent space, and experts: DeepSeek-V3's decoder."""
    pads = ("<|media_begin|>", "<|media_end|>", "<|media_pad|>", "<|kimi_k25_video_placeholder|>")
    tokenizer = tokens(*pads)
    images = transformers.Kimi_K25ImageProcessor(size={"max_height": 8, "max_width": 8}, patch_size=8, max_patches=64)
    template = chatml("<|media_begin|><|media_pad|><|media_end|>")
    heads = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12}
    experts = {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}
    ids = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    return built(
        "kimi_k25",
        tokenizer,
        pictures("Kimi_K25", images, tokenizer, None, chat_template=template),
        {"patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8, **vision},
        {
            "model_type": "deepseek_v3",
            "num_key_value_heads": TEXT["num_attention_heads"],
            **heads,
            **experts,
            "head_dim": 8,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
        },
        projection_hidden_size=32,
        tie_word_embeddings=False,
        **ids_of(tokenizer, **dict(zip(ids, pads, strict=True))),
    )


def muse_glimmer() -> LoadedModel:
    """Patches merged two by two before a decoder of which some layers have a window."""
    named = ("patch", "image_start", "image_end", "video", "vid_frame_separator", "vid_start", "vid_end")
    tokenizer = tokens(*(f"<|{name}|>" for name in named))
    images = transformers.MuseGlimmerImageProcessor(patch_size=8, max_image_tokens=16)
    sizes = {"num_attention_heads": 2, "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64}
    return built(
        "muse_glimmer",
        tokenizer,
        pictures("MuseGlimmer", images, None, tokenizer, chat_template=chatml("<|patch|>")),
        {"patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8, "max_position_embeddings": 64, **sizes},
        WINDOW,
        out_hidden_size=128,
        projector_hidden_size=32,
        **ids_of(tokenizer, image_token_id="<|patch|>", video_token_id="<|video|>"),
    )


def step3p7() -> LoadedModel:
    """Patches around the whole picture, experts, and a decoder of which some layers have a window."""
    special = ("<im_patch>", "<patch_start>", "<patch_end>", "<patch_newline>", "<im_start>", "<im_end>")
    tokenizer = tokens(*special)
    images = transformers.Step3p7ImageProcessor(
        size={"height": 64, "width": 64}, patch_size=32, vision_patch_size=8, downsampler_stride=4
    )
    experts = {"num_experts_per_tok": 2, "num_local_experts": 4, "n_routed_experts": 4, "share_expert_dim": 32}
    return built(
        "step3p7",
        tokenizer,
        transformers.Step3p7Processor(images, tokenizer, chat_template=chatml("<im_patch>")),
        {**VISION, "image_size": 64, "max_position_embeddings": 64},
        {**WINDOW, **experts, "moe_intermediate_size": 32, "mlp_layer_types": ["dense", "sparse"]},
        **ids_of(tokenizer, image_token_id="<im_patch>"),
    )


def nemotron_h_omni() -> LoadedModel:
    """Mamba in every other layer. Its own part for sounds needs librosa; Whisper's stands in its place."""
    special = ("<image>", "<video>", "<img>", "</img>", "<so_embedding>", "<so_start>", "<so_end>")
    tokenizer = tokens(*special)
    name = "NemotronH_Omni_Reasoning_V3"
    images = getattr(transformers, f"{name}ImageProcessor")(patch_size=8, min_num_patches=16, max_num_patches=64)
    sounds = transformers.WhisperFeatureExtractor()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2.0, "patch_size": 8}
    state = {"ssm_state_size": 8, "mamba_num_heads": 4, "mamba_head_dim": 32, "n_groups": 1, "chunk_size": 16}
    return built(
        "nemotron_h_omni",
        tokenizer,
        pictures(name, images, None, tokenizer, sounds, chat_template=chatml("<image>\n")),
        {**sizes, "image_size": 64, "max_img_size": 64, "video_temporal_patch_size": 2},
        {"layers_block_type": ["mamba", "attention"], **state},
        vision_hidden_size=32,
        projector_hidden_size=64,
        **ids_of(tokenizer, image_token_id="<image>", video_token_id="<video>", audio_token_id="<so_embedding>"),
    )


_BUILT: tuple[Callable[[], LoadedModel], ...] = (
    lfm2_vl,
    gemma4,
    cohere2_vision,
    perception_lm,
    fast_vlm,
    gemma3n,
    llama4,
    kimi_k25,
    muse_glimmer,
    step3p7,
    gemma4_unified,
    nemotron_h_omni,
)
TORCHVISION: dict[str, Callable[[], LoadedModel]] = {build.__name__: build for build in _BUILT}
TIMM = {"fast_vlm", "gemma3n", "perception_lm"}
