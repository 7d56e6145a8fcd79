"""From a configuration to running engines."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from prefgen.engines import embedder, loading
from prefgen.engines.base import EngineConfig, Engines
from prefgen.engines.embedder import Embedder
from prefgen.engines.fake import FakeEngine
from prefgen.engines.transformers_ import TransformersEngine
from prefgen.requests import Embed, Generate


@dataclass(frozen=True)
class Identity:
    """What pins the models of a run, known before any weight is read. Empty for the fake engine.

    Attributes:
        device: kind of device, never its index.
    """

    model_revision: str = ""
    similarity_revision: str = ""
    dtype: str = ""
    device: str = ""


def identify(config: EngineConfig) -> Identity:
    """Resolve revisions, data type and device.

    Raises:
        ModelUnreachable: if a model cannot be found.
    """
    if config.engine == "fake":
        return Identity()
    device = loading.resolve_device(config.device)
    return Identity(
        loading.revision_of(config.model, config.revision),
        loading.revision_of(embedder.resolve(config.similarity_model)),
        loading.torch_dtype(config.dtype, device),
        torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
    )


def build(config: EngineConfig) -> Engines:
    """Load the models. The embedder comes first: its replies are what most samples wait for.

    Raises:
        UsageError: for an architecture that is not supported.
        ModelUnreachable: if a model cannot be read.
    """
    if config.engine == "fake":
        fake = FakeEngine(config.batch_size)
        return {Embed: fake, Generate: fake}
    return {
        Embed: Embedder.load(config.similarity_model, config.device),
        Generate: TransformersEngine(loading.load(config), config),
    }
