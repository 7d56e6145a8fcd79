"""From images to the features in the language model's input, with noise where a view asks for it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from transformers.utils import ModelOutput

from prefgen import images, seeds, visibility
from prefgen.engines import model_files
from prefgen.engines.hf import expansion, probing
from prefgen.engines.hf.architectures import Family
from prefgen.engines.hf.loading import LoadedModel
from prefgen.errors import RowError
from prefgen.records import Image
from prefgen.visibility import View

_PROMPTS_PER_BATCH = 32
_HOST_VALUES = 2**20  # of a batch's pixels on a CPU
# What a processor makes of the text; the rest of its output belongs to the images.
_TEXT_INPUTS = {"input_ids", "attention_mask", "text_replacement_offsets"}


@dataclass
class EncodedImages(ModelOutput):  # type: ignore[misc]  # transformers has no types
    """Image features in the form that a model takes instead of pixels.

    Attributes:
        pooler_output, last_hidden_state: (image tokens, hidden), in a list where the model's own encoder returns one;
            the model reads one of both.
        deepstack_features: (image tokens, hidden), in a list, for each further layer of the decoder that adds features;
            some models name the layer beside it.
        router_logits: None; Granite Docling asks for it, and has a use of it in its own training alone.
    """

    pooler_output: list[torch.Tensor] | torch.Tensor | None = None
    last_hidden_state: list[torch.Tensor] | torch.Tensor | None = None
    deepstack_features: list[Any] | None = None
    router_logits: torch.Tensor | None = None


@dataclass(frozen=True)
class Pixels:
    """The processor's output for the images of one prompt.

    Attributes:
        inputs: keyword arguments of the model: ``pixel_values`` and what belongs to it.
        expansions: what each image becomes in the prompt's text: its image tokens and, in some families, tags around
            and between them.
    """

    inputs: dict[str, torch.Tensor]
    expansions: tuple[str, ...]

    def count(self, image_token: str) -> int:
        """Number of image tokens of all images."""
        return sum(expansion.count(image_token) for expansion in self.expansions)

    @property
    def shape(self) -> Hashable:
        """Equal where the inputs of several prompts can be concatenated."""
        return tuple((name, values.shape[1:]) for name, values in sorted(self.inputs.items()))


def preprocess(processor: Any, pictures: tuple[Image, ...], view: View) -> Pixels:
    """Decode, noise and preprocess the images of a prompt.

    Raises:
        RowError: if the processor refuses a picture, such as one that is far wider than high.
        ModelUnreachable: if the processor fails.
    """
    if not pictures:
        return Pixels({}, ())
    decoded = [_decode(image, index, view) for index, image in enumerate(pictures)]
    names = ", ".join(image.path[:200] for image in pictures)
    with model_files.reading(f"the model's processor fails at {names}", "`prefgen doctor MODEL` tries it on a drawing"):
        try:
            output, expansions = expansion.prepared(processor, decoded)
        except ValueError as error:
            raise RowError("IMG_REFUSED", f"the model's processor refuses {names}: {error}") from error
    inputs = {name: torch.as_tensor(values) for name, values in output.items() if _is_images(name)}
    if view.noise_steps and view.noise_space == "encoder":
        for name in [name for name, values in inputs.items() if "pixel_values" in name and values.is_floating_point()]:
            values = inputs[name].to(torch.float32).numpy()
            inputs[name] = torch.from_numpy(_noised(values, len(decoded), view))
    return Pixels(inputs, expansions)


def _is_images(name: str) -> bool:
    return name not in _TEXT_INPUTS and not name.endswith("token_type_ids")


def _decode(image: Image, index: int, view: View) -> PIL.Image.Image:
    """The picture, with noise if the view adds it to pixels."""
    picture = images.decode(image)
    if not view.noise_steps or view.noise_space == "encoder":
        return picture
    noisy = visibility.add_pixel_noise(
        np.asarray(picture), view.noise_steps, _noise_seed(view, index), view.noise_space, view.schedule
    )
    return PIL.Image.fromarray(noisy)


def _noised(values: npt.NDArray[np.float32], count: int, view: View) -> npt.NDArray[np.float32]:
    """The encoder's input with noise: one draw for each image where they are separate, else one over all."""
    parts = values if len(values) == count else values[None]
    noised = [
        visibility.add_noise(part, view.noise_steps, _noise_seed(view, index), view.schedule)
        for index, part in enumerate(parts)
    ]
    return np.stack(noised).reshape(values.shape)


def _noise_seed(view: View, index: int) -> int:
    """The noise seed of one image of a prompt."""
    return seeds.derive(view.noise_seed, "", index, "image")


def alike(family: Family, pixels: Iterable[Pixels]) -> list[list[int]]:
    """Group prompts, by index, whose inputs can be put behind each other."""
    groups: dict[Hashable, list[int]] = {}
    for index, own in enumerate(pixels):
        groups.setdefault(own.shape if family.joins or not own.inputs else index, []).append(index)
    return list(groups.values())


def batches(loaded: LoadedModel, pixels: list[Pixels]) -> list[list[int]]:
    """Prompts, by index, to be encoded together: inputs of one shape, and no more than the device is fastest with.

    On a CPU a large batch is slower than a small one: its activations leave the caches, and memory of that size is
    returned to the system and faulted in again for every layer.
    """
    found = []
    for group in alike(loaded.family, pixels):
        size = _PROMPTS_PER_BATCH
        if loaded.device.type == "cpu":
            values = sum(part.numel() for part in pixels[group[0]].inputs.values())
            size = max(1, min(size, _HOST_VALUES // max(1, values)))
        found += [group[start : start + size] for start in range(0, len(group), size)]
    return found


def encode(loaded: LoadedModel, pixels: list[Pixels]) -> list[torch.Tensor]:
    """Run the vision encoder and projector over the images of several prompts, each with at least one.

    Returns:
        One (image tokens, hidden) tensor for each prompt, its images behind each other. Where the model adds features
        in several layers of its decoder (deepstack), those stand beside each other: (image tokens, hidden * layers).

    Raises:
        RuntimeError: if the encoder and the processor disagree about their number.
    """
    features: dict[int, torch.Tensor] = {}
    for group in alike(loaded.family, pixels):
        batch = [pixels[index] for index in group]
        encoder, known = probing.encoder_of(loaded.model)
        given = {name: values for name, values in model_inputs(loaded, batch).items() if name in known}
        output = encoder(**given, return_dict=True)
        layers = [output[loaded.family.features]] if loaded.family.features else []
        layers += [
            layer[1] if loaded.family.deepstack_layers else layer
            for layer in getattr(output, "deepstack_features", None) or []
        ]
        flat = torch.cat(
            [torch.cat([part.reshape(-1, part.shape[-1]).to(loaded.device) for part in layer]) for layer in layers],
            dim=-1,
        )
        parts = torch.split(flat, [own.count(loaded.image_token) for own in batch])
        features |= dict(zip(group, parts, strict=True))
    return [features[index] for index in range(len(pixels))]


def model_inputs(loaded: LoadedModel, pixels: list[Pixels]) -> dict[str, torch.Tensor]:
    """Keyword arguments with the images of prompts that are `alike`."""

    def on_device(values: torch.Tensor) -> torch.Tensor:
        return values.to(loaded.device, loaded.dtype if values.is_floating_point() else values.dtype)

    # Put together before they are sent: one transfer for each input.
    return {name: on_device(torch.cat([own.inputs[name] for own in pixels])) for name in pixels[0].inputs}


def merged(loaded: LoadedModel, ids_BL: torch.Tensor, features: torch.Tensor | None) -> dict[str, Any]:
    """Model inputs with features in the places of the image tokens of a batch.

    Args:
        ids_BL: (batch, tokens), with as many image tokens as there are features.
        features: (image tokens, hidden * layers) as `encode` returns them, those of hidden tokens left out; None where
            no prompt of the batch has an image.

    Returns:
        ``inputs_embeds`` (batch, tokens, hidden); where the decoder adds features in several layers, ``input_ids`` and
        ``mm_encoder_outputs`` instead.
    """
    is_image_BL = ids_BL == loaded.image_token_id
    if features is None:
        return {"input_ids": ids_BL}
    features = features.to(loaded.device, loaded.dtype)
    if loaded.family.encoder_outputs:
        width = loaded.hidden_size if loaded.family.deepstack else features.shape[-1]
        output = _encoded(loaded.family, list(torch.split(features, width, dim=-1)))
        return {"input_ids": ids_BL, "mm_encoder_outputs": {"image": output}}
    embeds_BLH = loaded.model.get_input_embeddings()(ids_BL.masked_fill(is_image_BL, 0))
    # Not in place: training follows the gradient through it, and may keep its embeddings in float32.
    embeds_BLH = embeds_BLH.index_put((is_image_BL,), features.to(embeds_BLH.dtype))
    if loaded.family.indicators:
        indicators = loaded.model.config.visual_indicator_token_ids
        table = loaded.model.model.visual_embeddings_table.weight[-len(indicators) :]
        for token_id, embedding in zip(indicators, table, strict=True):
            embeds_BLH[ids_BL == token_id] = embedding
    return {"inputs_embeds": embeds_BLH}


def _encoded(family: Family, layers: list[torch.Tensor]) -> EncodedImages:
    """Features of each layer, (image tokens, hidden), as the model's own encoder returns them."""
    given: dict[str, Any] = {}
    if family.features:
        first = layers.pop(0)
        given[family.features] = (
            [first] if family.features_listed else first[None] if family.features_stacked else first
        )
    listed: list[Any] = [[layer] for layer in layers]
    if family.deepstack_layers:
        listed = list(zip(family.deepstack_layers, listed, strict=True))
    return EncodedImages(**given, deepstack_features=listed or None)


def positions(loaded: LoadedModel, ids: list[int], pixels: Pixels) -> npt.NDArray[np.int64]:
    """Position of every token of a whole sequence.

    Returns:
        (tokens,), or (4, tokens) under M-RoPE: place in the text, time, row, column.
    """
    count = np.arange(len(ids))
    if not loaded.family.mrope:
        return count
    if not pixels.expansions:
        return np.tile(count, (4, 1))
    row = torch.tensor([ids], device=loaded.device)
    grid = pixels.inputs["image_grid_thw"].to(loaded.device)
    found, _ = probing.inner_of(loaded.model).get_rope_index(
        row, mm_token_type_ids=(row == loaded.image_token_id).int(), image_grid_thw=grid
    )
    return np.concatenate([count[None], found[:, 0].cpu().numpy()])
