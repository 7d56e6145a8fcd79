"""Models with random weights in the shapes that matter, and samples for them: what a benchmark needs and no hub has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import transformers

from prefgen.engines.hf.architectures import FAMILIES
from prefgen.engines.hf.loading import LoadedModel
from prefgen.records import Image, Sample, Slot, Turn

TOKENIZER = Path(__file__).parent.parent / "scenes" / "model-anyres"
ANSWER = (
    "The image shows a red circle in the top left corner. There is a blue square beside it. "
    "A small green star stands below the square. The background is light. Nothing else can be seen in the picture."
)
_GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
_TEXT: dict[str, dict[str, int]] = {
    "anyres": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8},
    "anyres-small": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 2, "num_attention_heads": 4},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llava-1.6-7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
}
_VISION: dict[str, dict[str, int]] = {
    "anyres": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4},
    "anyres-small": {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2},
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llava-1.6-7b": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
}
SHAPES = tuple(_TEXT)


def _tile(shape: str) -> int:
    """Pixels of a tile's side: those of CLIP ViT-L, and few where only the code is to be run."""
    return 56 if shape == "tiny" else 336


def _pinpoints(tile: int) -> list[list[int]]:
    return [[rows * tile, columns * tile] for rows, columns in _GRIDS]


def config(shape: str) -> Any:
    """LLaVA-NeXT in one of `SHAPES`: tiles in patches of 14 pixels, a vocabulary of 32,064."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(TOKENIZER)
    return transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=_tile(shape), patch_size=14, **_VISION[shape]),
        text_config=transformers.LlamaConfig(vocab_size=32064, max_position_embeddings=4096, **_TEXT[shape]),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=_pinpoints(_tile(shape)),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )


def processor(shape: str) -> Any:
    """The tokenizer and chat template of the scenes' model behind LLaVA-1.6's image processor."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(TOKENIZER, padding_side="left")
    tile = _tile(shape)
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": tile}, crop_size={"height": tile, "width": tile}, image_grid_pinpoints=_pinpoints(tile)
    )
    return transformers.LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(TOKENIZER / "chat_template.jinja").read_text(),
    )


def model(shape: str, device: torch.device, dtype: torch.dtype, seed: int = 0) -> LoadedModel:
    """The model on its device, made there: a 7B shape is not copied through the host."""
    settings, own_processor = config(shape), processor(shape)
    torch.manual_seed(seed)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            made = transformers.LlavaNextForConditionalGeneration(settings).eval()
    finally:
        torch.set_default_dtype(default)
    made.generation_config.eos_token_id = own_processor.tokenizer.eos_token_id
    return LoadedModel(made, own_processor, FAMILIES["llava_next"], shape, "random", device, dtype)


def samples(count: int, width: int = 640, height: int = 480) -> list[Sample]:
    """Questions about pictures of smooth colours, answered by five sentences."""
    prompt = (Turn("user", (Slot.IMAGE, "Describe the image in detail.")),)
    return [
        Sample(f"{seed:016x}", prompt, (_picture(seed, width, height),), ANSWER, "drawn", str(seed))
        for seed in range(count)
    ]


def _picture(seed: int, width: int, height: int) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return Image(buffer.getvalue(), f"{seed}.jpg", width, height)
