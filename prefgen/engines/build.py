"""From a configuration to running engines. What the fake engine does not need is not imported for it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

from prefgen.engines.base import EngineConfig, Engines
from prefgen.engines.fake import FakeEngine
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
    from prefgen.engines import embedder, loading

    device = loading.resolve_device(config.device)
    return Identity(
        loading.revision_of(config.model, config.revision),
        embedder.pin(config.similarity_model),
        loading.torch_dtype(config.dtype, device),
        loading.device_kind(device),
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
    from prefgen.engines import loading
    from prefgen.engines.embedder import Embedder
    from prefgen.engines.transformers_ import TransformersEngine

    return {
        Embed: Embedder.load(config.similarity_model, config.device),
        Generate: TransformersEngine(loading.load(config), config),
    }


def hush(config: EngineConfig) -> None:
    """Keep transformers' own progress bars and hints out of what a command prints; its errors are raised anyway."""
    if config.engine != "fake":
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()


def versions() -> dict[str, str]:
    """Versions of the packages that decide what is generated."""
    names = ("prefgen", "torch", "transformers", "sentence-transformers", "sentencex", "numpy", "pillow")
    return {name: importlib.metadata.version(name) for name in names}
