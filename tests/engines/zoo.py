"""A small randomly initialised model of every supported architecture, with its real processor class.

Chat templates have the shape of the published ones: where the image stands, what is trimmed, what surrounds a turn.
Processors that also read videos get no part for those, as in an environment without torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

from prefgen.engines.hf.loading import LoadedModel, pictures_only
from tests.engines import tiny
from tests.engines.tiny import TEXT, VISION

WIDTH = TEXT["hidden_size"]
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
_TURNS = "{% for message in messages %}"
_END = "{% endfor %}"
_CHATML_OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def _parts(image: str, text: str = "{{ part['text'] }}") -> str:
    """The parts of a message in their order."""
    shown = "{% if part['type'] == 'image' %}" + image + "{% else %}" + text + "{% endif %}"
    return "{% for part in message['content'] %}" + shown + "{% endfor %}"


def chatml(image: str) -> str:
    """Qwen's format."""
    return _TURNS + "<|im_start|>{{ message['role'] }}\n" + _parts(image) + "<|im_end|>\n" + _END + _CHATML_OPEN


ONEVISION = (
    _TURNS
    + "{{ '<|im_start|>' + message['role'] + ' ' }}"
    + "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    + "{% for part in message['content'] if part['type'] == 'text' %}{{ '\n' + part['text'] }}{% endfor %}"
    + "{{ '<|im_end|>' }}"
    + _END
    + _CHATML_OPEN
)
IDEFICS = (
    "<|im_start|>"
    + _TURNS
    + "{{ message['role'] | capitalize }}"
    + "{% if message['content'][0]['type'] == 'image' %}:{% else %}{{ ': ' }}{% endif %}"
    + _parts("<image>")
    + "<end_of_utterance>\n"
    + _END
    + "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    + _TURNS
    + "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    + _parts("<start_of_image>", "{{ part['text'] | trim }}")
    + "<end_of_turn>\n"
    + _END
    + "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}"
    + _TURNS
    + "{% if message['role'] == 'user' %}[INST]"
    + _parts("[IMG]")
    + "[/INST]{% else %}"
    + _parts("[IMG]")
    + "{{ eos_token }}{% endif %}"
    + _END
)
AYA = (
    "{{ bos_token }}"
    + _TURNS
    + "<|START_OF_TURN_TOKEN|>"
    + "{% if message['role'] == 'user' %}<|USER_TOKEN|>{% else %}<|CHATBOT_TOKEN|><|START_RESPONSE|>{% endif %}"
    + _parts("<image>")
    + "{% if message['role'] != 'user' %}<|END_RESPONSE|>{% endif %}<|END_OF_TURN_TOKEN|>"
    + _END
    + "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>{% endif %}"
)


def _built(architecture: str, config: Any, processor: Any) -> LoadedModel:
    return tiny.loaded(getattr(transformers, f"{architecture}ForConditionalGeneration"), config, processor, seed=0)


def built(
    kind: str,
    tokenizer: PreTrainedTokenizerFast,
    processor: Any,
    vision: dict[str, Any],
    text: dict[str, Any],
    **config: Any,
) -> LoadedModel:
    """A model of a type, by what its configuration has besides the usual small sizes.

    Args:
        kind: `config.model_type`.
    """
    decoder = {"vocab_size": len(tokenizer), **TEXT, **_ends(tokenizer), **text}
    settings = transformers.AutoConfig.for_model(kind, vision_config={**vision}, text_config=decoder, **config)
    model_class = transformers.AutoModelForImageTextToText._model_mapping[type(settings)]
    return tiny.loaded(model_class, settings, processor, seed=0)


def _ids(tokenizer: PreTrainedTokenizerFast, *tokens: str) -> list[int]:
    return [tokenizer.convert_tokens_to_ids(token) for token in tokens]


def _ends(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}


def crop(name: str = "CLIPImageProcessor", **settings: Any) -> Any:
    """An image processor that resizes to 32 x 32."""
    return getattr(transformers, name)(size={"height": 32, "width": 32}, **settings)


def pixtral() -> LoadedModel:
    """LLaVA around Pixtral's encoder: an image has as many rows and columns as it needs, with break tokens."""
    tokenizer = tiny.tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]")
    config = transformers.LlavaConfig(
        vision_config=transformers.PixtralVisionConfig(**{**VISION, "image_size": 64}),
        text_config=transformers.MistralConfig(
            vocab_size=len(tokenizer), sliding_window=None, **TEXT, **_ends(tokenizer)
        ),
        image_token_id=_ids(tokenizer, "[IMG]")[0],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    images = transformers.PixtralImageProcessor(size={"longest_edge": 64}, patch_size={"height": 8, "width": 8})
    processor = transformers.PixtralProcessor(images, tokenizer, patch_size=8, chat_template=MISTRAL)
    return _built("Llava", config, processor)


def llava_onevision() -> LoadedModel:
    """One image in AnyRes tiles; several of one tile each."""
    tokenizer = tiny.tokenizer("<image>", "<video>", "<|im_start|>", "<|im_end|>", byte_level=True)
    pinpoints = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(**VISION),
        text_config=transformers.Qwen2Config(vocab_size=len(tokenizer), **TEXT, **_ends(tokenizer)),
        image_token_id=_ids(tokenizer, "<image>")[0],
        video_token_id=_ids(tokenizer, "<video>")[0],
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    processor = pictures_only(transformers.LlavaOnevisionProcessor)(
        crop("LlavaOnevisionImageProcessor", image_grid_pinpoints=pinpoints),
        tokenizer,
        None,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=ONEVISION,
    )
    return _built("LlavaOnevision", config, processor)


def _qwen(name: str, vision: dict[str, Any]) -> LoadedModel:
    pads = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = tiny.tokenizer(*pads, "<|im_start|>", "<|im_end|>", byte_level=True)
    start, end, image, video = _ids(tokenizer, *pads)
    config = getattr(transformers, f"{name}Config")(
        vision_config={"depth": 2, "num_heads": 2, "patch_size": 8, **vision},
        text_config={
            "vocab_size": len(tokenizer),
            "rope_parameters": MROPE,
            **TEXT,
            **_ends(tokenizer),
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    images = transformers.Qwen2VLImageProcessor(
        size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}, patch_size=8, merge_size=2
    )
    template = chatml("<|vision_start|><|image_pad|><|vision_end|>")
    processor_class = pictures_only(getattr(transformers, f"{name}Processor"))
    processor = processor_class(images, tokenizer, None, chat_template=template)
    return _built(name, config, processor)


def qwen2_vl() -> LoadedModel:
    """As many patches as the image needs, merged two by two, at three-dimensional positions."""
    return _qwen("Qwen2VL", {"embed_dim": 32, "hidden_size": WIDTH})


def qwen2_5_vl() -> LoadedModel:
    """The same with windows in its vision encoder."""
    return _qwen(
        "Qwen2_5_VL",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": WIDTH,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
    )


def qwen3_vl() -> LoadedModel:
    """The same with features of a middle layer added in the decoder."""
    vision = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": WIDTH, "num_position_embeddings": 64}
    return _qwen("Qwen3VL", {**vision, "deepstack_visual_indexes": [0]})


def internvl() -> LoadedModel:
    """Tiles of a fixed size, with start and end tokens around all of them."""
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = tiny.tokenizer("<|im_start|>", "<|im_end|>", byte_level=True, named=named)
    config = transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(**{**VISION, "image_size": (32, 32), "patch_size": (8, 8)}),
        text_config=transformers.Qwen2Config(vocab_size=len(tokenizer), **TEXT, **_ends(tokenizer)),
        image_token_id=_ids(tokenizer, "<IMG_CONTEXT>")[0],
    )
    processor = pictures_only(transformers.InternVLProcessor)(
        crop("GotOcr2ImageProcessor", crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer,
        None,
        image_seq_length=4,
        chat_template=chatml("<IMG_CONTEXT>\n"),
    )
    return _built("InternVL", config, processor)


def _idefics(name: str, make_processor: Callable[[Any, Any], Any]) -> LoadedModel:
    tags = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    tokenizer = tiny.tokenizer(
        "<image>",
        "<fake_token_around_image>",
        "<end_of_utterance>",
        "<global-img>",
        "<|im_start|>",
        *tags,
        byte_level=True,
    )
    images = getattr(transformers, f"{name}ImageProcessor")(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
    )
    processor = make_processor(images, tokenizer)
    config = getattr(transformers, f"{name}Config")(
        vision_config=VISION,
        text_config=transformers.LlamaConfig(vocab_size=len(tokenizer), **TEXT, **_ends(tokenizer)),
        image_token_id=_ids(tokenizer, "<image>")[0],
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
    )
    return _built(name, config, processor)


def idefics3() -> LoadedModel:
    """Tiles with row and column tags, then the whole image."""
    return _idefics(
        "Idefics3",
        lambda images, tokenizer: transformers.Idefics3Processor(
            images, tokenizer, image_seq_len=4, chat_template=IDEFICS
        ),
    )


def smolvlm() -> LoadedModel:
    """As Idefics3."""
    return _idefics(
        "SmolVLM",
        lambda images, tokenizer: pictures_only(transformers.SmolVLMProcessor)(
            images, tokenizer, None, image_seq_len=4, chat_template=IDEFICS
        ),
    )


def gemma3(window: int = 512) -> LoadedModel:
    """Blocks of image tokens that attend to each other in both directions; every other layer has a window."""
    named = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    tokenizer = tiny.tokenizer("<start_of_turn>", "<end_of_turn>", named=named)
    config = transformers.Gemma3Config(
        vision_config=transformers.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=transformers.Gemma3TextConfig(
            vocab_size=len(tokenizer),
            sliding_window=window,
            layer_types=["sliding_attention", "full_attention"],
            **TEXT,
            **_ends(tokenizer),
        ),
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    processor = transformers.Gemma3Processor(
        crop("Gemma3ImageProcessor"), tokenizer, image_seq_length=4, chat_template=GEMMA
    )
    loaded = _built("Gemma3", config, processor)
    torch.nn.init.normal_(loaded.model.model.multi_modal_projector.mm_input_projection_weight)  # zero at first: blind
    return loaded


def mistral3() -> LoadedModel:
    """Pixtral's encoder with patches merged two by two."""
    tokenizer = tiny.tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]")
    config = transformers.Mistral3Config(
        vision_config=transformers.PixtralVisionConfig(**{**VISION, "image_size": 64}),
        text_config=transformers.MistralConfig(
            vocab_size=len(tokenizer), sliding_window=None, **TEXT, **_ends(tokenizer)
        ),
        image_token_id=_ids(tokenizer, "[IMG]")[0],
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )
    images = transformers.PixtralImageProcessor(size={"longest_edge": 64}, patch_size={"height": 16, "width": 16})
    processor = transformers.PixtralProcessor(
        images, tokenizer, patch_size=8, spatial_merge_size=2, chat_template=MISTRAL
    )
    return _built("Mistral3", config, processor)


def ovis2() -> LoadedModel:
    """Image tokens drawn from a visual vocabulary, indicator tokens between tiles."""
    indicators = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")
    tokenizer = tiny.tokenizer("<image>", "<IMG_ATOM>", *indicators, "<|im_start|>", "<|im_end|>", byte_level=True)
    config = transformers.Ovis2Config(
        vision_config=transformers.Ovis2VisionConfig(**VISION, vocab_size=64, hidden_stride=2),
        text_config=transformers.Qwen2Config(vocab_size=len(tokenizer), **TEXT, **_ends(tokenizer)),
        image_token_id=_ids(tokenizer, "<IMG_ATOM>")[0],
        visual_indicator_token_ids=_ids(tokenizer, *indicators),
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
    )
    processor = transformers.Ovis2Processor(
        crop("Ovis2ImageProcessor", crop_to_patches=True, max_patches=4),
        tokenizer,
        image_seq_length=4,
        chat_template=chatml("<image>\n"),
    )
    return _built("Ovis2", config, processor)


def aya_vision() -> LoadedModel:
    """Tiles with a tag before each, and a decoder of which some layers have a window."""
    turns = (
        "START_OF_TURN_TOKEN",
        "END_OF_TURN_TOKEN",
        "USER_TOKEN",
        "CHATBOT_TOKEN",
        "START_RESPONSE",
        "END_RESPONSE",
    )
    parts = ("START_OF_IMG", "END_OF_IMG", "IMG_PATCH", "IMG_LINE_BREAK")
    tokenizer = tiny.tokenizer(
        "<image>", *(f"<|{name}|>" for name in turns + parts), "TILE_GLOBAL", "TILE", byte_level=True
    )
    config = transformers.AyaVisionConfig(
        vision_config=transformers.SiglipVisionConfig(**VISION),
        text_config=transformers.Cohere2Config(
            vocab_size=len(tokenizer),
            sliding_window=512,
            layer_types=["sliding_attention", "full_attention"],
            **TEXT,
            **_ends(tokenizer),
        ),
        image_token_index=_ids(tokenizer, "<|IMG_PATCH|>")[0],
    )
    processor = transformers.AyaVisionProcessor(
        crop("GotOcr2ImageProcessor", crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer,
        patch_size=8,
        img_size=32,
        downsample_factor=2,
        chat_template=AYA,
    )
    return _built("AyaVision", config, processor)


def save(loaded: LoadedModel, folder: Path) -> Path:
    """A checkpoint as it is published: with settings for videos where the processor reads those."""
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    name = (
        type(loaded.processor)
        .__name__.removesuffix("Processor")
        .replace("2_5_VL", "2VL")
        .replace("Exaone4_5_", "Qwen2VL")
    )
    if hasattr(loaded.processor, "video_processor"):
        settings = {"video_processor_type": f"{name}VideoProcessor"}
        (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return folder


ZOO: dict[str, Callable[[], LoadedModel]] = {
    "llava": tiny.llava,
    "pixtral": pixtral,
    "llava_next": tiny.llava_next,
    "llava_onevision": llava_onevision,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "gemma3": gemma3,
    "mistral3": mistral3,
    "ovis2": ovis2,
    "aya_vision": aya_vision,
}
