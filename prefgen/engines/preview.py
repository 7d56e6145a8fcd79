"""What a run will send to its model, told from the processor alone, before any weight is read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from prefgen import images
from prefgen.engines import fake
from prefgen.engines.base import EngineConfig
from prefgen.records import Sample


@dataclass(frozen=True)
class Preview:
    """Means over some samples.

    Attributes:
        prompt: the first sample's prompt as the model sees it.
        image_tokens: image tokens of a prompt. text_tokens: the other tokens of prompt and reference answer.
    """

    prompt: str
    image_tokens: float
    text_tokens: float


def preview(config: EngineConfig, samples: Sequence[Sample]) -> Preview:
    """Tokenise some samples, images loaded.

    Raises:
        ModelUnreachable: if the processor cannot be read.
        UsageError: if it has no chat template.
    """
    if config.engine in ("fake", "openai"):  # without a processor at hand
        text = "\n".join(f"{turn.role}: {turn.text}" for turn in samples[0].prompt)
        words = [sum(len(turn.text.split()) for turn in sample.prompt) for sample in samples]
        return Preview(text, fake.IMAGE_TOKENS * len(samples[0].images), statistics.mean(words))
    from prefgen.engines import loading
    from prefgen.engines.prompts import Prompts

    processor = loading.load_processor(config)
    prompts = Prompts(processor, config.model)
    image_tokens, text_tokens = [], []
    for sample in samples:
        pictures = [images.decode(image) for image in sample.loaded_images]
        header = prompts.header(sample.prompt)
        inputs = processor(text=header.opening, images=pictures or None, return_tensors="np")
        ids = inputs["input_ids"][0]
        image_count = int((ids == processor.image_token_id).sum())
        image_tokens.append(image_count)
        text_tokens.append(len(ids) - image_count + len(processor.tokenizer.tokenize(sample.answer or "")))
    return Preview(
        prompts.header(samples[0].prompt).opening, statistics.mean(image_tokens), statistics.mean(text_tokens)
    )
