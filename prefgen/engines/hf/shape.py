"""Size of a model: weights, arithmetic, keys and values, from its name or configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass

from prefgen.engines.base import EngineConfig
from prefgen.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])", re.IGNORECASE)
_LAYER_RATIO = 128  # width by depth of published decoders: 4096 / 32, 5120 / 40
_CLIP_LARGE = 0.304e9  # the vision tower of LLaVA; those of others have 0.3 to 0.7 billion
_PATCHES_PER_TOKEN = 1.25  # LLaVA-1.6 cuts away the borders of its tiles: 2,885 patches for 2,340 tokens


@dataclass(frozen=True)
class Shape:
    """Dimensions of a vision-language model.

    Attributes:
        parameters: of the language model without its table of input embeddings.
        vision_parameters: of the tower before.
        patches: patches that the tower sees, for each image token.
        kv_bytes: keys and values of one token, in all layers.
        weight_bytes: all weights.
    """

    parameters: float
    vision_parameters: float
    patches: float
    kv_bytes: float
    weight_bytes: float


def of_size(size: str) -> Shape:
    """The shape of a model known only by its size, such as ``7b``, in bf16: usual proportions, LLaVA's vision tower.

    A decoder of depth L and width d has about ``12 L d^2`` parameters, and d is about 128 L. Each token has keys and
    values of d numbers in each layer, which grouped queries make fewer.

    Raises:
        UsageError: if that is no size.
    """
    match = _SIZE.fullmatch(size.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--model-size {size!r} should be a number of parameters, such as 7b, 0.5b or 500m")
    parameters = float(match[1]) * {"b": 1e9, "m": 1e6}[match[2].lower()]
    layers = (parameters / (12 * _LAYER_RATIO**2)) ** (1 / 3)
    kv_bytes = 2 * layers * (_LAYER_RATIO * layers) * 2
    return Shape(parameters, _CLIP_LARGE, _PATCHES_PER_TOKEN, kv_bytes, 2 * (parameters + _CLIP_LARGE))


def of_model(config: EngineConfig) -> Shape:
    """A model's shape from its configuration; no weight is loaded.

    Raises:
        UsageError: if its architecture cannot be used.
        ModelUnreachable: if there is no such model.
    """
    from prefgen.engines.hf import inspect

    found = inspect.architecture(config)
    return Shape(
        found.parameters - found.vision_parameters - found.embedding_parameters,
        found.vision_parameters,
        found.patches,
        found.kv_bytes,
        found.weight_bytes,
    )
