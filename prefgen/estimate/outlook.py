"""Estimate of a run without data, model or machine, from assumed sizes and a GPU of the table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import shape
from prefgen.estimate import costs, forecast, hardware, workload
from prefgen.estimate.assumed import Outlook
from prefgen.records import Image, Sample, Slot, Turn
from prefgen.requests import Chat, Embed, of_policy

_QUESTION = "Describe the picture in detail."
_SENTENCE = "A red ball lies in the left corner, and a small dog stands near the blue fence. "  # 80 characters
_CHARS_PER_TOKEN = 4.0  # of English
_COCO = (640, 480)  # pixels


def render(outlook: Outlook) -> RenderableType:
    """The estimate as a table.

    Raises:
        UsageError: for an unknown GPU, or what is no size.
        ModelUnreachable: if there is no such model.
    """
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, sentence in lines(outlook):
        table.add_row(name, Text(sentence))
    return table


def lines(outlook: Outlook) -> Iterator[tuple[str, str]]:
    """The estimate as (name, sentence)."""
    sample, method = _sample(outlook), outlook.method
    yield (
        "assumed",
        f"{outlook.samples:,} answers of {outlook.answer_tokens} tokens, each about one picture of "
        f"{outlook.image_tokens:,} image tokens and {forecast.size(forecast.PICTURE_BYTES)}",
    )
    yield from method.explain(outlook.image_tokens)
    if Chat in method.asks:
        yield from costs.expect(outlook.judge, method, [sample], outlook.samples)
    if of_policy(method.asks):
        yield from _on_gpus(outlook, sample)
    else:
        yield "disk", forecast.size(outlook.samples * (forecast.PICTURE_BYTES + forecast.PAIR_BYTES))


def _on_gpus(outlook: Outlook, sample: Sample) -> Iterator[tuple[str, str]]:
    model = shape.of_model(EngineConfig(outlook.model, dtype="bfloat16")) if outlook.model else None
    model = model or shape.of_size(outlook.model_size)
    gpu = hardware.gpu(outlook.gpu)
    spread = forecast.devices_for(model, gpu)
    fit = "" if spread == 1 else f", spread over {spread} GPUs (--engine vllm)"
    yield "model", f"{outlook.model or outlook.model_size}: {forecast.size(model.weight_bytes)} of weights in bf16{fit}"
    yield "device", f"{outlook.gpus} x {gpu.describe()}"
    found = forecast.forecast(
        outlook.samples,
        workload.work(outlook.method, [sample], outlook.image_tokens, lambda text: len(text) / _CHARS_PER_TOKEN),
        workload.rounds(outlook.method),
        model,
        gpu,
        gpus=outlook.gpus,
        embedder=EngineConfig.similarity_model if Embed in outlook.method.asks else "",
    )
    yield from forecast.lines(found)
    yield "GPU-hours", forecast.cost(found, outlook.price_per_hour)


def _sample(outlook: Outlook) -> Sample:
    """A sample of the assumed size."""
    sentences = max(1, round(outlook.answer_tokens * _CHARS_PER_TOKEN / len(_SENTENCE)))
    prompt = (Turn("user", (Slot.IMAGE, _QUESTION)),)
    return Sample("0" * 16, prompt, (Image(b"", "", *_COCO),), (_SENTENCE * sentences).strip(), "assumed", "0")
