"""Hallucination of a model on the held-out scenes, measured against the exact truth.

Greedy decoding with the stock ``generate`` of transformers. Intervals are 95% bootstrap intervals over scenes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PIL import Image
from rich.table import Table

from prefgen.errors import RowError, UsageError
from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, Heldout
from prefgen.evaluate.scenes.metrics import Interval, Tally

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

    from prefgen.engines.templates import ChatTemplate

CAPTION_TOKENS, ANSWER_TOKENS = 200, 40  # longest reply, in tokens
BATCH_SIZE = 64
SHOWN = (
    *("chair_i", "chair_s", "object_recall", "partner_hallucination"),
    *("yes_no/accuracy", "caption_words", "caption_sentences"),
)
"""The figures of a table."""

Responder = Callable[[Sequence[Image.Image], Sequence[str], int], list[str]]
"""Pictures, one question each, and the most tokens of a reply, to replies."""


def responder(model: PreTrainedModel, processor: ProcessorMixin, batch_size: int = BATCH_SIZE) -> Responder:
    """A responder that asks a transformers vision-language model, greedily and in batches.

    Raises:
        UsageError: it has no chat template.
    """
    import torch

    from prefgen.engines.templates import ChatTemplate

    template = ChatTemplate(processor, str(model.name_or_path))

    def respond(pictures: Sequence[Image.Image], questions: Sequence[str], max_new_tokens: int) -> list[str]:
        replies: list[str] = []
        for start in range(0, len(questions), batch_size):
            chunk = slice(start, start + batch_size)
            prompts = [prompt(template, question) for question in questions[chunk]]
            inputs = processor(images=list(pictures[chunk]), text=prompts, padding=True, return_tensors="pt")
            inputs = inputs.to(model.device, dtype=model.dtype)
            with torch.inference_mode():
                output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
            replies += processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [reply.strip() for reply in replies]

    return respond


def evaluate(respond: Responder, items: Sequence[Heldout], seed: int = 0, scale: int = 1) -> dict[str, Interval]:
    """All figures of a model on held-out scenes, drawn 144*scale pixels wide; model_card.md explains the keys."""
    tally = Tally(len(items))
    pictures = [item.picture(scale) for item in items]
    captions = respond(pictures, [CAPTION_QUESTION] * len(items), CAPTION_TOKENS)
    for scene, (item, caption) in enumerate(zip(items, captions, strict=True)):
        tally.add_caption(scene, caption, item.scene)

    probes = [(scene, probe) for scene, item in enumerate(items) for probe in item.probes]
    replies = respond([pictures[scene] for scene, _ in probes], [probe.question for _, probe in probes], ANSWER_TOKENS)
    for (scene, probe), reply in zip(probes, replies, strict=True):
        tally.add_probe(scene, probe.split, probe.answer, reply)

    asked = [(scene, attribute) for scene, item in enumerate(items) for attribute in item.attributes]
    replies = respond([pictures[scene] for scene, _ in asked], [a.question for _, a in asked], ANSWER_TOKENS)
    for (scene, attribute), reply in zip(asked, replies, strict=True):
        tally.add_attribute(scene, attribute.kind, attribute.answer, reply)
    return tally.intervals(seed)


def as_json(figures: dict[str, Interval]) -> str:
    """The figures as JSON; NaN becomes null."""
    rows = {
        name: {key: None if math.isnan(number) else round(number, 5) for key, number in vars(figure).items()}
        for name, figure in figures.items()
    }
    return json.dumps(rows, indent=2)


def as_table(figures: dict[str, Interval], title: str) -> Table:
    """The figures as a table for a terminal; ratios in percent."""
    table = Table("figure", "value", "95% interval", "of", title=title)
    for name, figure in figures.items():
        scale, digits = (1, 2) if name in ("caption_sentences", "caption_words") else (100, 1)
        value, low, high = (f"{number * scale:.{digits}f}" for number in (figure.value, figure.low, figure.high))
        table.add_row(name, value, f"{low} to {high}", str(figure.count))
    return table


def prompt(template: ChatTemplate, question: str) -> str:
    """A question about a picture in the model's chat template.

    Raises:
        UsageError: the template refuses it.
    """
    content = [{"type": "image"}, {"type": "text", "text": question}]
    try:
        return template.render([{"role": "user", "content": content}], add_generation_prompt=True)
    except RowError as error:
        raise UsageError(f"the model cannot be asked about a picture: {error.detail}") from error
