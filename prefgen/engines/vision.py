"""Images to the features that stand in the language model's input, with noise where a view asks for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch

from prefgen import images, restrict, seeds
from prefgen.engines.loading import LoadedModel
from prefgen.records import Image
from prefgen.restrict import View


@dataclass(frozen=True)
class Pixels:
    """What the vision encoder receives for one image.

    Attributes:
        values: float32 (tiles, 3, height, width), normalised; one tile unless the family tiles.
        size: (height, width) of the original image.
    """

    values: torch.Tensor
    size: tuple[int, int]


def preprocess(loaded: LoadedModel, image: Image, index: int, view: View) -> Pixels:
    """Decode, noise and preprocess one image.

    Args:
        index: position of the image in its prompt; every image has noise of its own.
    """
    picture = images.decode(image)
    noise_seed = seeds.derive(view.noise_seed, "", index, "image")
    if view.noise_steps and view.noise_space != "encoder":
        raw = np.asarray(picture)
        noisy = restrict.add_pixel_noise(raw, view.noise_steps, noise_seed, view.noise_space, view.schedule)
        picture = PIL.Image.fromarray(noisy)
    array = loaded.processor.image_processor(images=[picture], return_tensors="np")["pixel_values"][0]
    array = np.asarray(array, dtype=np.float32)
    if view.noise_steps and view.noise_space == "encoder":
        array = restrict.add_noise(array, view.noise_steps, noise_seed, view.schedule)
    values = torch.from_numpy(np.ascontiguousarray(array.reshape(-1, *array.shape[-3:])))
    return Pixels(values, (picture.height, picture.width))


def count_tokens(loaded: LoadedModel, image: Image) -> int:
    """Image tokens of one image, as the model's own processor counts them."""
    processor = loaded.processor
    inputs = processor(text=processor.image_token, images=[images.decode(image)], return_tensors="np")
    return int((inputs["input_ids"] == loaded.image_token_id).sum())


@torch.inference_mode()
def encode(loaded: LoadedModel, pixels: list[Pixels]) -> list[torch.Tensor]:
    """Run the vision encoder and projector over a batch of images.

    Returns:
        One (image tokens, hidden) tensor per image, on the CPU: there they wait for their sentences without taking
        memory from the accelerator.
    """
    inputs = model_inputs(loaded, pixels)
    features = loaded.model.get_image_features(**inputs).pooler_output
    return [feature.to("cpu") for feature in features]


def model_inputs(loaded: LoadedModel, pixels: list[Pixels]) -> dict[str, torch.Tensor]:
    """Keyword arguments by which the model takes these images: all tiles of all images in one batch."""
    inputs = {"pixel_values": torch.cat([image.values for image in pixels]).to(loaded.device, loaded.dtype)}
    if loaded.family.tiles:
        inputs["image_sizes"] = torch.tensor([image.size for image in pixels], device=loaded.device)
    return inputs
