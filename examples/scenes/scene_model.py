r"""Tokenizer, chat template, processor and configuration: everything of the model but its weights.

The layout is that of llava-hf/llava-1.5-7b-hf, so that nothing downstream needs to know that this model is small:
a SentencePiece-like BPE with byte fallback, "USER: <image>\nquestion ASSISTANT: answer" as the chat format, and a
processor that expands ``<image>`` to one placeholder per image token.

Departure from the published template: an answer ends in ``</s>``, so that "when to stop" is part of what is learned.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from pictures import PATCH_SIZE, PATCHES
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from prefgen.evaluate.scenes.truth import IMAGE_SIZE

WEIGHTS_FILE = "model.safetensors"
IMAGE_TOKENS = PATCHES * PATCHES
VOCABULARY_SIZE = 1024
IMAGE_MEAN, IMAGE_STD = 0.5, 0.25
OPENING = ("▁ASSISTANT", ":")  # of an answer
SPECIAL_TOKENS = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
CONTENT_TEMPLATE = (  # of a message: its images, and the beginning of a loop over its texts
    "{%- if message['content'] is string -%}"
    "{%- set parts = [{'type': 'text', 'text': message['content']}] -%}"
    "{%- else -%}{%- set parts = message['content'] -%}{%- endif -%}"
    "{%- for part in parts if part['type'] == 'image' -%}{{ '<image>\n' }}{%- endfor -%}"
    "{%- for part in parts if part['type'] == 'text' -%}"
)
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] != 'system' -%}{{ message['role'] | upper }}: {% endif -%}"
    f"{CONTENT_TEMPLATE}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{ part['text'] + eos_token }}{%- endgeneration -%}"
    "{%- else -%}{{ part['text'] + ' ' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}ASSISTANT:{%- endif -%}"
)


class Asked(Protocol):
    """A question and its answer."""

    @property
    def question(self) -> str:
        """Text of the user."""

    @property
    def answer(self) -> str:
        """Text of the assistant."""


def learn_tokenizer(corpus: Iterable[str], vocabulary_size: int = VOCABULARY_SIZE) -> PreTrainedTokenizerFast:
    """Learn a small BPE. Any other text is still encodable, byte by byte if need be."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    # Punctuation and newlines on their own, as SentencePiece has them: "corner." must not become a token of its own.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    # Stripping one leading space is what loses the space when new tokens are decoded alone, as in LLaVA's tokenizer.
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=SPECIAL_TOKENS + byte_tokens,
        initial_alphabet=[chr(code) for code in range(33, 127)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    # The trainer makes the byte tokens special; they must be plain vocabulary, or decoding would drop them.
    learned = json.loads(tokenizer.to_str())
    learned["added_tokens"] = [token for token in learned["added_tokens"] if token["content"] not in byte_tokens]
    tokenizer = Tokenizer.from_str(json.dumps(learned))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", SPECIAL_TOKENS.index("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": "<image>"},
        chat_template=CHAT_TEMPLATE,
    )


def chat_text(tokenizer: PreTrainedTokenizerFast, turns: Sequence[Asked], image_tokens: int = IMAGE_TOKENS) -> str:
    """The conversation as the model reads it, image placeholders expanded, every answer closed by the end token."""
    text = tokenizer.apply_chat_template(messages(turns), tokenize=False)
    return str(text).replace("<image>", "<image>" * image_tokens, 1)


def messages(turns: Sequence[Asked]) -> list[dict[str, object]]:
    """Turns in the form that ``apply_chat_template`` takes; the image belongs to the first one."""
    result: list[dict[str, object]] = []
    for turn in turns:
        image = [] if result else [{"type": "image"}]
        result.append({"role": "user", "content": [*image, {"type": "text", "text": turn.question}]})
        result.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    return result


def answer_labels(
    tokenizer: PreTrainedTokenizerFast, input_ids: torch.Tensor, opening: Sequence[str] = OPENING
) -> torch.Tensor:
    """The ids from behind the opening of an answer up to and with the end token, -100 elsewhere; (B, T) to (B, T)."""
    steps = torch.arange(input_ids.shape[1]).expand_as(input_ids)
    begins, ends = torch.zeros_like(input_ids, dtype=torch.bool), torch.zeros_like(input_ids, dtype=torch.bool)
    windows = input_ids.unfold(1, len(opening), 1)[:, :-1]
    begins[:, len(opening) :] = (windows == torch.tensor(tokenizer.convert_tokens_to_ids([*opening]))).all(-1)
    ends[:, 1:] = input_ids[:, :-1] == tokenizer.eos_token_id
    last_begin, last_end = (steps.where(each, -1).cummax(1).values for each in (begins, ends))
    return input_ids.masked_fill(last_begin <= last_end, -100)


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """The processor of a model with this vision tower and tokenizer."""
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size=side, image_mean=[IMAGE_MEAN] * 3, image_std=[IMAGE_STD] * 3
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which "default" drops again
        chat_template=tokenizer.chat_template,
    )


def save(
    model: PreTrainedModel, processor: ProcessorMixin, folder: Path, stored_as: torch.dtype = torch.float32
) -> None:
    """``save_pretrained`` of both, with weights named as in the published LLaVA repositories.

    transformers 5 drops ``vision_model.`` from the names of a CLIP tower when it saves, and reads both forms.
    ``stored_as`` is the type on disk; config.json keeps the model's own, to which loading converts back.
    """
    model.save_pretrained(folder)
    processor.tokenizer.backend_tokenizer.no_padding()  # or the last batch's padding would be saved as a setting
    processor.save_pretrained(folder)
    weights = load_file(folder / WEIGHTS_FILE)
    published = {
        re.sub(r"^vision_tower\.(?!vision_model\.)", "vision_tower.vision_model.", name): weight.to(stored_as)
        for name, weight in weights.items()
    }
    save_file(published, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def vision_config() -> CLIPVisionConfig:
    """Configuration of the vision tower: 144 patches of 12 x 12 pixels."""
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=128,
    )


def llava_config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """Configuration of the base model: about two and a half million parameters."""
    text_config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return LlavaConfig(
        vision_config=vision_config(),
        text_config=text_config,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,  # the tower is trained for this model, so its last layer is the useful one
        vision_feature_select_strategy="default",
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
