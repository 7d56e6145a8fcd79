"""Token counts of a run for its plan, from the processor alone, before weights are loaded."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from prefgen.engines import fake
from prefgen.engines.base import EngineConfig
from prefgen.errors import RowError, UsageError
from prefgen.records import Sample
from prefgen.visibility import View


@dataclass(frozen=True)
class Preview:
    """Means over some samples.

    Attributes:
        prompt: the first sample's prompt as the model sees it; the first that its chat template does not refuse.
        image_tokens: image tokens of a prompt.
        text_tokens: the other tokens of prompt and reference answer.
    """

    prompt: str
    image_tokens: float
    text_tokens: float


def preview(config: EngineConfig, samples: Sequence[Sample]) -> Preview:
    """Tokenize some samples whose images are loaded.

    Raises:
        ModelUnreachable: if the processor cannot be read.
        UsageError: if it has no chat template, or one that refuses every sample.
    """
    if config.engine in ("fake", "openai") or not config.model:  # words stand for tokens
        text = "\n".join(f"{turn.role}: {turn.text}" for turn in samples[0].prompt)
        words = [sum(len(turn.text.split()) for turn in sample.prompt) for sample in samples]
        seen = fake.IMAGE_TOKENS * len(samples[0].images) if config.model else 0
        return Preview(text, seen, statistics.mean(words))
    from prefgen.engines.hf import loading, vision
    from prefgen.engines.hf.prompts import Prompts

    processor, image_token = loading.processor_and_image_token(config)
    prompts = Prompts(processor, config.model)
    image_tokens, text_tokens = [], []
    opening = refused = ""
    for sample in samples:
        try:
            pixels = vision.preprocess(processor, sample.loaded_images, View())
            header = prompts.header(sample.prompt)
        except RowError as error:
            refused = error.detail
            continue
        opening = opening or header.opening
        ids = prompts.encode(header, "", pixels.expansions)
        image_tokens.append(pixels.count(image_token))
        text_tokens.append(len(ids) - image_tokens[-1] + len(processor.tokenizer.tokenize(sample.answer or "")))
    if not image_tokens:
        raise UsageError(f"none of the first {len(samples)} samples can be asked: {refused}")
    return Preview(opening, statistics.mean(image_tokens), statistics.mean(text_tokens))
