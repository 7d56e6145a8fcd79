"""Probing of unlisted model types: how they take images, positions and token types, from code and configuration.

What is found out here is a claim; `prefgen.engines.hf.proof` shows on the model's own weights that it is true.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import PIL.Image
import torch
import transformers

from prefgen.engines.hf.architectures import FAMILIES, PROVEN, Family
from prefgen.errors import UsageError

_STATES = {"linear_attention", "conv", "mamba", "mamba2", "recurrent"}
_ENCODED = "mm_encoder_outputs"


def listed(config: Any, name: str) -> Family:
    """The family of a model as far as its configuration tells.

    Raises:
        UsageError: if it cannot be used, whatever its weights.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        refused = why_not(config)
        known = PROVEN.get(config.model_type, Family(config.model_type))
        family = Family(known.title, refused=refused, note=known.note, is_listed=False)
    if family.refused:
        raise UsageError(f"model {name} cannot be used, since {family.title} is refused: {family.refused}")
    kinds = state_kinds(config)
    return dataclasses.replace(family, state=kinds, note=family.note or _note(kinds))


def why_not(config: Any) -> str:
    """Why a model of no listed type cannot be used, by its class and configuration; empty if it may be tried."""
    known = transformers.AutoModelForImageTextToText._model_mapping
    if type(config) not in known:
        return f"transformers {transformers.__version__} has no image-text-to-text model of type {config.model_type!r}"
    forward = inspect.signature(known[type(config)].forward).parameters.values()
    if getattr(config, "is_encoder_decoder", False):
        return "it sees images by the cross-attention of a decoder: there are no image tokens to hide"
    if not any(parameter.name == _ENCODED or parameter.kind is parameter.VAR_KEYWORD for parameter in forward):
        return "its forward pass takes no encoded images"
    if image_token_id(config) is None:
        return "its configuration names no image token, so that its language model has none to hide"
    return ""


def image_token_id(config: Any) -> int | None:
    """Id of the placeholder token of one image feature, from the configuration; None if it names none."""
    found = getattr(config, "image_token_id", None)
    if found is None:
        found = getattr(config, "image_token_index", None)
    return None if found is None else int(found)


def state_kinds(config: Any) -> tuple[str, ...]:
    """Kinds of layers with a running state, such as linear attention."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None) or getattr(text, "layers_block_type", None) or []
    return tuple(sorted(_STATES.intersection(kinds)))


def _note(kinds: tuple[str, ...]) -> str:
    if not kinds:
        return ""
    return (
        f"layers with a running state ({', '.join(kinds)}): a hidden token is removed, a mask would be something else"
    )


def completed(family: Family, model: Any, processor: Any) -> Family:
    """The family of an unlisted type, completed from the model's code and one encoded picture.

    Raises:
        UsageError: if it cannot be handed encoded images.
    """
    if family.is_listed:
        return family
    accepted = _parameters(model)
    inner = getattr(model, "model", None)
    if _ENCODED not in accepted or not hasattr(inner, "get_image_features"):
        raise UsageError(f"a model of type {family.title} cannot be used: its forward pass takes no encoded images")
    return dataclasses.replace(
        family,
        mrope=hasattr(model.model, "get_rope_index"),
        token_types=tuple(sorted(name for name in accepted if name.endswith("token_type_ids"))),
        image_blocks=_attends_both_ways(model.config),
        encoder_outputs=True,
        **_of_picture(model, processor),
    )


def _parameters(model: Any) -> set[str]:
    """Names of the parameters of the forward pass, including the inner model's."""
    parts = (model, getattr(model, "model", model))
    return {name for part in parts for name in inspect.signature(part.forward).parameters}


def _attends_both_ways(config: Any) -> bool:
    """Whether image tokens attend to each other in both directions."""
    return getattr(config.get_text_config(), "use_bidirectional_attention", None) in ("vision", "all", True)


@torch.inference_mode()
def _of_picture(model: Any, processor: Any) -> dict[str, Any]:
    """The form in which the encoder returns features, found with a gray picture."""
    shown = processor(
        text=[placeholder_of(processor)], images=[[PIL.Image.new("RGB", (64, 64), "gray")]], return_tensors="pt"
    )
    encode, wanted = encoder_of(model)
    weight = next(model.parameters())
    given = {
        name: torch.as_tensor(value).to(weight.device, weight.dtype if torch.is_floating_point(value) else None)
        for name, value in shown.items()
        if name in wanted and name != "input_ids"
    }
    output = encode(**given, return_dict=True)
    layers = getattr(output, "deepstack_features", None) or []
    places = ("pooler_output", "last_hidden_state") if not layers else ("pooler_output",)
    where = next((place for place in places if getattr(output, place, None) is not None), "")
    return {
        "features": where,
        "features_listed": isinstance(output[where], list | tuple) if where else True,
        "deepstack": bool(layers),
        "deepstack_layers": tuple(layer[0] for layer in layers if isinstance(layer[0], int)),
    }


def placeholder_of(processor: Any) -> str:
    """The placeholder of an image in a rendered prompt: the token of a feature, or in some processors another one."""
    return str(getattr(processor, "image_placeholder_token", None) or processor.image_token)


def encoder_of(model: Any) -> tuple[Any, set[str]]:
    """The method that encodes images, of the outer or inner model, and the names of its parameters."""
    methods = [part.get_image_features for part in (model, model.model) if hasattr(part, "get_image_features")]
    return methods[0], {name for method in methods for name in inspect.signature(method).parameters}
