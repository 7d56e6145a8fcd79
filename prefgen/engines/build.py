"""From a configuration to running engines. What a method does not ask for is neither loaded nor imported."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefgen.engines.base import Engine, EngineConfig, Engines
from prefgen.engines.fake import FakeEngine
from prefgen.errors import UsageError
from prefgen.requests import Contrast, Embed, Generate, Request, Score, of_policy


@dataclass(frozen=True)
class Identity:
    """What pins the models of a run, known before any weight is read. Empty where no model is asked for.

    Attributes:
        device: kind of device, never its index.
    """

    model_revision: str = ""
    similarity_revision: str = ""
    dtype: str = ""
    device: str = ""


def identify(config: EngineConfig, asks: Sequence[type[Request]]) -> Identity:
    """Resolve revisions, data type and device.

    Args:
        asks: what the run's method asks for.

    Raises:
        UsageError: if a model is asked for and none is named.
        ModelUnreachable: if a model cannot be found.
    """
    policy = of_policy(asks)
    if policy and not config.model:
        raise UsageError("--model is missing: the policy that generates")
    if config.engine == "fake" or not (policy or Embed in asks):
        return Identity()
    from prefgen.engines import embedder, loading

    device = loading.resolve_device(config.device)
    return Identity(
        loading.revision_of(config.model, config.revision) if policy else "",
        embedder.pin(config.similarity_model) if Embed in asks else "",
        loading.torch_dtype(config.dtype, device) if policy else "",
        loading.device_kind(device),
    )


def build(config: EngineConfig, asks: Sequence[type[Request]]) -> Engines:
    """Load the models that answer these types of request, in this order.

    Raises:
        UsageError: for an architecture that is not supported.
        ModelUnreachable: if a model cannot be read.
    """
    if config.engine == "fake":
        fake = FakeEngine(config.batch_size)
        return dict.fromkeys(asks, fake)
    makers: dict[type[Request], Callable[[EngineConfig], Engine]] = {
        Embed: _embedder,
        Generate: _policy,
        Contrast: _policy,
        Score: _policy,
    }
    asked = [kind for kind in asks if kind in makers]
    made = {maker: maker(config) for maker in dict.fromkeys(makers[kind] for kind in asked)}  # one model, loaded once
    return {kind: made[makers[kind]] for kind in asked}


def _embedder(config: EngineConfig) -> Engine:
    from prefgen.engines.embedder import Embedder

    return Embedder.load(config.similarity_model, config.device)


def _policy(config: EngineConfig) -> Engine:
    from prefgen.engines import loading
    from prefgen.engines.transformers_ import TransformersEngine

    return TransformersEngine(loading.load(config), config)


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
