"""Images of requests: prepared ahead, encoded in batches of one shape, kept for the next mask over them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import vision
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.preprocessing import Key, Preprocessing, default_workers
from prefgen.errors import RowError
from prefgen.requests import Generate

_KEPT_BYTES = 2**30  # of features that wait for another mask, in memory; on a GPU a share of its own:
_KEPT_SHARE = 1 / 16


@dataclass
class Restricted:
    """The images of a prompt under one view, and the requests that share them.

    Attributes:
        pixels: what the vision encoder receives.
        features: its projected output, (visible image tokens, hidden); None without images, and where stock `generate`
            encodes.
        visible: bool (image tokens of all images,), eq. 6.
    """

    pixels: vision.Pixels
    features: torch.Tensor | None
    visible: npt.NDArray[np.bool_]


class ImageFeatures:
    """Prepares and encodes the images of requests, once for all views that differ in their masks alone.

    A method asks about a sample again with a fresh mask over the same images. Their features are kept for that, the
    last used ones, up to a bound. Noise is drawn anew every time, so that nothing of it is kept.

    Attributes:
        encoded: images that went through the vision encoder so far.
        refused: images and views that the processor refuses, until their requests are answered.
    """

    def __init__(self, loaded: LoadedModel, config: EngineConfig) -> None:
        self.encoded = 0
        self.refused: dict[Key, RowError] = {}
        self._loaded = loaded
        self._encodes = config.attention == "drop"
        workers = default_workers(loaded.device) if config.image_workers is None else config.image_workers
        self._preprocessing = Preprocessing(loaded.processor, workers, loaded.dtype)
        self._asked: set[Key] = set()  # of `_preprocessing`, without masks
        self._outstanding: Counter[Key] = Counter()
        self._restricted: dict[Key, Restricted] = {}
        self._kept: OrderedDict[Key, tuple[vision.Pixels, torch.Tensor]] = OrderedDict()
        self._kept_bytes = 0
        self._room = _room(loaded) if self._encodes and loaded.window is None else 0  # a window may want the pixels

    def want(self, request: Generate) -> None:
        """Begin to prepare the images of a request that will be encoded."""
        for key in _keys(request):
            self._outstanding[key] += 1
            bare = _unmasked(key)
            if key not in self._restricted and bare not in self._kept and bare not in self._asked:
                self._asked.add(bare)
                self._preprocessing.want(bare)

    def has(self, request: Generate) -> bool:
        """True if the request has images and all are encoded already."""
        return bool(request.images) and all(_unmasked(key) in self._kept for key in _keys(request))

    def encode(self, requests: Iterable[Generate]) -> None:
        """Encode the images of requests, unless stock `generate` will, and restrict them to what may be seen."""
        wanted = dict.fromkeys(key for request in requests for key in _keys(request))
        missing: dict[Key, list[Key]] = {}
        for key in wanted:
            if key not in self._restricted and key not in self.refused:
                missing.setdefault(_unmasked(key), []).append(key)
        pixels: dict[Key, vision.Pixels] = {}
        for bare, keys in missing.items():
            if bare in self._kept:
                self._kept.move_to_end(bare)
                self._restrict(keys, *self._kept[bare])
                continue
            try:
                pixels[bare] = self._take(bare)
            except RowError as error:
                self.refused |= dict.fromkeys(keys, error)
        features: dict[Key, torch.Tensor] = {}
        if self._encodes:
            seeing = [bare for bare in pixels if bare[0]]
            for batch in vision.batches(self._loaded, [pixels[bare] for bare in seeing]):
                with torch.inference_mode():
                    encoded = vision.encode(self._loaded, [pixels[seeing[place]] for place in batch])
                features |= {seeing[place]: own for place, own in zip(batch, encoded, strict=True)}
            self.encoded += sum(len(images) for images, _ in seeing)
        for bare, own in pixels.items():
            self._restrict(missing[bare], own, features.get(bare))
            if bare in features and not bare[1].noise_steps:
                self._keep(bare, own, features[bare])

    def _take(self, bare: Key) -> vision.Pixels:
        """The prepared images; what was kept when its request came may have had to go since."""
        if bare not in self._asked:
            self._preprocessing.want(bare)
        self._asked.discard(bare)
        return self._preprocessing.take(bare)

    def _restrict(self, keys: Sequence[Key], pixels: vision.Pixels, features: torch.Tensor | None) -> None:
        """Remove what each view hides."""
        for key in keys:
            visible = key[1].mask(pixels.count(self._loaded.image_token))
            seen = None if features is None else features[torch.from_numpy(visible).to(features.device)]
            self._restricted[key] = Restricted(pixels, seen, visible)

    def _keep(self, bare: Key, pixels: vision.Pixels, features: torch.Tensor) -> None:
        """Keep features, and of the pixels what tells positions; the ones used longest ago make room."""
        size = features.numel() * features.element_size()
        if size > self._room:
            return
        while self._kept_bytes + size > self._room:
            _, (_, old) = self._kept.popitem(last=False)
            self._kept_bytes -= old.numel() * old.element_size()
        grids = {name: values for name, values in pixels.inputs.items() if not values.is_floating_point()}
        # A copy: a part of a batch's features would keep all of them in memory.
        self._kept[bare] = replace(pixels, inputs=grids), features.clone()
        self._kept_bytes += size

    def under(self, request: Generate) -> Restricted:
        """The encoded images of a request under its view.

        Raises:
            RowError: the processor refuses them.
        """
        for key in _keys(request):
            if key in self.refused:
                raise self.refused[key]
        return self._restricted[request.images, request.view]

    def release(self, request: Generate) -> None:
        """Free what an answered request saw, unless others see the same."""
        for key in _keys(request):
            self._outstanding[key] -= 1
            if not self._outstanding[key]:
                del self._outstanding[key]
                self._restricted.pop(key, None)
                self.refused.pop(key, None)

    def forget(self) -> None:
        """Free all kept features."""
        self._kept.clear()
        self._kept_bytes = 0


def _keys(request: Generate) -> list[Key]:
    return [(request.images, view) for view in request.views]


def _unmasked(key: Key) -> Key:
    return key[0], key[1].unmasked


def _room(loaded: LoadedModel) -> int:
    """Bytes of features that are kept, by the device's size."""
    if loaded.device.type != "cuda":
        return _KEPT_BYTES
    return int(_KEPT_SHARE * torch.cuda.get_device_properties(loaded.device).total_memory)
