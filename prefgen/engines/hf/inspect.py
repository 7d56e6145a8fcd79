"""Facts about a model for `prefgen doctor`, found before its weights are loaded: architecture, prompt, size."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import loading, probing, vision
from prefgen.engines.hf.architectures import Family
from prefgen.engines.hf.prompts import Prompts
from prefgen.engines.hf.proof import PROMPT, picture
from prefgen.engines.templates import ChatTemplate
from prefgen.errors import RowError, UsageError
from prefgen.visibility import View

BEGINNING = "The image shows a"
_VISION = re.compile(r"vision|visual")  # how every architecture calls its tower


@dataclass(frozen=True)
class Architecture:
    """Facts from a model's configuration.

    Attributes:
        name: the class that transformers would load.
        parameters: their number; `vision_parameters` of them are in the vision tower, `embedding_parameters`
            in the table of input embeddings, which costs no arithmetic.
        patches: patches that the tower sees for each image token, where it merges some into one.
        kv_bytes: keys and values of one token in the data type that would be used.
    """

    family: Family
    model_type: str
    name: str
    parameters: int
    vision_parameters: int
    embedding_parameters: int
    patches: float
    weight_bytes: int
    kv_bytes: int
    dtype: str
    device: str


@dataclass(frozen=True)
class Prompting:
    """The prompt that the processor and its chat template make of a question about one picture.

    Attributes:
        image_tokens: of the picture, of all `tokens` of the prompt.
        opening: what stands behind the question where the model starts to answer; likewise `continuing`, where a given
            beginning of an answer goes on.
        continues: whether a beginning is continued as `continue_final_message` of transformers has it.
        padding_side: what the checkpoint asks for; prefgen always pads on the left.
    """

    image_tokens: int
    tokens: int
    opening: str
    continuing: str
    continues: bool
    padding_side: str


def architecture(config: EngineConfig) -> Architecture:
    """Read a model's configuration.

    Raises:
        UsageError: if the architecture cannot be used.
        ModelUnreachable: if there is no such model.
    """
    settings = loading.read_config(config)
    family = probing.listed(settings, config.model)
    device = loading.resolve_device(config.device)
    name = loading.torch_dtype(config.dtype, device)
    dtype = getattr(torch, name)
    model = loading.unweighted(settings)
    parameters = sum(weights.numel() for weights in model.parameters())
    looked_up = model.get_input_embeddings().weight.numel()
    vision = sum(weights.numel() for name, weights in model.named_parameters() if _VISION.search(name))
    merged = getattr(getattr(settings, "vision_config", None), "spatial_merge_size", 1)
    return Architecture(
        family,
        settings.model_type,
        type(model).__name__,
        parameters,
        vision,
        looked_up,
        float(merged) ** 2,
        parameters * dtype.itemsize,
        loading.kv_bytes(settings, dtype),
        name,
        device,
    )


def prompting(config: EngineConfig, width: int, height: int) -> Prompting:
    """Render and tokenize a question about a drawn picture, without weights.

    Raises:
        UsageError: if the processor has no chat template, or one that loses the picture.
        ModelUnreachable: if it cannot be read.
    """
    processor, image_token = loading.processor_and_image_token(config)
    prompts = Prompts(processor, config.model)
    try:
        header = prompts.header(PROMPT)
    except RowError as error:
        raise UsageError(f"{config.model} cannot be asked about a picture: {error.detail}") from error
    pixels = vision.preprocess(processor, (picture(width, height),), View())
    ids = prompts.encode(header, "", pixels.expansions)
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT[0].text}]},
        {"role": "assistant", "content": [{"type": "text", "text": BEGINNING}]},
    ]
    stock = ChatTemplate(processor, config.model).render(messages, continue_final_message=True)
    return Prompting(
        pixels.count(image_token),
        len(ids),
        header.opening.rpartition(PROMPT[0].text)[2],
        header.continuing.rpartition(PROMPT[0].text)[2],
        header.continuing.startswith(header.opening.rstrip()) and header.continuing + BEGINNING == stock,
        str(processor.tokenizer.init_kwargs.get("padding_side", "right")),
    )
