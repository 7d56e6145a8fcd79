"""Small randomly initialised models with real processors, built in seconds."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from prefgen.engines.hf import probing
from prefgen.engines.hf.loading import LoadedModel
from prefgen.records import Image

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% if message['role'] == 'assistant' %}</s>{% else %} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
CORPUS = [
    "USER: ASSISTANT: There is a red circle in the top left corner. A blue square is next to it!",
    "Is there a star? Yes, there is a green star. No, there is none. How many? Two.",
    "Dr. Smith paid 3.5 dollars. The picture shows a cat on a mat, approx. ten metres away.",
]
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,  # the smallest that vLLM computes on CPUs
    "initializer_range": 0.2,  # large enough that greedy texts do not repeat one token
}


def tokenizer(*special: str, byte_level: bool = False, named: dict[str, str] | None = None) -> Any:
    """A small BPE tokenizer.

    Args:
        special: special tokens besides those that every tokenizer has.
        byte_level: spell bytes as GPT-2 does; else SentencePiece-like: the space belongs to the word behind it.
        named: special tokens that processors ask for by name.
    """
    named = named or {}
    bytes_ = [] if byte_level else [f"<0x{byte:02X}>" for byte in range(256)]
    bpe = Tokenizer(models.BPE(unk_token=None if byte_level else "<unk>", byte_fallback=not byte_level))
    if byte_level:
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        bpe.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        bpe.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet = []
    first = ["<unk>", "<s>", "</s>", "<pad>", *special, *named.values()]
    bpe.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=first + bytes_, initial_alphabet=alphabet)
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=list(special),
        padding_side="left",
        **({"extra_special_tokens": named} if named else {}),
    )
    fast.add_bos_token = True
    return fast


def llava(seed: int = 0) -> LoadedModel:
    """LLaVA: one tile of 16 image tokens."""
    text_tokenizer = tokenizer("<image>")
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**VISION),
        text_config=transformers.LlamaConfig(vocab_size=len(text_tokenizer), **TEXT),
        image_token_id=text_tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        text_tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    return loaded(transformers.LlavaForConditionalGeneration, config, processor, seed)


def llava_next(seed: int = 0) -> LoadedModel:
    """LLaVA-NeXT: AnyRes tiles with newline tokens."""
    text_tokenizer = tokenizer("<image>")
    pinpoints = [[32, 64], [64, 32], [64, 64]]
    config = transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(**VISION),
        text_config=transformers.LlamaConfig(vocab_size=len(text_tokenizer), **TEXT),
        image_token_id=text_tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    processor = transformers.LlavaNextProcessor(
        transformers.LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints
        ),
        text_tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    return loaded(transformers.LlavaNextForConditionalGeneration, config, processor, seed)


def loaded(architecture: Any, config: Any, processor: Any, seed: int) -> LoadedModel:
    torch.manual_seed(seed)
    model = architecture(config).eval()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    family = probing.completed(probing.listed(config, "tiny"), model, processor)
    return LoadedModel(model, processor, family, "tiny", "random", torch.device("cpu"), torch.float32)


def picture(seed: int, width: int = 40, height: int = 30) -> Image:
    """A noisy PNG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return Image(buffer.getvalue(), f"{seed}.png", width, height)
