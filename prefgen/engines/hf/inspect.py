"""What `prefgen doctor` measures of a model: its prompt, its size, and drop against mask on its real weights."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import PIL.Image
import PIL.ImageDraw
import torch
import transformers

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import decoding, loading, vision
from prefgen.engines.hf.architectures import Family
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.prompts import Prompts
from prefgen.engines.templates import ChatTemplate
from prefgen.errors import RowError, UsageError
from prefgen.records import Image, Slot, Turn
from prefgen.requests import Generate, Sampling
from prefgen.visibility import View

PROMPT = (Turn("user", (Slot.IMAGE, "What is in the image?")),)
BEGINNING = "The image shows a"
_VISION = re.compile(r"vision|visual")  # how every architecture calls its tower
_HIDDEN = View(rho=0.9, mask_seed=1)
# Largest difference that rounding explains, as a share of the largest logit.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}


@dataclass(frozen=True)
class Architecture:
    """What the configuration tells.

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
    """What the processor and its chat template make of a question about one picture.

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


@dataclass(frozen=True)
class Comparison:
    """Next-token logits with hidden tokens dropped, against the same with a mask.

    Attributes:
        difference: the largest. effect: the largest that hiding the tokens makes at all.
        tolerance: what rounding explains in this data type. kept: image tokens that stayed visible.
        outgrown: whether the prompt is longer than a sliding window of the model, so that it would be masked anyway.
    """

    difference: float
    effect: float
    tolerance: float
    kept: int
    outgrown: bool

    @property
    def equal(self) -> bool:
        """Whether dropping is masking."""
        return self.difference <= self.tolerance


def architecture(config: EngineConfig) -> Architecture:
    """Look at a model's configuration alone.

    Raises:
        UsageError: if the architecture cannot be used.
        ModelUnreachable: if there is no such model.
    """
    settings = loading.read_config(config)
    family = loading.family_of(config, settings.model_type)
    device = loading.resolve_device(config.device)
    name = loading.torch_dtype(config.dtype, device)
    dtype = getattr(torch, name)
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(settings)
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
    """Render and tokenise a question about a drawn picture, without any weights.

    Raises:
        UsageError: if the processor has no chat template, or one that loses the picture.
        ModelUnreachable: if it cannot be read.
    """
    processor = loading.load_processor(config)
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
        pixels.count(loading.spell(processor, loading.read_config(config).image_token_id)),
        len(ids),
        header.opening.rpartition(PROMPT[0].text)[2],
        header.continuing.rpartition(PROMPT[0].text)[2],
        header.continuing.startswith(header.opening.rstrip()) and header.continuing + BEGINNING == stock,
        str(processor.tokenizer.init_kwargs.get("padding_side", "right")),
    )


def picture(width: int, height: int) -> Image:
    """A drawn picture: shapes on a gradient."""
    drawn = PIL.Image.linear_gradient("L").resize((width, height)).convert("RGB")
    pen = PIL.ImageDraw.Draw(drawn)
    pen.ellipse((width // 8, height // 8, width // 2, height // 2), fill=(200, 30, 30))
    pen.rectangle((width // 2, height // 2, width * 7 // 8, height * 7 // 8), fill=(30, 60, 200))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return Image(buffer.getvalue(), "drawn.png", width, height)


@torch.inference_mode()
def compare(loaded: LoadedModel, width: int, height: int) -> Comparison:
    """Hide nine tenths of a picture's tokens: once dropped, once under the mask of stock transformers."""
    engine = TransformersEngine(loaded, EngineConfig(loaded.name))
    sampling = Sampling(0.0, 1.0, 1)
    for ticket, view in enumerate((_HIDDEN, View())):
        shown = (picture(width, height),)
        engine.submit(ticket, Generate(PROMPT, shown, view, BEGINNING, 0, "end", "en", sampling, 0))
    hidden, whole = engine.prepare()
    dropped = loaded.model(**decoding.prefill_inputs(loaded, [hidden], preserve=False)).logits[0, -1]
    masked, unmasked = (_masked_logits(loaded, row) for row in (hidden, whole))
    return Comparison(
        float((dropped - masked).abs().max()),
        float((masked - unmasked).abs().max()),
        TOLERANCE[loaded.dtype] * max(1.0, float(masked.abs().max())),
        int(hidden.visible.sum()),
        loaded.window is not None and len(hidden.ids) > loaded.window,
    )


def _masked_logits(loaded: LoadedModel, row: decoding.Row) -> torch.Tensor:
    logits: torch.Tensor = loaded.model(**decoding.masked_inputs(loaded, [row], preserve=False)).logits[0, -1]
    return logits
