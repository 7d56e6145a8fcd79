"""Probing of unlisted model types: how they take images, positions and token types, from code and configuration.

What is found out here is a claim; `prefgen.engines.hf.proof` shows on the model's own weights that it is true.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from itertools import product
from typing import Any

import PIL.Image
import PIL.ImageOps
import torch
import transformers

from prefgen.engines.hf import expansion
from prefgen.engines.hf.architectures import FAMILIES, TITLES, Family
from prefgen.errors import UsageError

_STATES = {"linear_attention", "conv", "mamba", "mamba2", "recurrent", "hybrid"}
_PLAIN = {"full_attention", "attention", "sliding_attention", "chunked_attention", "moe"}
_ENCODED = "mm_encoder_outputs"


def listed(config: Any, name: str) -> Family:
    """The family of a model as far as its configuration tells.

    Raises:
        UsageError: if it cannot be used, whatever its weights.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        refused = why_not(config)
        title = TITLES.get(config.model_type, config.model_type)
        family = Family(title, refused=refused, is_listed=False)
    if family.refused:
        raise UsageError(f"model {name} cannot be used, since {family.title} is refused: {family.refused}")
    return dataclasses.replace(family, state=state_kinds(config))


def why_not(config: Any) -> str:
    """The reason that a model of no listed type is refused, by class and configuration; empty if it may be tried."""
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
    if others := sorted(_layer_kinds(config) - _PLAIN - _STATES):
        return f"its layers of kind {', '.join(others)} are none of those from which tokens are known to be hidden"
    return ""


def image_token_id(config: Any) -> int | None:
    """Id of the placeholder token of one image feature, from the configuration; None if it names none."""
    found = getattr(config, "image_token_id", None)
    if found is None:
        found = getattr(config, "image_token_index", None)
    return None if found is None else int(found)


def state_kinds(config: Any) -> tuple[str, ...]:
    """Kinds of layers that carry a running state from token to token, such as linear attention."""
    return tuple(sorted(_STATES & _layer_kinds(config)))


def _layer_kinds(config: Any) -> set[str]:
    text = config.get_text_config()
    return set(getattr(text, "layer_types", None) or getattr(text, "layers_block_type", None) or [])


def completed(family: Family, model: Any, processor: Any) -> Family:
    """The family of an unlisted type, completed from the model's code and one encoded picture.

    Raises:
        UsageError: if it cannot be handed encoded images.
    """
    if family.is_listed:
        return family
    accepted = _parameters(model)
    inner = inner_of(model)
    if _ENCODED not in accepted or not hasattr(inner, "get_image_features"):
        raise UsageError(f"a model of type {family.title} cannot be used: its forward pass takes no encoded images")
    return dataclasses.replace(
        family,
        mrope=hasattr(inner, "get_rope_index"),
        token_types=tuple(sorted(name for name in accepted if name.endswith("token_type_ids"))),
        image_blocks=_attends_both_ways(model.config),
        encoder_outputs=True,
        **_of_picture(model, processor),
    )


def _parameters(model: Any) -> set[str]:
    """Names of what the forward pass takes, the inner model's included."""
    parts = (model, inner_of(model))
    return {name for part in parts for name in inspect.signature(part.forward).parameters}


def _attends_both_ways(config: Any) -> bool:
    """True if image tokens attend to each other in both directions."""
    return getattr(config.get_text_config(), "use_bidirectional_attention", None) in ("vision", "all", True)


@torch.inference_mode()
def _of_picture(model: Any, processor: Any) -> dict[str, Any]:
    """The form in which the encoder returns its features, found with two pictures."""
    encode, wanted = encoder_of(model)
    weight = next(model.parameters())
    drawn = PIL.Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    given, other = (
        {
            name: torch.as_tensor(value).to(weight.device, weight.dtype if torch.is_floating_point(value) else None)
            for name, value in expansion.prepared(processor, [picture])[0].items()
            if name in wanted and name != "input_ids"
        }
        for picture in (drawn, PIL.ImageOps.invert(drawn))
    )
    output = encode(**given, return_dict=True)
    layers = getattr(output, "deepstack_features", None) or []
    places = ("pooler_output", "last_hidden_state") if not layers else ("pooler_output",)
    where = next((place for place in places if getattr(output, place, None) is not None), "")
    features: Any = output[where] if where else []
    listed = isinstance(features, list | tuple)
    return {
        "features": where,
        "features_listed": listed,
        "features_stacked": not listed and features.ndim > 2,
        "deepstack": bool(layers),
        "deepstack_layers": tuple(layer[0] for layer in layers if isinstance(layer[0], int)),
        "joins": _joins(encode, given, other, where) if where else True,
    }


def _joins(encode: Any, first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], where: str) -> bool:
    """True if pictures put behind each other are encoded as alone.

    Some processors pack those of a prompt as one, or number the patches of all of them.
    """
    one, other = (_flat(encode(**given, return_dict=True)[where]) for given in (first, second))
    try:
        both = _flat(
            encode(**{name: torch.cat([first[name], second[name]]) for name in first}, return_dict=True)[where]
        )
    except RuntimeError:
        return False
    if len(both) != len(one) + len(other):
        return False
    behind = both[len(one) :]
    return bool((behind - other).abs().mean() < (behind - one).abs().mean())


def _flat(features: Any) -> torch.Tensor:
    """Features of all images behind each other, (tokens, hidden)."""
    parts = features if isinstance(features, list | tuple) else [features]
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]).float()


def inner_of(model: Any) -> Any:
    """The model below the output layer; the whole model if the output layer is inside its language model."""
    return getattr(model, "model", model)


def encoder_of(model: Any) -> tuple[Any, set[str]]:
    """The method that encodes images, and the names of what it takes: the outer model may leave them to the inner."""
    parts = (model, inner_of(model))
    methods = [part.get_image_features for part in parts if hasattr(part, "get_image_features")]
    return methods[0], {name for method in methods for name in inspect.signature(method).parameters}


def hidden_states(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The input of the output layer, (B, L, H)."""
    inner = inner_of(model)
    if inner is not model:
        return inner(**inputs, use_cache=False).last_hidden_state  # type: ignore[no-any-return]  # transformers has no types
    found: list[torch.Tensor] = []  # the output layer is a part of the language model
    decoder = inner_of(model.get_decoder())
    hook = decoder.register_forward_hook(lambda _, __, output: found.append(output.last_hidden_state))
    try:
        model(**inputs, use_cache=False, logits_to_keep=1)
    finally:
        hook.remove()
    return found[0]


@dataclass(frozen=True)
class Readout:
    """Transformation of the output layer's numbers to logits.

    Attributes:
        factor: they are multiplied by it. cap: then bent by ``cap * tanh(x / cap)``; 0.0: not.
    """

    factor: float = 1.0
    cap: float = 0.0

    def __call__(self, numbers: torch.Tensor) -> torch.Tensor:
        """Logits, of the same shape."""
        scaled = numbers * self.factor if self.factor != 1 else numbers
        return torch.tanh(scaled / self.cap) * self.cap if self.cap else scaled


@torch.no_grad()
def readout(model: Any) -> Readout:
    """Found out by reading a few tokens: a configuration may name a factor or a cap that its model does not use.

    Raises:
        UsageError: its logits are made in another way.
    """
    text = model.config.get_text_config()
    factors = {1.0, *(float(getattr(text, name, None) or 1.0) for name in ("logit_scale", "output_multiplier"))}
    factors.add(1 / float(getattr(text, "logits_scaling", None) or 1.0))
    caps = {0.0, float(getattr(text, "final_logit_softcapping", None) or 0.0)}
    ids = torch.arange(8, device=next(model.parameters()).device)[None]
    numbers = model.get_output_embeddings()(hidden_states(model, {"input_ids": ids})).float()
    expected = model(input_ids=ids, use_cache=False).logits.float()
    tried = {Readout(*each): float((Readout(*each)(numbers) - expected).abs().max()) for each in product(factors, caps)}
    best = min(tried, key=lambda each: tried[each])
    if tried[best] > 0.02 * max(1.0, float(expected.abs().max())):
        raise UsageError(
            f"a model of type {model.config.model_type} cannot be trained: its logits are not those of its output "
            f"layer, neither as they are nor scaled; they differ by {tried[best]:.1e}"
        )
    return best
