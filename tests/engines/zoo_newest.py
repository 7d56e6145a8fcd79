"""The same of types that transformers has only since a version above the lowest declared one, see `SINCE`."""

from __future__ import annotations

from collections.abc import Callable

import transformers

from prefgen.engines.hf.loading import LoadedModel
from tests.engines import zoo
from tests.engines.tiny import TEXT, VISION
from tests.engines.zoo import built, chatml
from tests.engines.zoo_found import STATE, WINDOW, ids_of, patches, pictures, tokens


def molmo2() -> LoadedModel:
    """Crops that overlap and a small picture; features are added to the placeholder's embedding."""
    names = ("patch", "col", "start", "end", "low")
    special = (*(f"<im_{name}>" for name in names), "<low_res_im_start>", "<frame_start>", "<frame_end>")
    tokenizer = tokens(*special, image_token="<|image|>", video_token="<|video|>")
    images = zoo.crop("Molmo2ImageProcessor", patch_size=4, max_crops=4, overlap_margins=[1, 1])
    template = "{{ bos_token }}" + chatml("<|image|>")
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    adapter = {"hidden_size": 32, "intermediate_size": 64, "text_hidden_size": TEXT["hidden_size"], **heads}
    ids = {
        "image_patch_id": "<im_patch>",
        "image_start_token_id": "<im_start>",
        "low_res_image_start_token_id": "<low_res_im_start>",
        "image_end_token_id": "<im_end>",
        "frame_start_token_id": "<frame_start>",
        "frame_end_token_id": "<frame_end>",
    }
    return built(
        "molmo2",
        tokenizer,
        pictures("Molmo2", images, None, tokenizer, chat_template=template),
        {**VISION, **heads, "image_size": [32, 32], "patch_size": 4},
        {"additional_vocab_size": 0},
        adapter_config={**adapter, "vision_feature_layer": [0, 1]},
        **ids_of(tokenizer, **ids),
    )


def lfm3_vl() -> LoadedModel:
    """Short convolutions, a window and full attention."""
    pads = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = tokens(*pads)
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    layers = ["conv", "sliding_attention", "full_attention"]
    vision = {name: VISION[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "patch_size")}
    return built(
        "lfm3_vl",
        tokenizer,
        pictures("Lfm3Vl", patches(), tokenizer, None, chat_template=chatml(f"{pads[0]}{pads[2]}{pads[1]}")),
        {**vision, "num_attention_heads": 2, "num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]},
        {"model_type": "lfm3", "num_hidden_layers": 3, "layer_types": layers, "sliding_window": 512},
        projector_hidden_size=32,
        tie_word_embeddings=False,
        **ids_of(tokenizer, **dict(zip(names, pads, strict=True))),
    )


def granite_docling() -> LoadedModel:
    """Tiles with row and column tags; features of middle layers are added in the decoder."""
    tags = [f"<row_{row}_col_{column}>" for row in (1, 2, 3, 4) for column in (1, 2, 3, 4)]
    tokenizer = tokens("<image>", "<fake_token_around_image>", "<global-img>", *tags)
    size = {"height": 32, "width": 32}
    images = transformers.GraniteDoclingImageProcessor(size=size, max_patches=4)
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    vision = {**VISION, "out_hidden_size": TEXT["hidden_size"], "scale_factor": 2, "deepstack_visual_indexes": [0]}
    return built(
        "granite_docling",
        tokenizer,
        transformers.GraniteDoclingProcessor(images, tokenizer, image_seq_len=4, chat_template=chatml("<image>")),
        vision,
        {**text, "embedding_multiplier": 1.0, "residual_multiplier": 1.0, "attention_multiplier": 0.2},
        tie_word_embeddings=False,
        **ids_of(tokenizer, image_token_id="<image>", pad_token_id="<pad>"),
    )


def muse_spark() -> LoadedModel:
    """Muse Glimmer's encoder before experts in a narrower space; it also hears."""
    named = ("patch", "image_start", "image_end", "video", "vid_frame_separator", "vid_start", "vid_end")
    sounds = ("audio", "soft_audio_start", "soft_audio_end")
    tokenizer = tokens(*(f"<|{name}|>" for name in named + sounds))
    images = transformers.MuseGlimmerImageProcessor(patch_size=8, max_image_tokens=16)
    sizes = {"num_attention_heads": 2, "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64}
    experts = {"moe_hidden_size": 32, "moe_intermediate_size": 32, "num_local_experts": 4, "num_experts_per_tok": 2}
    hearing = {"hidden_sizes": (16, 16), "depths": (1, 1), "patch_sizes": (4, 4), "num_hidden_layers": 2}
    ids = ids_of(tokenizer, image_token_id="<|patch|>", video_token_id="<|video|>", audio_token_id="<|audio|>")
    return built(
        "muse_spark",
        tokenizer,
        pictures(
            "MuseSpark",
            images,
            None,
            tokenizer,
            transformers.MuseSparkFeatureExtractor(),
            chat_template=chatml("<|patch|>"),
        ),
        {"patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8, "max_position_embeddings": 64, **sizes},
        {**WINDOW, **experts},
        audio_config={**hearing, "out_hidden_size": TEXT["hidden_size"]},
        out_hidden_size=128,
        projector_hidden_size=32,
        **ids,
    )


def minicpm_ocr() -> LoadedModel:
    """MiniCPM-V 4.6 with more tokens for a picture."""
    tokenizer = tokens(
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        **{f"{part}_start_token": f"<{part}>" for part in ("image", "slice", "image_id")},
        **{f"{part}_end_token": f"</{part}>" for part in ("image", "slice", "image_id")},
    )
    images = transformers.MiniCPMOcrImageProcessor(scale_resolution=64, patch_size=8, max_slice_nums=4)
    return built(
        "minicpm_ocr",
        tokenizer,
        pictures("MiniCPMOcr", images, None, tokenizer, chat_template=chatml("<|image_pad|>\n")),
        {**VISION, "image_size": 64},
        {"model_type": "qwen3_5_text", **STATE},
        insert_layer_id=0,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        tie_word_embeddings=False,
    )


def apertus1p5() -> LoadedModel:
    """Codes of a visual vocabulary, which is a part of the table of embeddings."""
    named = {
        "image_token": "<|image|>",
        "audio_token": "<|audio|>",
        "boi_token": "<|image start|>",
        "eoi_token": "<|image end|>",
        "image_wrapper_token": "<|image token|>",
        "eol_token": "<|image end of line|>",
        "boa_token": "<|audio start|>",
        "eoa_token": "<|audio end|>",
    }
    tokenizer = tokens(**named)
    size, codes = len(tokenizer), 64
    images = transformers.Apertus1p5ImageProcessor(
        size={"min_pixels": 16 * 16, "max_pixels": 32 * 32}, spatial_factor=8
    )
    encoder = {"base_channels": 32, "channel_multiplier": (1, 1, 1, 1), "num_res_blocks": 1, "attn_resolutions": ()}
    hearing = transformers.WavTokenizerEncoderConfig()
    return built(
        "apertus1p5",
        tokenizer,
        transformers.Apertus1p5Processor(
            images, transformers.WavTokenizerFeatureExtractor(), tokenizer, chat_template=chatml("<|image|>")
        ),
        {"codebook_size": codes, "embed_dim": 8, "latent_channels": 8, **encoder},
        {"vocab_size": size + codes + hearing.codebook_size, "output_vocab_size": size},
        image_token_offset=size,
        audio_token_offset=size + codes,
        **ids_of(tokenizer, image_token_id="<|image|>", audio_token_id="<|audio|>"),
    )


_BUILT: tuple[Callable[[], LoadedModel], ...] = (
    lfm3_vl,
    granite_docling,
    molmo2,
    minicpm_ocr,
    muse_spark,
    apertus1p5,
)
NEWEST: dict[str, Callable[[], LoadedModel]] = {build.__name__: build for build in _BUILT}
